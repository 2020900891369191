"""Rows of a transposed layer's output, gathered from products that have all taps of a position side by side.

    y [position of the input][output channel][tap]
    out[r][o] = start + sum over (h, kernel row) that meet row r, over (w, kernel column) that meet o of y[h, w][kernel row, kernel column]

Lanes are neighbours in the output, and fetch what each of them sees; where those lie side by side, a plain load does.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np

from kernels.methods.lowered.phase_sums import ROW, TASKS, met_inputs
from kernels.primitives.records import Record, address, integer
from kernels.problem.conv import ConvTranspose
from kernels.runtime import micro_kernel
from kernels.runtime.ir import VectorBuilder, call, i64, read_index, split
from kernels.runtime.jit import njit
from kernels.runtime.machine import machine
from kernels.runtime.micro_kernel import Fixed, emitter
from kernels.runtime.pointers import pointed
from kernels.runtime.regions import region

Array = np.ndarray

LINE = 64  # bytes, of which a task takes the channels
FETCHED, LOADED = 1.5, 3.0  # cycles for a number to be fetched, for a vector that lies side by side


class GatheredRow(NamedTuple):
    """What a row takes."""

    lanes: Fixed  # numbers in a vector
    itemsize: Fixed  # bytes of a number
    y: int  # address of the products of an image and channel
    out: int  # address of the row
    width: int  # numbers of the row
    bias: int  # address of what sums begin with, 0 for zero
    lines: int  # address of where in y each line of the input meets the row, in numbers
    n_lines: int
    terms: int  # of an output along the row, at most
    places: int  # address of where in a line each lane's number lies, [vector][term], negative for none
    side: int  # address of whether those of all lanes lie side by side, [vector][term]


@emitter
def _emit(w: VectorBuilder, p: GatheredRow) -> None:
    b = w.b
    start = w.variable(w.zero())
    with w.when(b.icmp_signed("!=", p.bias, i64(0))):
        w.set(start, w.splat(w.load_scalar(w.pointer(p.bias))))
    with w.loop(b.sdiv(b.add(p.width, i64(p.lanes - 1)), i64(p.lanes))) as vector:
        total = w.variable(w.get(start))
        with w.loop(p.terms) as term:
            entry = b.add(b.mul(vector, p.terms), term)
            table = b.add(p.places, b.mul(entry, i64(8 * p.lanes)))
            with b.if_else(b.icmp_signed("!=", w.load_index(p.side, entry), i64(0))) as (beside, apart):
                with beside:
                    first = w.load_index(table, i64(0))
                    with w.loop(p.n_lines) as line:
                        seen = w.load(w.pointer(p.y, b.add(w.load_index(p.lines, line), first)))
                        w.set(total, w.add(w.get(total), seen))
                with apart:
                    places = w.load_indices(table)
                    there = b.icmp_signed(">=", places, w.splat_index(i64(0)))
                    base = w.addresses(p.y, places)
                    with w.loop(p.n_lines) as line:
                        moved = w.splat_index(b.mul(w.load_index(p.lines, line), i64(p.itemsize)))
                        w.set(total, w.add(w.get(total), w.gather(b.add(base, moved), there)))
        column = b.mul(vector, i64(p.lanes))
        w.store_first(w.get(total), w.pointer(p.out, column), w.between(column, i64(0), p.width))


@njit
def _row(p):
    _emit(p, ())


class GatheredRows(Record):
    """Tasks of `gather_rows`: some rows of some channels of an image."""

    itemsize = integer("bytes of a number")
    lanes = integer("numbers in a vector")
    c_out = integer("output channels")
    channels = integer("of a task")
    rows = integer("of a task")
    row_blocks = integer("tasks of some channels")
    image = integer("numbers of an image in y")
    taps = integer("numbers of a channel at a position")
    biased = integer("whether each channel has a number that sums begin with")
    oh = integer("rows of the output")
    ow = integer("columns of the output")
    lines = address("of where lines of the input meet each row, row after row")
    line_ends = address("of each row's first line, and the end of the last")
    terms = integer("of an output along a row, at most")
    places = address("of where each lane's number lies, [vector][term]")
    side = address("of whether those of all lanes lie side by side")
    row = address("of the micro-kernel; takes a GatheredRow")


@region
def gather_rows(task, thread, y, bias, out, geometry):
    """One task; y, bias and out are handles, geometry a record."""
    g = geometry[0]
    size = g.itemsize
    some, row_block = split(task, g.row_blocks)
    image, block = split(some, (g.c_out + g.channels - 1) // g.channels)
    first, first_row = block * g.channels, row_block * g.rows
    for channel in range(first, min(first + g.channels, g.c_out)):
        for r in range(first_row, min(first_row + g.rows, g.oh)):
            line, end = read_index(g.line_ends, r), read_index(g.line_ends, r + 1)
            call(
                g.row,
                GatheredRow(
                    lanes=g.lanes, itemsize=size, y=pointed(y) + (image * g.image + channel * g.taps) * size,
                    out=pointed(out) + ((image * g.c_out + channel) * g.oh + r) * g.ow * size, width=g.ow,
                    bias=pointed(bias) + channel * size if g.biased else 0, lines=g.lines + line * 8, n_lines=end - line, terms=g.terms,
                    places=g.places, side=g.side,
                ),
            )  # fmt: skip


def _met(problem: ConvTranspose, axis: int, along: int, across: int) -> list[Array]:
    """Of each output along an axis where in y what it sees lies: `along` numbers from position to position, `across` from tap to tap."""
    place, met = met_inputs(problem, axis)
    return [(place[o] * along + np.arange(problem.kernel[axis]) * across)[met[o]] for o in range(len(met))]


@dataclasses.dataclass(frozen=True)
class Gathered:
    """What `gather_rows` is told: record, how many tasks, what the record points into."""

    record: Array
    tasks: int
    held: tuple[Array, ...]


def gathered(problem: ConvTranspose, threads: int) -> Gathered:
    """All images of the problem, of one group."""
    lanes, size = machine().lanes(problem.itemsize), problem.itemsize
    (oh, ow), (h, width) = problem.conv_size, problem.size
    position = problem.c_out * problem.taps
    of_rows, of_columns = _met(problem, 0, width * position, problem.kernel[1]), _met(problem, 1, position, 1)
    line_ends = np.cumsum([0, *(len(one) for one in of_rows)]).astype(np.int64)
    lines = np.concatenate(of_rows).astype(np.int64)
    vectors, terms = -(-ow // lanes), max(len(one) for one in of_columns)
    places = np.full((vectors * lanes, terms), -1, np.int64)
    for column, one in enumerate(of_columns):
        places[column, : len(one)] = one
    places = np.ascontiguousarray(places.reshape(vectors, lanes, terms).transpose(0, 2, 1))
    side = ((places[..., :1] >= 0) & (places == places[..., :1] + np.arange(lanes))).all(-1).astype(np.int64)
    channels = max(1, min(problem.c_out, LINE // (problem.taps * size)))
    some = problem.n * -(-problem.c_out // channels)
    rows = -(-oh // min(oh, -(-TASKS * threads // some)))
    record = GatheredRows.packed(
        itemsize=size, lanes=lanes, c_out=problem.c_out, channels=channels, rows=rows, row_blocks=-(-oh // rows),
        image=h * width * position, taps=problem.taps, biased=problem.bias, oh=oh, ow=ow, lines=lines.ctypes.data,
        line_ends=line_ends.ctypes.data, terms=terms, places=places.ctypes.data, side=side.ctypes.data,
        row=micro_kernel.address(_row, GatheredRow, lanes=lanes, itemsize=size),
    )  # fmt: skip
    return Gathered(record, some * -(-oh // rows), (lines, line_ends, places, side))


def cycles(problem: ConvTranspose) -> float:
    """Estimated cycles of one core."""
    lanes = machine().lanes(problem.itemsize)
    (oh, ow), width = problem.conv_size, problem.size[1]
    terms = -(-problem.kernel[1] // problem.stride[1]) if width > 1 else 1
    beside = ow // lanes if width == 1 else max(0, problem.kernel[1] // lanes - 1) * width if terms == 1 else 0  # vectors
    lines = min(problem.size[0], -(-problem.kernel[0] // problem.stride[0]))
    each = terms * max(0, ow - beside * lanes) * FETCHED + beside * LOADED
    return float(problem.n * problem.c_out * oh * (ROW + lines * each))
