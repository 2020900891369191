"""The recurrent half of LSTM and GRU layers: h R^T for one row at a time, gates, new state, step after step.

The products with the input of all steps are one matrix product beforehand. Here the matrix R is packed in blocks of 8 vectors of columns,
through which a row of h runs while 8 sums stay in registers; gates are passes over lines that stay in the first-level cache. Rows of a
batch are independent, so threads take rows. Reference: S. Hochreiter and J. Schmidhuber, "Long short-term memory", Neural Computation 9(8),
1997; K. Cho et al., arXiv 1406.1078.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from kernels.primitives.vector_pass import VectorPass, line
from kernels.runtime.ir import VectorBuilder, call, i64, read_index
from kernels.runtime.jit import njit
from kernels.runtime.machine import machine
from kernels.runtime.micro_kernel import Fixed, address, emitter
from kernels.runtime.pointers import pointed
from kernels.runtime.regions import region
from kernels.runtime.scratch import handle

Array = np.ndarray

WIDE = 8  # vectors of a block of columns: as many sums as two units of four cycles keep busy
PASSES = ("copy", "add", "mul", "sub", "fma", "sigmoid", "tanh")
HEAD = 17  # int64s of a description before its passes


class Products(NamedTuple):
    """y[block] = sum over k of x[k] * matrix[block, k], blocks of `wide` vectors."""

    lanes: Fixed  # of a vector
    itemsize: Fixed
    wide: Fixed  # vectors of a block
    y: int  # address
    x: int  # address
    matrix: int  # address
    k: int  # numbers of x
    blocks: int


@emitter
def _emit(w: VectorBuilder, p: Products) -> None:
    b, width = w.b, p.wide * p.lanes
    to, source, matrix = w.pointer(p.y), w.pointer(p.x), w.pointer(p.matrix)
    with w.loop(p.blocks) as block:
        sums = [w.variable(w.zero()) for _ in range(p.wide)]
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


def products(wide: int, lanes: int, itemsize: int) -> int:
    """Address of the compiled `Products`."""
    return address(_products, Products, lanes=lanes, itemsize=itemsize, wide=wide)


def packed(matrix: Array, wide: int = WIDE) -> tuple[Array, int]:
    """(columns, k) matrix as blocks of columns (blocks, k, wide * lanes), zeros at the end; and how many blocks."""
    columns, count = matrix.shape
    width = wide * machine().lanes(matrix.itemsize)
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
def _lstm(row, thread, description, size):
    """All steps of one row of a batch; the gates lie in ONNX's order: input, output, forget, cell."""
    d = pointed(description)
    steps, hidden, blocks, backwards = read_index(d, 0), read_index(d, 1), read_index(d, 2), read_index(d, 3)
    before, y = pointed(read_index(d, 4)), pointed(read_index(d, 5))
    h, c = pointed(read_index(d, 6)) + row * hidden * size, pointed(read_index(d, 7)) + row * hidden * size
    matrix, work = pointed(read_index(d, 8)), pointed(read_index(d, 10)) + row * read_index(d, 11)
    by_step, by_row, batch, product = read_index(d, 12), read_index(d, 13), read_index(d, 14), read_index(d, 16)
    line_ = hidden * size
    bent = work + blocks * 8 * read_index(d, 15) * size
    for step in range(steps):
        t = steps - 1 - step if backwards else step
        call(
            product,
            Products(lanes=read_index(d, 15), itemsize=size, wide=WIDE, y=work, x=h, matrix=matrix, k=hidden, blocks=blocks),
        )  # fmt: skip
        _pass(d, 1, size, work, work, before + (t * batch + row) * 4 * line_, work, 4 * hidden)
        _pass(d, 5, size, work, work, work, work, 3 * hidden)
        i, o, f, g = work, work + line_, work + 2 * line_, work + 3 * line_
        _pass(d, 6, size, g, g, g, g, hidden)
        _pass(d, 2, size, c, c, f, c, hidden)
        _pass(d, 4, size, c, i, g, c, hidden)
        _pass(d, 6, size, bent, c, c, c, hidden)
        _pass(d, 2, size, h, o, bent, h, hidden)
        _pass(d, 0, size, y + (t * by_step + row * by_row) * size, h, h, h, hidden)


@region
def _gru(row, thread, description, size):
    """All steps of one row of a batch; the gates lie in ONNX's order: update, reset, hidden. Blocks of R's last third lie apart."""
    d = pointed(description)
    steps, hidden, blocks, backwards = read_index(d, 0), read_index(d, 1), read_index(d, 2), read_index(d, 3)
    before, y = pointed(read_index(d, 4)), pointed(read_index(d, 5))
    h, last = pointed(read_index(d, 6)) + row * hidden * size, pointed(read_index(d, 7))
    matrix, inner, work = pointed(read_index(d, 8)), pointed(read_index(d, 9)), pointed(read_index(d, 10)) + row * read_index(d, 11)
    by_step, by_row, batch, product = read_index(d, 12), read_index(d, 13), read_index(d, 14), read_index(d, 16)
    line_, width = hidden * size, 8 * read_index(d, 15)
    thirds = (hidden + width - 1) // width
    new = work + blocks * width * size
    reset_first = new + thirds * width * size
    for step in range(steps):
        t = steps - 1 - step if backwards else step
        source = before + (t * batch + row) * 3 * line_
        call(
            product,
            Products(lanes=read_index(d, 15), itemsize=size, wide=WIDE, y=work, x=h, matrix=matrix, k=hidden, blocks=blocks),
        )  # fmt: skip
        _pass(d, 1, size, work, work, source, work, 2 * hidden)
        _pass(d, 5, size, work, work, work, work, 2 * hidden)
        z, r = work, work + line_
        if inner:  # linear before reset: tanh(W x + r (R h + b))
            call(
                product,
                Products(lanes=read_index(d, 15), itemsize=size, wide=WIDE, y=new, x=h, matrix=last, k=hidden, blocks=thirds),
            )  # fmt: skip
            _pass(d, 1, size, new, new, inner, new, hidden)
            _pass(d, 4, size, new, r, new, source + 2 * line_, hidden)
        else:  # tanh(W x + R (r h))
            _pass(d, 2, size, reset_first, r, h, r, hidden)
            call(
                product,
                Products(lanes=read_index(d, 15), itemsize=size, wide=WIDE, y=new, x=reset_first, matrix=last, k=hidden, blocks=thirds),
            )  # fmt: skip
            _pass(d, 1, size, new, new, source + 2 * line_, new, hidden)
        _pass(d, 6, size, new, new, new, new, hidden)
        _pass(d, 3, size, h, h, new, h, hidden)
        _pass(d, 4, size, h, z, h, new, hidden)
        _pass(d, 0, size, y + (t * by_step + row * by_row) * size, h, h, h, hidden)


class Recurrence:
    """One direction of an "LSTM" or "GRU" layer: `run(before, y, h, c, scratch)`.

    before (steps, batch, gates * hidden): products with the input and biases. y (steps, batch, hidden), last axis contiguous; its steps per
    step and row are given in numbers. h and c (batch, hidden): the state before, which becomes the state after. `inner`: the bias that a
    GRU that is linear before its reset adds to R h.
    """

    def __init__(self, kind: str, recurrent: Array, inner: Array | None, steps: int, batch: int, backwards: bool, threads: int) -> None:
        hidden, dtype = recurrent.shape[1], recurrent.dtype
        size, lanes = dtype.itemsize, machine().lanes(dtype.itemsize)
        first = recurrent if kind == "LSTM" else recurrent[: 2 * hidden]
        self._matrix, blocks = packed(first)
        self._last: Array | None = None
        thirds = 0
        if kind == "GRU":
            self._last, thirds = packed(recurrent[2 * hidden :])
        self._inner = None if inner is None else np.ascontiguousarray(inner)
        width = WIDE * lanes
        self._row = (blocks + 2 * max(thirds, -(-hidden // width))) * width * size
        self._batch, self._kind = batch, kind
        self._threads = threads if steps * hidden * recurrent.shape[0] * batch > 1 << 18 else 1
        product = products(WIDE, lanes, size)
        head = [steps, hidden, blocks, int(backwards), 0, 0, 0, 0, handle(self._matrix), handle(self._inner), 0, self._row, 0, 0, batch,
                lanes, product]  # fmt: skip
        self._words = np.array([*head, *(word for name in PASSES for word in line(name, lanes, size))], np.int64)
        self._launch = (_lstm if kind == "LSTM" else _gru).ready(0, size)
        self._size = size

    @property
    def scratch_bytes(self) -> int:
        """Bytes of scratch that a run uses."""
        return self._row * self._batch

    def bind(self, before: Array, y: Array, by_step: int, by_row: int, h: Array, c: Array | None, scratch: Array) -> Any:
        """What runs it on these arrays."""
        words = self._words.copy()
        words[4:8] = handle(before), handle(y), handle(h), handle(self._last if self._kind == "GRU" else c)
        words[10], words[12], words[13] = handle(scratch), by_step, by_row
        launch, threads, batch, size, place = self._launch, self._threads, self._batch, self._size, handle(words)

        def run(held: Any = (words, before, y, h, c, scratch, self)) -> None:
            launch(threads, batch, place, size)

        return run
