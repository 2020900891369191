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

from kernels.primitives.records import Record, address, integer
from kernels.primitives.vector_pass import VectorPass, line
from kernels.runtime.ir import VectorBuilder, call, i64, split
from kernels.runtime.jit import njit
from kernels.runtime.machine import machine
from kernels.runtime.micro_kernel import Fixed, emitter
from kernels.runtime.micro_kernel import address as address_of
from kernels.runtime.pointers import pointed
from kernels.runtime.regions import region
from kernels.runtime.scratch import handle

Array = np.ndarray

VECTORS = 8  # vectors of a block of columns: as many sums as two units of four cycles keep busy
PASSES = ("copy", "add", "mul", "sub", "fma", "sigmoid", "tanh")


class Products(NamedTuple):
    """y[block] = sum over k of x[k] * matrix[block, k], blocks of `vectors` vectors."""

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
    return address_of(_products, Products, lanes=lanes, itemsize=itemsize, vectors=vectors)


def packed(matrix: Array, vectors: int = VECTORS) -> tuple[Array, int]:
    """(columns, k) matrix as blocks of columns (blocks, k, vectors * lanes), zeros at the end; and how many blocks."""
    columns, count = matrix.shape
    width = vectors * machine().lanes(matrix.itemsize)
    blocks = -(-columns // width)
    found = np.zeros((blocks * width, count), matrix.dtype)
    found[:columns] = matrix
    return np.ascontiguousarray(found.reshape(blocks, width, count).transpose(0, 2, 1)), blocks


class Steps(Record):
    """What one direction of a layer is told, its passes last."""

    steps = integer("of the sequence")
    hidden = integer("numbers of a state")
    blocks = integer("of the packed matrix' columns")
    backwards = integer("whether from the last step to the first")
    batch = integer("rows")
    lanes = integer("numbers in a vector")
    before_pitch = integer("numbers from row to row of the products with the input")
    by_step = integer("numbers from step to step of y")
    by_row = integer("numbers from row to row of y")
    before = address("handle of the products with the input and biases")
    y = address("handle of all states, as they are handed out")
    h = address("handle of the states before, which become those after")
    c = address("handle of an LSTM's cells, likewise; 0 for a GRU")
    matrix = address("handle of the packed matrix; of a GRU without its last third")
    last = address("handle of that third; 0 for an LSTM")
    inner = address("handle of the bias that a GRU adds to R h, if it is linear before its reset")
    work = address("handle of the scratch")
    work_bytes = integer("of one task's scratch")
    product = address("of the micro-kernel; takes a Products")
    copy = address("of the pass y = a; takes a VectorPass, as all of them do")
    copy_form = integer("its form")
    add = address("of y = a + b")
    add_form = integer("its form")
    mul = address("of y = a * b")
    mul_form = integer("its form")
    sub = address("of y = a - b")
    sub_form = integer("its form")
    fma = address("of y = a * b + c")
    fma_form = integer("its form")
    sigmoid = address("of y = 1 / (1 + exp(-a))")
    sigmoid_form = integer("its form")
    tanh = address("of y = tanh(a)")
    tanh_form = integer("its form")


class Line(NamedTuple):
    """Where a pass reads and writes: addresses, and how many numbers."""

    y: int
    a: int
    b: int
    c: int
    numbers: int


@njit
def _pass(d, kernel, form, size, at):
    """One of PASSES on a Line."""
    call(
        kernel,
        VectorPass(form=form, lanes=d.lanes, itemsize=size, y=at.y, a=at.a, b=at.b, c=at.c, numbers=at.numbers, p=0, q=0),
    )  # fmt: skip


@njit
def _product(d, size, y, x, matrix, blocks):
    """y = the product of a state and a packed matrix of so many blocks."""
    call(
        d.product,
        Products(lanes=d.lanes, itemsize=size, vectors=VECTORS, y=y, x=x, matrix=matrix, k=d.hidden, blocks=blocks),
    )  # fmt: skip


@region
def _lstm(task, thread, directions, size):
    """All steps of one row of a batch in one direction; the gates lie in ONNX's order: input, output, forget, cell."""
    direction, row = split(task, directions[0].batch)
    d = directions[direction]
    hidden = d.hidden
    before, y = pointed(d.before), pointed(d.y)
    h, c = pointed(d.h) + row * hidden * size, pointed(d.c) + row * hidden * size
    matrix, work = pointed(d.matrix), pointed(d.work) + task * d.work_bytes
    gate = hidden * size
    activated = work + d.blocks * VECTORS * d.lanes * size
    for step in range(d.steps):
        t = d.steps - 1 - step if d.backwards else step
        _product(d, size, work, h, matrix, d.blocks)
        source = before + (t * d.batch + row) * d.before_pitch * size
        _pass(d, d.add, d.add_form, size, Line(work, work, source, work, 4 * hidden))
        _pass(d, d.sigmoid, d.sigmoid_form, size, Line(work, work, work, work, 3 * hidden))
        i, o, f, g = work, work + gate, work + 2 * gate, work + 3 * gate
        _pass(d, d.tanh, d.tanh_form, size, Line(g, g, g, g, hidden))
        _pass(d, d.mul, d.mul_form, size, Line(c, c, f, c, hidden))
        _pass(d, d.fma, d.fma_form, size, Line(c, i, g, c, hidden))
        _pass(d, d.tanh, d.tanh_form, size, Line(activated, c, c, c, hidden))
        _pass(d, d.mul, d.mul_form, size, Line(h, o, activated, h, hidden))
        _pass(d, d.copy, d.copy_form, size, Line(y + (t * d.by_step + row * d.by_row) * size, h, h, h, hidden))


@region
def _gru(task, thread, directions, size):
    """All steps of one row of a batch in one direction; the gates lie in ONNX's order: update, reset, hidden. Blocks of R's last third
    lie apart."""
    direction, row = split(task, directions[0].batch)
    d = directions[direction]
    hidden = d.hidden
    before, y = pointed(d.before), pointed(d.y)
    h, last = pointed(d.h) + row * hidden * size, pointed(d.last)
    matrix, inner, work = pointed(d.matrix), pointed(d.inner), pointed(d.work) + task * d.work_bytes
    gate, width = hidden * size, VECTORS * d.lanes
    thirds = (hidden + width - 1) // width
    new = work + d.blocks * width * size
    reset_first = new + thirds * width * size
    for step in range(d.steps):
        t = d.steps - 1 - step if d.backwards else step
        source = before + (t * d.batch + row) * d.before_pitch * size
        _product(d, size, work, h, matrix, d.blocks)
        _pass(d, d.add, d.add_form, size, Line(work, work, source, work, 2 * hidden))
        _pass(d, d.sigmoid, d.sigmoid_form, size, Line(work, work, work, work, 2 * hidden))
        z, r = work, work + gate
        if inner:  # linear before reset: tanh(W x + r (R h + b))
            _product(d, size, new, h, last, thirds)
            _pass(d, d.add, d.add_form, size, Line(new, new, inner, new, hidden))
            _pass(d, d.fma, d.fma_form, size, Line(new, r, new, source + 2 * gate, hidden))
        else:  # tanh(W x + R (r h))
            _pass(d, d.mul, d.mul_form, size, Line(reset_first, r, h, r, hidden))
            _product(d, size, new, reset_first, last, thirds)
            _pass(d, d.add, d.add_form, size, Line(new, new, source + 2 * gate, new, hidden))
        _pass(d, d.tanh, d.tanh_form, size, Line(new, new, new, new, hidden))
        _pass(d, d.sub, d.sub_form, size, Line(h, h, new, h, hidden))
        _pass(d, d.fma, d.fma_form, size, Line(h, z, h, new, hidden))
        _pass(d, d.copy, d.copy_form, size, Line(y + (t * d.by_step + row * d.by_row) * size, h, h, h, hidden))


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
        passes = {name: line(name, lanes, size) for name in PASSES}
        forms = {name: found[0] for name, found in passes.items()} | {f"{name}_form": found[1] for name, found in passes.items()}
        self._packed: list[tuple[Array, Array | None, Array | None]] = []
        self._row, records = 0, []
        for each in directions:
            matrix, blocks = packed(each.recurrent[: 2 * hidden] if self._gru else each.recurrent)
            last, thirds = packed(each.recurrent[2 * hidden :]) if self._gru else (None, 0)
            inner = None if each.inner is None else np.ascontiguousarray(each.inner)
            self._packed.append((matrix, last, inner))
            width = VECTORS * lanes
            self._row = (blocks + 2 * max(thirds, -(-hidden // width))) * width * size
            records.append(Steps.packed(
                steps=steps, hidden=hidden, blocks=blocks, backwards=each.backwards, batch=batch, lanes=lanes,
                before_pitch=len(directions) * rows, by_step=0, by_row=0, before=0, y=0, h=0, c=0, matrix=handle(matrix), last=handle(last),
                inner=handle(inner), work=0, work_bytes=self._row, product=product, **forms,
            ))  # fmt: skip
        self._records = np.concatenate(records)
        self._launch = (_gru if self._gru else _lstm).ready(self._records, size)
        self._width, self._size = rows, size

    @property
    def scratch_bytes(self) -> int:
        """Bytes of scratch that a run uses."""
        return self._row * self._tasks

    def bind(self, before: Array, ends: Sequence[Ends], scratch: Array) -> Callable[[], None]:
        """What runs it on these arrays, an `Ends` for each direction."""
        records, products_of = self._records.copy(), []
        for i, end in enumerate(ends):
            products_of.append(before[..., i * self._width :])
            records["before"][i], records["y"][i], records["h"][i] = handle(products_of[-1]), handle(end.y), handle(end.h)
            records["c"][i], records["work"][i] = 0 if self._gru else handle(end.c), handle(scratch)
            records["by_step"][i], records["by_row"][i] = end.by_step, end.by_row
        launch, threads, tasks, size = self._launch, self._threads, self._tasks, self._size

        def run(keep_alive: Any = (products_of, ends, scratch, self)) -> None:
            launch(threads, tasks, records, size)

        return run
