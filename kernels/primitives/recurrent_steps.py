"""The steps of LSTM, GRU and RNN layers as compiled regions; `recurrence` plans and starts them.

A task takes some rows of one direction through all steps, or a part of their states through one: the product with the state, then gates as
passes over lines that stay in the first-level cache, a gate of all rows of a task as one line. Every second step reads R from its end,
which is still in the second-level cache where R is longer than it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kernels.primitives.records import Record, address, integer
from kernels.primitives.row_products import RowProducts
from kernels.primitives.vector_pass import VectorPass
from kernels.runtime.byte_copy import clear_bytes, copy_bytes
from kernels.runtime.ir import call, split
from kernels.runtime.jit import njit
from kernels.runtime.pointers import pointed, read_number
from kernels.runtime.regions import region


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
    c = address("handle of an LSTM's cells, likewise; 0 for others")
    matrix = address("handle of the packed matrix; of a GRU without its last third")
    last = address("handle of that third; 0 for others")
    peepholes = address("handle of what an LSTM's gates see of its cells: lines of input, output and forget for each part; 0: nothing")
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
    gate = address("of the gates' activation")
    gate_form = integer("its form")
    new = address("of the activation of what is new: an LSTM's cell gate, a GRU's hidden one, an RNN's state")
    new_form = integer("its form")
    seen = address("of the activation that an LSTM's cells are handed out through")
    seen_form = integer("its form")


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
    matrix, to_i = pointed(d.matrix) + 4 * chunk * d.wide * d.hidden * size, pointed(d.peepholes) + 3 * chunk * gate
    if first < 0:
        _copied(d, at, at.state + part, d.h, False)
        _copied(d, at, c, d.c, False)
    for step in range(max(first, 0), end):
        t = d.steps - 1 - step if d.backwards else step
        source = pointed(d.before) + ((t * d.batch + at.row) * d.before_row + at.unit) * size
        old, new = at.state + step % 2 * at.state_bytes, at.state + (step + 1) % 2 * at.state_bytes + part
        _product(d, at, Sums(y=work, x=old, matrix=matrix, gates=4, source=source, source_row=d.before_row, from_end=step % 2))
        i, o, f, g = work, work + gate, work + 2 * gate, work + 3 * gate
        if d.lengths:
            copy_bytes(at.c_before, c, gate)
        if d.peepholes:  # input and forget gates see the cells before, the output gate those after
            _pass(d, d.fma, d.fma_form, size, Line(i, to_i, c, i, numbers))
            _pass(d, d.fma, d.fma_form, size, Line(f, to_i + 2 * gate, c, f, numbers))
            _pass(d, d.gate, d.gate_form, size, Line(f, f, f, f, numbers))
        _pass(d, d.gate, d.gate_form, size, Line(i, i, i, i, (1 if d.peepholes else 3) * numbers))
        _pass(d, d.new, d.new_form, size, Line(g, g, g, g, numbers))
        _pass(d, d.mul, d.mul_form, size, Line(c, c, f, c, numbers))
        _pass(d, d.fma, d.fma_form, size, Line(c, i, g, c, numbers))
        if d.peepholes:
            _pass(d, d.fma, d.fma_form, size, Line(o, to_i + gate, c, o, numbers))
            _pass(d, d.gate, d.gate_form, size, Line(o, o, o, o, numbers))
        _pass(d, d.seen, d.seen_form, size, Line(g, c, c, c, numbers))
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
        _pass(d, d.gate, d.gate_form, size, Line(z, z, z, z, 2 * numbers))
        if inner:  # linear before reset: tanh(W x + r (R h + b))
            _product(d, at, Sums(y=n, x=old, matrix=last, gates=1, source=inner + part, source_row=0, from_end=step % 2))
            for i in range(at.present):
                down = i * d.wide * size
                _pass(d, d.fma, d.fma_form, size, Line(n + down, r + down, n + down, hidden + i * d.before_row * size, at.units))
        else:  # tanh(W x + R (r h))
            _pass(d, d.mul, d.mul_form, size, Line(at.c, r, old, r, numbers))
            _product(d, at, Sums(y=n, x=at.c, matrix=last, gates=1, source=hidden, source_row=d.before_row, from_end=step % 2))
        _pass(d, d.new, d.new_form, size, Line(n, n, n, n, numbers))
        _pass(d, d.sub, d.sub_form, size, Line(new, old + part, n, n, numbers))
        _pass(d, d.fma, d.fma_form, size, Line(new, z, new, n, numbers))
        _kept(d, at, t, new, old + part)
        _handed_out(d, at, t, new)
    if end == d.steps:
        _copied(d, at, at.state + end % 2 * at.state_bytes + part, d.h, True)


@region
def _rnn(task, thread, directions, size, first, end):
    """The same of a layer without gates."""
    rest, chunk = split(task, directions[0].chunks)
    direction, group = split(rest, directions[0].groups)
    d = directions[direction]
    at = _task(d, task, rest, group, chunk, size)
    part = at.unit * size
    matrix = pointed(d.matrix) + chunk * d.wide * d.hidden * size
    if first < 0:
        _copied(d, at, at.state + part, d.h, False)
    for step in range(max(first, 0), end):
        t = d.steps - 1 - step if d.backwards else step
        source = pointed(d.before) + ((t * d.batch + at.row) * d.before_row + at.unit) * size
        old, new = at.state + step % 2 * at.state_bytes, at.state + (step + 1) % 2 * at.state_bytes + part
        _product(d, at, Sums(y=new, x=old, matrix=matrix, gates=1, source=source, source_row=d.before_row, from_end=step % 2))
        _pass(d, d.new, d.new_form, size, Line(new, new, new, new, d.rows * d.wide))
        _kept(d, at, t, new, old + part)
        _handed_out(d, at, t, new)
    if end == d.steps:
        _copied(d, at, at.state + end % 2 * at.state_bytes + part, d.h, True)


REGIONS = {"LSTM": _lstm, "GRU": _gru, "RNN": _rnn}
