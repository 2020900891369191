"""The recurrent half of LSTM and GRU layers: h R^T for one row at a time, gates, new state, step after step.

The products with the input of all steps are one matrix product beforehand. Here the matrix R is packed in blocks of 8 vectors of columns,
through which a row of h runs while 8 sums stay in registers; gates are passes over lines that stay in the first-level cache. Rows of a
batch and the two directions are independent, so threads take those. Reference: S. Hochreiter and J. Schmidhuber, "Long short-term memory",
Neural Computation 9(8), 1997; K. Cho et al., arXiv 1406.1078.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from kernels.primitives.vector_pass import VectorPass, line
from kernels.runtime.ir import VectorBuilder, call, i64, read_index, split
from kernels.runtime.jit import njit
from kernels.runtime.machine import machine
from kernels.runtime.micro_kernel import Fixed, address, emitter
from kernels.runtime.pointers import pointed
from kernels.runtime.regions import region
from kernels.runtime.scratch import handle

Array = np.ndarray

VECTORS = 8  # vectors of a block of columns: as many sums as two units of four cycles keep busy
PASSES = ("copy", "add", "mul", "sub", "fma", "sigmoid", "tanh")
HEAD = 18  # int64s of a direction's description before its passes
WORDS = HEAD + 2 * len(PASSES)  # of all of it


class Products(NamedTuple):
    """y[block] = sum over k of x[k] * matrix[block, k], blocks of `wide` vectors."""

    lanes: Fixed  # of a vector
    itemsize: Fixed
    vectors: Fixed  # vectors of a block
    y: int  # address
    x: int  # address
    matrix: int  # address
    k: int  # numbers of x
    blocks: int


@emitter
def _emit(w: VectorBuilder, p: Products) -> None:
    b, width = w.b, p.vectors * p.lanes
    to, source, matrix = w.pointer(p.y), w.pointer(p.x), w.pointer(p.matrix)
    with w.loop(p.blocks) as block:
        sums = [w.variable(w.zero()) for _ in range(p.vectors)]
        start = b.mul(block, b.mul(p.k, i64(width)))
        with w.loop(p.k) as k:
            number = w.splat(w.load_scalar(w.at(source, k)))
            row = b.add(start, b.mul(k, i64(width)))
            for i, total in enumerate(sums):
                w.set(total, w.fma(number, w.load(w.at(matrix, b.add(row, i64(i * p.lanes)))), w.get(total)))
        for i, total in enumerate(sums):
            w.store(w.get(total), w.at(to, b.add(b.mul(block, i64(width)), i64(i * p.lanes))))


@njit
def _products(p):
    _emit(p, ())


def products(vectors: int, lanes: int, itemsize: int) -> int:
    """Address of the compiled `Products`."""
    return address(_products, Products, lanes=lanes, itemsize=itemsize, vectors=vectors)


def packed(matrix: Array, vectors: int = VECTORS) -> tuple[Array, int]:
    """(columns, k) matrix as blocks of columns (blocks, k, wide * lanes), zeros at the end; and how many blocks."""
    columns, count = matrix.shape
    width = vectors * machine().lanes(matrix.itemsize)
    blocks = -(-columns // width)
    found = np.zeros((blocks * width, count), matrix.dtype)
    found[:columns] = matrix
    return np.ascontiguousarray(found.reshape(blocks, width, count).transpose(0, 2, 1)), blocks


@njit
def _pass(d, which, size, y, a, b, c, count):
    """One of PASSES on a line."""
    at = d + 8 * (HEAD + 2 * which)
    call(
        read_index(at, 0),
        VectorPass(form=read_index(at, 1), lanes=read_index(d, 15), itemsize=size, y=y, a=a, b=b, c=c, numbers=count, p=0, q=0),
    )  # fmt: skip


@region
def _lstm(task, thread, description, size):
    """All steps of one row of a batch in one direction; the gates lie in ONNX's order: input, output, forget, cell."""
    direction, row = split(task, read_index(pointed(description), 14))
    d = pointed(description) + 8 * WORDS * direction
    steps, hidden, blocks, backwards = read_index(d, 0), read_index(d, 1), read_index(d, 2), read_index(d, 3)
    before, y = pointed(read_index(d, 4)), pointed(read_index(d, 5))
    h, c = pointed(read_index(d, 6)) + row * hidden * size, pointed(read_index(d, 7)) + row * hidden * size
    matrix, work = pointed(read_index(d, 8)), pointed(read_index(d, 10)) + task * read_index(d, 11)
    by_step, by_row, batch, product = read_index(d, 12), read_index(d, 13), read_index(d, 14), read_index(d, 16)
    pitch = read_index(d, 17) * size
    line_ = hidden * size
    activated = work + blocks * 8 * read_index(d, 15) * size
    for step in range(steps):
        t = steps - 1 - step if backwards else step
        call(
            product,
            Products(lanes=read_index(d, 15), itemsize=size, vectors=VECTORS, y=work, x=h, matrix=matrix, k=hidden, blocks=blocks),
        )  # fmt: skip
        _pass(d, 1, size, work, work, before + (t * batch + row) * pitch, work, 4 * hidden)
        _pass(d, 5, size, work, work, work, work, 3 * hidden)
        i, o, f, g = work, work + line_, work + 2 * line_, work + 3 * line_
        _pass(d, 6, size, g, g, g, g, hidden)
        _pass(d, 2, size, c, c, f, c, hidden)
        _pass(d, 4, size, c, i, g, c, hidden)
        _pass(d, 6, size, activated, c, c, c, hidden)
        _pass(d, 2, size, h, o, activated, h, hidden)
        _pass(d, 0, size, y + (t * by_step + row * by_row) * size, h, h, h, hidden)


@region
def _gru(task, thread, description, size):
    """All steps of one row of a batch in one direction; the gates lie in ONNX's order: update, reset, hidden. Blocks of R's last third
    lie apart."""
    direction, row = split(task, read_index(pointed(description), 14))
    d = pointed(description) + 8 * WORDS * direction
    steps, hidden, blocks, backwards = read_index(d, 0), read_index(d, 1), read_index(d, 2), read_index(d, 3)
    before, y = pointed(read_index(d, 4)), pointed(read_index(d, 5))
    h, last = pointed(read_index(d, 6)) + row * hidden * size, pointed(read_index(d, 7))
    matrix, inner, work = pointed(read_index(d, 8)), pointed(read_index(d, 9)), pointed(read_index(d, 10)) + task * read_index(d, 11)
    by_step, by_row, batch, product = read_index(d, 12), read_index(d, 13), read_index(d, 14), read_index(d, 16)
    pitch = read_index(d, 17) * size
    line_, width = hidden * size, 8 * read_index(d, 15)
    thirds = (hidden + width - 1) // width
    new = work + blocks * width * size
    reset_first = new + thirds * width * size
    for step in range(steps):
        t = steps - 1 - step if backwards else step
        source = before + (t * batch + row) * pitch
        call(
            product,
            Products(lanes=read_index(d, 15), itemsize=size, vectors=VECTORS, y=work, x=h, matrix=matrix, k=hidden, blocks=blocks),
        )  # fmt: skip
        _pass(d, 1, size, work, work, source, work, 2 * hidden)
        _pass(d, 5, size, work, work, work, work, 2 * hidden)
        z, r = work, work + line_
        if inner:  # linear before reset: tanh(W x + r (R h + b))
            call(
                product,
                Products(lanes=read_index(d, 15), itemsize=size, vectors=VECTORS, y=new, x=h, matrix=last, k=hidden, blocks=thirds),
            )  # fmt: skip
            _pass(d, 1, size, new, new, inner, new, hidden)
            _pass(d, 4, size, new, r, new, source + 2 * line_, hidden)
        else:  # tanh(W x + R (r h))
            _pass(d, 2, size, reset_first, r, h, r, hidden)
            call(
                product,
                Products(
                    lanes=read_index(d, 15), itemsize=size, vectors=VECTORS, y=new, x=reset_first, matrix=last, k=hidden, blocks=thirds
                ),
            )  # fmt: skip
            _pass(d, 1, size, new, new, source + 2 * line_, new, hidden)
        _pass(d, 6, size, new, new, new, new, hidden)
        _pass(d, 3, size, h, h, new, h, hidden)
        _pass(d, 4, size, h, z, h, new, hidden)
        _pass(d, 0, size, y + (t * by_step + row * by_row) * size, h, h, h, hidden)


class Direction(NamedTuple):
    """What one direction of a layer multiplies its state with. recurrent: (gates * hidden, hidden). inner: the bias that a GRU that is
    linear before its reset adds to R h. backwards: from the last step to the first."""

    recurrent: Array
    inner: Array | None
    backwards: bool


class Ends(NamedTuple):
    """What one direction reads and writes besides its products. y (steps, batch, hidden), last axis contiguous; its steps per step and row
    in numbers. h and c (batch, hidden): the state before, which becomes the state after; no c for a GRU."""

    y: Array
    by_step: int
    by_row: int
    h: Array
    c: Array | None


class Recurrence:
    """All directions of an "LSTM" or "GRU" layer: `bind(before, ends, scratch)`.

    before (steps, batch, directions * gates * hidden): products with the input and biases, direction by direction.
    """

    def __init__(self, kind: str, directions: Sequence[Direction], steps: int, batch: int, threads: int) -> None:
        rows, hidden = directions[0].recurrent.shape
        dtype = directions[0].recurrent.dtype
        size, lanes = dtype.itemsize, machine().lanes(dtype.itemsize)
        self._batch, self._tasks, self._gru = batch, batch * len(directions), kind == "GRU"
        self._threads = threads if steps * hidden * rows * self._tasks > 1 << 18 else 1
        product = products(VECTORS, lanes, size)
        passes = [word for name in PASSES for word in line(name, lanes, size)]
        self._held: list[tuple[Array, Array | None, Array | None]] = []
        self._row, words = 0, []
        for each in directions:
            matrix, blocks = packed(each.recurrent[: 2 * hidden] if self._gru else each.recurrent)
            last, thirds = packed(each.recurrent[2 * hidden :]) if self._gru else (None, 0)
            inner = None if each.inner is None else np.ascontiguousarray(each.inner)
            self._held.append((matrix, last, inner))
            width = VECTORS * lanes
            self._row = (blocks + 2 * max(thirds, -(-hidden // width))) * width * size
            head = [steps, hidden, blocks, int(each.backwards), 0, 0, 0, 0, handle(matrix), handle(inner), 0, self._row, 0, 0, batch, lanes,
                    product, len(directions) * rows]  # fmt: skip
            words.append([*head, *passes])
        self._words = np.array(words, np.int64)
        self._launch = (_gru if self._gru else _lstm).ready(0, size)
        self._width, self._size = rows, size

    @property
    def scratch_bytes(self) -> int:
        """Bytes of scratch that a run uses."""
        return self._row * self._tasks

    def bind(self, before: Array, ends: Sequence[Ends], scratch: Array) -> Callable[[], None]:
        """What runs it on these arrays, an `Ends` for each direction."""
        words, parts = self._words.copy(), []
        for i, (end, (_, last, _)) in enumerate(zip(ends, self._held)):
            parts.append(before[..., i * self._width :])
            words[i, 4:8] = handle(parts[-1]), handle(end.y), handle(end.h), handle(last if self._gru else end.c)
            words[i, 10], words[i, 12], words[i, 13] = handle(scratch), end.by_step, end.by_row
        launch, threads, tasks, size, place = self._launch, self._threads, self._tasks, self._size, handle(words)

        def run(keep_alive: Any = (words, parts, ends, scratch, self)) -> None:
            launch(threads, tasks, place, size)

        return run
