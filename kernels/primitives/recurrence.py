"""The recurrent half of LSTM and GRU layers: h R^T for some rows at a time, gates, new state, step after step.

The products with the input of all steps are one matrix product beforehand, with which the sums of `row_products` begin. Gates are passes
over lines that stay in the first-level cache: a gate of all rows of a task is one line. Rows of a batch and the two directions are
independent, so threads take those. Where there are fewer than threads and a step reads much, threads take parts of the state, each with its
columns of R, which stay in its own cache; then a step is a region of its own, since it needs all of the state before. Every second step
reads R from its end, which is still in the second-level cache where R is longer than it. Reference:
S. Hochreiter and J. Schmidhuber, "Long short-term memory", Neural Computation 9(8), 1997; K. Cho et al., arXiv 1406.1078.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from kernels.cost.calibration import threads_for
from kernels.primitives.records import Record, address, integer
from kernels.primitives.row_products import RowProducts, packed, row_products
from kernels.primitives.vector_pass import VectorPass, line
from kernels.runtime.byte_copy import clear_bytes, copy_bytes
from kernels.runtime.ir import call, split
from kernels.runtime.jit import njit
from kernels.runtime.machine import machine
from kernels.runtime.pointers import pointed, read_number
from kernels.runtime.regions import region
from kernels.runtime.scratch import handle, whole

Array = np.ndarray

VECTORS = 8  # vectors of a block of columns at most: as many sums as two units of four cycles keep busy
ROWS = 8  # rows of a task at most
CYCLES = 1.5  # of a vector of R that comes from the second-level cache
PASSES = ("fill", "mul", "sub", "fma", "sigmoid", "tanh")


class Steps(Record):
    """What one direction of a layer is told, its passes last."""

    steps = integer("of the sequence")
    hidden = integer("numbers of a state")
    backwards = integer("whether from the last step to the first")
    batch = integer("rows")
    rows = integer("of a task; those past the last row of the batch repeat it and are not handed out")
    groups = integer("of so many rows")
    chunks = integer("parts of a state, of which a task does one; with more than one, rows is 1")
    wide = integer("numbers of a part")
    blocks = integer("of columns of a gate of a part")
    lanes = integer("numbers in a vector")
    before_row = integer("numbers from row to row of the products with the input")
    by_step = integer("numbers from step to step of y")
    by_row = integer("numbers from row to row of y")
    before = address("handle of the products with the input and biases")
    y = address("handle of all states, as they are handed out")
    h = address("handle of the states before, which become those after")
    c = address("handle of an LSTM's cells, likewise; 0 for a GRU")
    matrix = address("handle of the packed matrix; of a GRU without its last third")
    last = address("handle of that third; 0 for an LSTM")
    inner = address("handle of the bias that a GRU adds to R h, if it is linear before its reset")
    lengths = address("handle of how many steps each row has, int32; 0: all")
    work = address("handle of the scratch")
    own = address("of the first task's own scratch, behind the states")
    own_bytes = integer("of one task's own scratch")
    product = address("of the micro-kernel; takes a RowProducts")
    fill = address("of the pass y = p; takes a VectorPass, as all of them do")
    fill_form = integer("its form")
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


class Task(NamedTuple):
    """Which rows and which part of a state, and where a task works."""

    row: int  # the first one
    present: int  # rows of the batch from there on, at most as many as a task has
    unit: int  # first number of the part
    units: int  # of its numbers, those that exist
    size: int  # bytes of a number
    state: int  # address of the two states of all parts, of which one is read and the other written
    state_bytes: int
    c: int  # address of an LSTM's cells, or what a GRU resets
    gates: int  # address of the gates, and behind them what is made of them
    c_before: int  # address of an LSTM's cells before a step, where rows may have no such step


@njit
def _task(d, number, rest, group, chunk, size):
    row, unit, line = group * d.rows, chunk * d.wide, d.rows * d.wide * size
    state_bytes = d.chunks * line
    own = pointed(d.work) + d.own + number * d.own_bytes
    return Task(
        row=row, present=min(d.rows, d.batch - row), unit=unit, units=min(d.wide, d.hidden - unit), size=size,
        state=pointed(d.work) + 2 * rest * state_bytes, state_bytes=state_bytes, c=own, gates=own + line,
        c_before=own + d.own_bytes - line,
    )  # fmt: skip


@njit
def _alive(d, at, t, i):
    """Whether a task's row i has a step t."""
    return not d.lengths or t < read_number(pointed(d.lengths) + (at.row + i) * 4, np.int32(0))


@njit
def _kept(d, at, t, part, before):
    """The numbers of rows that have no step t are those before it."""
    if d.lengths:
        for i in range(at.present):
            if not _alive(d, at, t, i):
                copy_bytes(part + i * d.wide * at.size, before + i * d.wide * at.size, at.units * at.size)


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


class Sums(NamedTuple):
    """A product with the state: where it goes, what it reads, what its sums begin with."""

    y: int
    x: int
    matrix: int
    gates: int
    source: int
    source_row: int
    from_end: int  # whether the matrix is read from its end


@njit
def _product(d, at, sums):
    call(
        d.product,
        RowProducts(
            lanes=d.lanes, itemsize=at.size, vectors=0, rows=0, ahead=0, y=sums.y, y_row=d.wide, y_group=d.rows * d.wide,
            x=sums.x, x_row=d.chunks * d.wide, matrix=sums.matrix, k=d.hidden, groups=sums.gates, blocks=d.blocks, source=sums.source,
            source_row=sums.source_row, source_group=d.hidden, columns=at.units, present=at.present, from_end=sums.from_end,
        ),
    )  # fmt: skip


@njit
def _copied(d, at, part, state, outwards):
    """A part of a state from the rows of the batch, or to them; the numbers that do not exist are zero."""
    size, numbers = at.size, d.rows * d.wide
    if not outwards:
        _pass(d, d.fill, d.fill_form, size, Line(part, part, part, part, numbers))
    for i in range(at.present if outwards else d.rows):
        outside = pointed(state) + ((at.row + min(i, at.present - 1)) * d.hidden + at.unit) * size
        inside = part + i * d.wide * size
        if outwards:
            copy_bytes(outside, inside, at.units * size)
        else:
            copy_bytes(inside, outside, at.units * size)


@njit
def _handed_out(d, at, t, part):
    """The new state; zeros of rows that have no step t."""
    for i in range(at.present):
        to = pointed(d.y) + (t * d.by_step + (at.row + i) * d.by_row + at.unit) * at.size
        if _alive(d, at, t, i):
            copy_bytes(to, part + i * d.wide * at.size, at.units * at.size)
        else:
            clear_bytes(to, at.units * at.size)


@region
def _lstm(task, thread, directions, size, first, end):
    """Steps from `first` up to `end` of some rows in one direction, with -1 the states brought in before; the gates lie in ONNX's order:
    input, output, forget, cell."""
    rest, chunk = split(task, directions[0].chunks)
    direction, group = split(rest, directions[0].groups)
    d = directions[direction]
    at = _task(d, task, rest, group, chunk, size)
    numbers, part = d.rows * d.wide, at.unit * size
    gate, c, work = numbers * size, at.c, at.gates
    matrix = pointed(d.matrix) + 4 * chunk * d.wide * d.hidden * size
    if first < 0:
        _copied(d, at, at.state + part, d.h, False)
        _copied(d, at, c, d.c, False)
    for step in range(max(first, 0), end):
        t = d.steps - 1 - step if d.backwards else step
        source = pointed(d.before) + ((t * d.batch + at.row) * d.before_row + at.unit) * size
        old, new = at.state + step % 2 * at.state_bytes, at.state + (step + 1) % 2 * at.state_bytes + part
        _product(d, at, Sums(y=work, x=old, matrix=matrix, gates=4, source=source, source_row=d.before_row, from_end=step % 2))
        _pass(d, d.sigmoid, d.sigmoid_form, size, Line(work, work, work, work, 3 * numbers))
        i, o, f, g = work, work + gate, work + 2 * gate, work + 3 * gate
        if d.lengths:
            copy_bytes(at.c_before, c, gate)
        _pass(d, d.tanh, d.tanh_form, size, Line(g, g, g, g, numbers))
        _pass(d, d.mul, d.mul_form, size, Line(c, c, f, c, numbers))
        _pass(d, d.fma, d.fma_form, size, Line(c, i, g, c, numbers))
        _pass(d, d.tanh, d.tanh_form, size, Line(g, c, c, c, numbers))
        _pass(d, d.mul, d.mul_form, size, Line(new, o, g, o, numbers))
        _kept(d, at, t, c, at.c_before)
        _kept(d, at, t, new, old + part)
        _handed_out(d, at, t, new)
    if end == d.steps:
        _copied(d, at, at.state + end % 2 * at.state_bytes + part, d.h, True)
        _copied(d, at, c, d.c, True)


@region
def _gru(task, thread, directions, size, first, end):
    """The same of a GRU; the gates lie in ONNX's order: update, reset, hidden. R's last third lies apart."""
    rest, chunk = split(task, directions[0].chunks)
    direction, group = split(rest, directions[0].groups)
    d = directions[direction]
    at = _task(d, task, rest, group, chunk, size)
    numbers, part = d.rows * d.wide, at.unit * size
    gate, z = numbers * size, at.gates
    r, n = z + gate, z + 2 * gate
    third = chunk * d.wide * d.hidden * size
    matrix, last, inner = pointed(d.matrix) + 2 * third, pointed(d.last) + third, pointed(d.inner)
    if first < 0:
        _copied(d, at, at.state + part, d.h, False)
    for step in range(max(first, 0), end):
        t = d.steps - 1 - step if d.backwards else step
        source = pointed(d.before) + ((t * d.batch + at.row) * d.before_row + at.unit) * size
        old, new = at.state + step % 2 * at.state_bytes, at.state + (step + 1) % 2 * at.state_bytes + part
        hidden = source + 2 * d.hidden * size
        _product(d, at, Sums(y=z, x=old, matrix=matrix, gates=2, source=source, source_row=d.before_row, from_end=step % 2))
        _pass(d, d.sigmoid, d.sigmoid_form, size, Line(z, z, z, z, 2 * numbers))
        if inner:  # linear before reset: tanh(W x + r (R h + b))
            _product(d, at, Sums(y=n, x=old, matrix=last, gates=1, source=inner + part, source_row=0, from_end=step % 2))
            for i in range(at.present):
                down = i * d.wide * size
                _pass(d, d.fma, d.fma_form, size, Line(n + down, r + down, n + down, hidden + i * d.before_row * size, at.units))
        else:  # tanh(W x + R (r h))
            _pass(d, d.mul, d.mul_form, size, Line(at.c, r, old, r, numbers))
            _product(d, at, Sums(y=n, x=at.c, matrix=last, gates=1, source=hidden, source_row=d.before_row, from_end=step % 2))
        _pass(d, d.tanh, d.tanh_form, size, Line(n, n, n, n, numbers))
        _pass(d, d.sub, d.sub_form, size, Line(new, old + part, n, n, numbers))
        _pass(d, d.fma, d.fma_form, size, Line(new, z, new, n, numbers))
        _kept(d, at, t, new, old + part)
        _handed_out(d, at, t, new)
    if end == d.steps:
        _copied(d, at, at.state + end % 2 * at.state_bytes + part, d.h, True)


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

    before (steps, batch, directions * gates * hidden): products with the input and biases, direction by direction. chunks: parts of the
    state that threads take.
    """

    def __init__(self, kind: str, directions: Sequence[Direction], steps: int, batch: int, threads: int) -> None:
        columns, hidden = directions[0].recurrent.shape
        dtype, gru = directions[0].recurrent.dtype, kind == "GRU"
        size, lanes = dtype.itemsize, machine().lanes(dtype.itemsize)
        alone, gates = batch * len(directions), columns // hidden
        self._threads = threads if steps * hidden * columns * alone > 1 << 18 else 1
        at_once = not gru or directions[0].inner is not None  # whether all products of a step are with the state before
        many = -(-hidden // lanes)
        parts = threads_for(hidden * gates * many * CYCLES, self._threads) // alone if at_once else 1
        of_a_part = -(-many // max(1, parts))
        blocks = -(-of_a_part // VECTORS)
        vectors = -(-of_a_part // blocks)
        self.chunks = chunks = -(-many // (blocks * vectors))
        most = (24 if machine().registers > 16 else 12) // vectors  # rows whose sums stay in registers
        groups = -(-batch // max(1, min(ROWS, most, -(-alone // self._threads))))
        rows, wide = -(-batch // groups), blocks * vectors * lanes
        line_bytes, states = rows * wide * size, len(directions) * groups * 2
        self._own, self._own_bytes = whole(states * chunks * line_bytes), whole((1 + gates) * line_bytes) + whole(line_bytes)
        self._tasks, self._steps, self._gru = len(directions) * groups * chunks, steps, gru
        self._turns = [(-1, steps)] if chunks == 1 else [(-1, 0), *((i, i + 1) for i in range(steps))]
        passes = {name: line(name, lanes, size) for name in PASSES}
        forms = {name: found[0] for name, found in passes.items()} | {f"{name}_form": found[1] for name, found in passes.items()}
        product = row_products(vectors, rows, lanes, size)
        self._packed: list[tuple[Array, Array | None, Array | None]] = []
        records = []
        for each in directions:
            matrix = packed(each.recurrent[: 2 * hidden] if gru else each.recurrent, 2 if gru else 4, chunks, blocks, vectors)
            last = packed(each.recurrent[2 * hidden :], 1, chunks, blocks, vectors) if gru else None
            inner = None if each.inner is None else np.ascontiguousarray(each.inner)
            self._packed.append((matrix, last, inner))
            records.append(Steps.packed(
                steps=steps, hidden=hidden, backwards=each.backwards, batch=batch, rows=rows, groups=groups, chunks=chunks, wide=wide,
                blocks=blocks, lanes=lanes, before_row=len(directions) * columns, by_step=0, by_row=0, before=0, y=0, h=0, c=0, lengths=0,
                matrix=handle(matrix), last=handle(last), inner=handle(inner), work=0, own=self._own, own_bytes=self._own_bytes,
                product=product, **forms,
            ))  # fmt: skip
        self._records = np.concatenate(records)
        self._launch = (_gru if gru else _lstm).ready(self._records, size, 0, 0)
        self._width, self._size = columns, size

    @property
    def scratch_bytes(self) -> int:
        """Bytes of scratch that a run uses."""
        return self._own + self._own_bytes * self._tasks

    def bind(self, before: Array, ends: Sequence[Ends], scratch: Array, lengths: Array | None = None) -> Callable[[], None]:
        """What runs it on these arrays, an `Ends` for each direction. lengths (batch): steps of each row, int32; behind them y is zero."""
        records, products_of = self._records.copy(), []
        for i, end in enumerate(ends):
            products_of.append(before[..., i * self._width :])
            records["before"][i], records["y"][i], records["h"][i] = handle(products_of[-1]), handle(end.y), handle(end.h)
            records["c"][i], records["work"][i] = 0 if self._gru else handle(end.c), handle(scratch)
            records["by_step"][i], records["by_row"][i], records["lengths"][i] = end.by_step, end.by_row, handle(lengths)
        launch, threads, tasks, size, turns = self._launch, self._threads, self._tasks, self._size, self._turns

        def run(keep_alive: Any = (products_of, ends, scratch, lengths, self)) -> None:
            for first, end in turns:
                launch(threads, tasks, records, size, first, end)

        return run
