"""Mean and 1 / standard deviation of groups of numbers, as norms want them, in one pass over memory.

Pieces that stay in the first-level cache are summed, then their squared distances from their own mean, so nothing cancels; pieces of one
group are combined by T. Chan, G. Golub and R. LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances"
(Stanford CS-TR-79-773, 1979). Where numbers lie behind the axis, whole lines are summed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from llvmlite import ir

from kernels.cost.calibration import threads_for
from kernels.primitives.records import Record, address, integer
from kernels.primitives.reduction import Row, along_row, row
from kernels.primitives.rows import SHARES, rows_of_a_task
from kernels.primitives.vector_pass import VectorPass, bits, line
from kernels.runtime import micro_kernel
from kernels.runtime.ir import VectorBuilder, call, split
from kernels.runtime.jit import njit
from kernels.runtime.machine import machine
from kernels.runtime.micro_kernel import Fixed, emitter
from kernels.runtime.pointers import pointed, read_number, write_number
from kernels.runtime.regions import region
from kernels.runtime.scratch import handle, whole

Array = np.ndarray

PIECE = 4096  # numbers of a piece: 16 KB of float32
LINES = 1 << 18  # bytes of the lines that a task sums twice


class ChannelPieces(Record):
    """A task: a channel of (n, channels, length), a piece at a time."""

    lanes = integer("numbers in a vector")
    itemsize = integer("bytes of a number")
    n = integer("images")
    channels = integer("how many")
    length = integer("numbers of a channel of an image")
    piece = integer("numbers that are summed at a time")


class Spread(NamedTuple):
    """to[0] = sum of (x[i] - mean[0])^2 over i < numbers."""

    lanes: Fixed  # of a vector
    itemsize: Fixed
    to: int  # address
    x: int  # address
    mean: int  # address
    numbers: int


def squared_distances(w: VectorBuilder, source: ir.Value, numbers: ir.Value, mean: ir.Value) -> ir.Value:
    """Sum of (source[i] - mean)^2 over i < numbers: a scalar; mean is a vector."""

    def add(total: ir.Value, loaded: ir.Value, mask: ir.Value | None) -> ir.Value:
        distance = w.b.fsub(loaded, mean)
        distance = distance if mask is None else w.b.select(mask, distance, w.zero())
        return w.fma(distance, distance, total)

    return along_row(w, source, numbers, w.zero(), add, w.add)


@emitter
def _emit(w: VectorBuilder, p: Spread) -> None:
    mean = w.splat(w.load_scalar(w.pointer(p.mean)))
    w.b.store(squared_distances(w, w.pointer(p.x), p.numbers, mean), w.pointer(p.to))


@njit
def _spread(p):
    _emit(p, ())


def spread(lanes: int, itemsize: int) -> int:
    """Address of the compiled `Spread`."""
    return micro_kernel.address(_spread, Spread, lanes=lanes, itemsize=itemsize)


class Groups(Record):
    """A task where groups are contiguous: some pieces."""

    row = address("of the micro-kernel that sums; takes a Row")
    spread = address("of the one that sums squared distances; takes a Spread")
    lanes = integer("numbers in a vector")
    itemsize = integer("bytes of a number")
    groups = integer("how many")
    length = integer("numbers of a group")
    piece = integer("numbers of a piece")
    pieces = integer("of a group")
    at_once = integer("pieces of a task")
    repeat = integer("times that each result is written")
    factors = address("of what 1 / deviation is multiplied by, or 0; in turns, groups and repeats counted together")
    turns = integer("how many such factors")
    one = integer("bits of 1")


@region
def _pieces(task, thread, x, partial, geometry, zero):
    """Mean and sum of squared distances of pieces; x and partial, of two numbers a piece, are handles, geometry: Groups."""
    g = geometry[0]
    size = g.itemsize
    for number in range(task * g.at_once, min((task + 1) * g.at_once, g.groups * g.pieces)):
        group, piece = split(number, g.pieces)
        count = min(g.piece, g.length - piece * g.piece)
        source, to = pointed(x) + (group * g.length + piece * g.piece) * size, pointed(partial) + 2 * number * size
        call(g.row, Row(kind=0, lanes=g.lanes, itemsize=size, to=to, x=source, numbers=count, p=g.one))
        write_number(to, type(zero)(read_number(to, zero) / count))
        call(g.spread, Spread(lanes=g.lanes, itemsize=size, to=to + size, x=source, mean=to, numbers=count))


@region
def _combined(group, thread, mean, scale, partial, geometry, zero, epsilon):
    """Mean and 1 / deviation of a group from those of its pieces, repeated; mean, scale and partial are handles, geometry: Groups."""
    g = geometry[0]
    size, pieces = g.itemsize, pointed(partial) + 2 * group * g.pieces * g.itemsize
    total = 0.0
    for i in range(g.pieces):
        count = min(g.piece, g.length - i * g.piece)
        total += float(read_number(pieces + 2 * i * size, zero)) * count
    middle = total / g.length
    squares = 0.0
    for i in range(g.pieces):
        count = min(g.piece, g.length - i * g.piece)
        distance = float(read_number(pieces + 2 * i * size, zero)) - middle
        squares += float(read_number(pieces + (2 * i + 1) * size, zero)) + distance * distance * count
    factor = 1.0 / math.sqrt(squares / g.length + epsilon)
    for i in range(g.repeat):
        place = group * g.repeat + i
        gamma = float(read_number(g.factors + place % g.turns * size, zero)) if g.factors else 1.0
        write_number(pointed(mean) + place * size, type(zero)(middle))
        write_number(pointed(scale) + place * size, type(zero)(factor * gamma))


class Along(Record):
    """A task where numbers lie behind the axis: a piece of a line. Micro-kernels take a VectorPass."""

    copy = address("of the one that copies")
    copy_form = integer("its form")
    add = address("of the one that adds")
    add_form = integer("its form")
    affine = address("of the one that multiplies and adds numbers")
    affine_form = integer("its form")
    spread = address("of the one that adds a squared distance")
    spread_form = integer("its form")
    root = address("of the one that takes roots")
    root_form = integer("its form")
    divide = address("of the one that divides a number")
    divide_form = integer("its form")
    lanes = integer("numbers in a vector")
    itemsize = integer("bytes of a number")
    length = integer("lines that are summed")
    inner = integer("numbers of a line")
    piece = integer("numbers of a piece")
    share = integer("bits of 1 / length")
    one = integer("bits of 1")
    epsilon = integer("bits of what is added to the variance")


@region
def _down(task, thread, x, mean, scale, geometry):
    """Mean and 1 / deviation over lines, for a piece of them; x, mean and scale are handles, geometry: Along."""
    g = geometry[0]
    lanes, size = g.lanes, g.itemsize
    i, piece = split(task, (g.inner + g.piece - 1) // g.piece)
    n = min(g.piece, g.inner - piece * g.piece)
    at, first = (i * g.inner + piece * g.piece) * size, pointed(x) + (i * g.length * g.inner + piece * g.piece) * size
    m, s = pointed(mean) + at, pointed(scale) + at
    call(g.copy, VectorPass(form=g.copy_form, lanes=lanes, itemsize=size, y=m, a=first, b=m, c=m, numbers=n, p=0, q=0))
    for k in range(1, g.length):
        line_k = first + k * g.inner * size
        call(g.add, VectorPass(form=g.add_form, lanes=lanes, itemsize=size, y=m, a=m, b=line_k, c=m, numbers=n, p=0, q=0))
    call(g.affine, VectorPass(form=g.affine_form, lanes=lanes, itemsize=size, y=m, a=m, b=m, c=m, numbers=n, p=g.share, q=0))
    call(g.affine, VectorPass(form=g.affine_form, lanes=lanes, itemsize=size, y=s, a=m, b=m, c=m, numbers=n, p=0, q=0))
    for k in range(g.length):
        line_k = first + k * g.inner * size
        call(g.spread, VectorPass(form=g.spread_form, lanes=lanes, itemsize=size, y=s, a=s, b=line_k, c=m, numbers=n, p=0, q=0))
    call(g.affine, VectorPass(form=g.affine_form, lanes=lanes, itemsize=size, y=s, a=s, b=s, c=s, numbers=n, p=g.share, q=g.epsilon))
    call(g.root, VectorPass(form=g.root_form, lanes=lanes, itemsize=size, y=s, a=s, b=s, c=s, numbers=n, p=0, q=0))
    call(g.divide, VectorPass(form=g.divide_form, lanes=lanes, itemsize=size, y=s, a=s, b=s, c=s, numbers=n, p=g.one, q=0))


Run = Callable[[Array, Array, Array, Array], Callable[[], None]]


def moments(
    dtype: np.dtype, groups: int, length: int, inner: int, epsilon: float, threads: int, repeat: int = 1, factors: Array | None = None
) -> tuple[Run, int]:
    """(what binds x, mean, scale and scratch to a run, bytes of scratch): x (groups, length, inner) -> mean and
    1 / sqrt(variance + epsilon), both (groups, inner), contiguous. Where inner is 1, each is written `repeat` times, and scale is
    multiplied by `factors` in turns."""
    dtype = np.dtype(dtype)
    size, lanes, zero = dtype.itemsize, machine().lanes(dtype.itemsize), dtype.type(0)
    threads = threads_for(2 * groups * length * inner / lanes, threads)
    if inner > 1:
        assert repeat == 1 and factors is None, "lines have no repeats"
        return _lines(dtype, groups, length, inner, epsilon, threads), 0
    pieces = -(-length // PIECE)
    piece = -(-length // pieces)
    at_once = rows_of_a_task(groups * pieces, threads)
    held = None if factors is None else np.ascontiguousarray(factors, dtype)
    geometry = Groups.packed(
        row=row("sum", lanes, size), spread=spread(lanes, size), lanes=lanes, itemsize=size, groups=groups, length=length, piece=piece,
        pieces=pieces, at_once=at_once, repeat=repeat, factors=0 if held is None else held.ctypes.data,
        turns=1 if held is None else len(held), one=bits(1.0),
    )  # fmt: skip
    first, second = _pieces.ready(0, 0, geometry, zero), _combined.ready(0, 0, 0, geometry, zero, 0.0)
    tasks, few = -(-groups * pieces // at_once), threads_for(20 * groups * (pieces + repeat), threads)

    def bind(x: Array, mean: Array, scale: Array, scratch: Array) -> Callable[[], None]:
        from_x, to_mean, to_scale, partial = handle(x), handle(mean), handle(scale), handle(scratch)

        def run(keep_alive: tuple[Array | None, ...] = (x, mean, scale, scratch, held)) -> None:
            first(threads, tasks, from_x, partial, geometry, zero)
            second(few, groups, to_mean, to_scale, partial, geometry, zero, epsilon)

        return run

    return bind, whole(2 * groups * pieces * size)


def _lines(dtype: np.dtype, groups: int, length: int, inner: int, epsilon: float, threads: int) -> Run:
    size, lanes = dtype.itemsize, machine().lanes(dtype.itemsize)
    piece = max(4 * lanes, min(inner, LINES // (length * size)) // lanes * lanes)
    while threads > 1 and piece > 4 * lanes and groups * -(-inner // piece) < SHARES * threads:
        piece = max(4 * lanes, piece // 2 // lanes * lanes)
    names = {"copy": "copy", "add": "add", "affine": "affine", "spread": "add_square", "root": "sqrt", "divide": "divide"}
    lines = {name: line(passed, lanes, size) for name, passed in names.items()}
    geometry = Along.packed(
        **{name: found[0] for name, found in lines.items()}, **{f"{name}_form": found[1] for name, found in lines.items()}, lanes=lanes,
        itemsize=size, length=length, inner=inner, piece=piece, share=bits(1 / length), one=bits(1.0), epsilon=bits(epsilon),
    )  # fmt: skip
    launch, tasks = _down.ready(0, 0, 0, geometry), groups * -(-inner // piece)

    def bind(x: Array, mean: Array, scale: Array, scratch: Array) -> Callable[[], None]:
        places = handle(x), handle(mean), handle(scale)

        def run(keep_alive: tuple[Array, ...] = (x, mean, scale)) -> None:
            launch(threads, tasks, *places, geometry)

        return run

    return bind
