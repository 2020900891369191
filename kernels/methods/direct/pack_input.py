"""Copying input into scratch: zeros where lines lie outside the plane, numbers `step` apart side by side.

    dst[u][v][p][j] = src[first_row + v + p*row_step][first_column + offsets[u] + j*step], or 0 outside the plane

This is where padding and stride disappear: whoever reads the scratch reads whole vectors at unit stride. Each input row is first copied
to a line with its zeros, then picked apart: with one to ten shuffles a vector, where gathering would take twenty cycles or, on CPUs that
had to slow it down, many times that. Lines as long as the plane's rows, one behind the other, are the plane moved on by some numbers with
zeros where a row has none: whole vectors, however short the rows.
"""

from __future__ import annotations

from typing import NamedTuple

from llvmlite import ir

from kernels.runtime.ir import VectorBuilder, i64, read_index
from kernels.runtime.jit import njit
from kernels.runtime.micro_kernel import Fixed, address, emitter


class PackInput(NamedTuple):
    """What packing takes; see above. Whole vectors are written, so up to a vector past each line's end, ascending."""

    step: Fixed  # the column step, 0 for those that are picked one by one
    lanes: Fixed
    itemsize: Fixed
    dst: int  # address of what is packed
    line: int  # address of scratch for `span` numbers and step + 1 vectors more
    offsets: int  # address of the first columns of the planes
    columns: int  # how many planes,
    column_stride: int  # so far apart
    phases: int  # input rows that take turns,
    phase_stride: int  # whose lines are so far apart
    positions: int  # lines of a plane,
    pitch: int  # so far apart
    numbers: int  # in a line
    span: int  # input columns that all lines of a row cover
    src: int  # address of the first plane
    first_row: int  # of the plane, may be outside it; so may be the column
    row_step: int
    first_column: int
    column_step: int
    height: int  # of the plane
    width: int
    ahead: int  # how many elements further lies what is packed next, which is prefetched (samplecnn.conv2 4.8 to 4.2 ms)
    times: int  # how many planes, one behind the other,
    dst_step: int  # whose packed ones are so many elements apart


class _Line(NamedTuple):
    """A line with its zeros."""

    dst: int
    src: int
    numbers: int
    low: int  # the first number that is on the plane
    high: int  # the first behind it


@emitter
def _line(w: VectorBuilder, p: PackInput, line: _Line) -> None:
    """dst[j] = src[j] for low <= j < high, else 0, for j < count rounded up to whole vectors; src[j + ahead] is prefetched."""
    b, lanes = w.b, p.lanes
    to, source = w.pointer(line.dst), w.pointer(line.src)
    with w.loop(b.sdiv(b.add(line.numbers, i64(lanes - 1)), i64(lanes))) as vector:
        j = b.mul(vector, i64(lanes))
        w.prefetch(w.at(w.at(source, j), p.ahead))
        w.store(w.load_first(w.at(source, j), w.between(j, line.low, line.high)), w.at(to, j))


@emitter
def _pick(w: VectorBuilder, p: PackInput, dst: ir.Value, src: ir.Value) -> None:
    """dst[j] = src[j*step] for j < count rounded up to whole vectors."""
    b, lanes = w.b, p.lanes
    to, source = w.pointer(dst), w.pointer(src)
    if p.step:
        with w.loop(b.sdiv(b.add(p.numbers, i64(lanes - 1)), i64(lanes))) as vector:
            j = b.mul(vector, i64(lanes))
            w.store(w.load_strided(w.at(source, b.mul(j, i64(p.step))), p.step), w.at(to, j))
    else:
        with w.loop(p.numbers) as j:
            b.store(w.load_scalar(w.at(source, b.mul(j, p.column_step))), w.at(to, j))


@emitter
def _moved(w: VectorBuilder, p: PackInput, line: _Line) -> None:
    """dst[u][j] = src[j + m], m = first_column + offsets[u], where low <= j < high and 0 <= j % width + m < width, else 0; for j < count
    rounded up to whole vectors. src[j + ahead] is prefetched."""
    b, lanes = w.b, p.lanes
    width, step = w.positions(p.width, 0), w.positions(b.srem(i64(lanes), p.width), 0)
    vectors = b.sdiv(b.add(line.numbers, i64(lanes - 1)), i64(lanes))

    def wrapped(column: ir.Value) -> ir.Value:
        less = b.sub(column, width)  # below zero it is a large number
        return b.select(b.icmp_unsigned("<", less, column), less, column)

    first = w.variable(w.positions(i64(0), 1))
    with w.loop(b.sdiv(i64(lanes - 1), p.width)):
        w.set(first, wrapped(w.get(first)))
    with w.loop(vectors) as vector:
        w.prefetch(w.at(w.pointer(line.src, p.ahead), b.mul(vector, i64(lanes))))
    with w.loop(p.columns) as u:
        by = b.add(p.first_column, w.load_index(p.offsets, u))
        to, source = w.pointer(line.dst, b.mul(u, p.column_stride)), w.pointer(line.src, by)
        column = w.variable(w.get(first))
        with w.loop(vectors) as vector:
            j = b.mul(vector, i64(lanes))
            there = b.icmp_unsigned("<", b.add(w.get(column), w.positions(by, 0)), width)
            w.store(w.load_first(w.at(source, j), b.and_(there, w.between(j, line.low, line.high))), w.at(to, j))
            w.set(column, wrapped(b.add(w.get(column), step)))


@njit
def _pack(p):
    size, width = p.itemsize, p.width
    low, high = max(-p.first_column, 0), max(width - p.first_column, 0)
    alone = p.step == 1 and p.columns == 1
    whole_lines = p.phases == 1 and p.row_step == 1 and p.column_step == 1 and p.numbers == width and p.pitch == width
    above, below = max(-p.first_row, 0), max(min(p.height - p.first_row, p.positions), 0)
    total, begin, end = p.positions * width, above * width, max(above, below) * width
    for c in range(p.times):
        plane, own = p.src + c * p.height * width * size, p.dst + c * p.dst_step * size
        if whole_lines:
            start = plane + p.first_row * width * size
            if alone and p.first_column == 0:
                _line(p, _Line(own, start, total, begin, end))
            else:
                _moved(p, _Line(own, start, total, begin, end))
            continue
        for v in range(p.phases):
            for position in range(p.positions):
                row = p.first_row + v + position * p.row_step
                to = own + (v * p.phase_stride + position * p.pitch) * size
                inside = 0 <= row < p.height
                start = plane + (row * width + p.first_column) * size
                _line(p, _Line(to if alone else p.line, start, p.span, low, high if inside else low))
                if not alone:
                    for u in range(p.columns):
                        source = p.line + read_index(p.offsets, u) * size
                        _pick(p, (to + u * p.column_stride * size, source))


def pack(step: int, lanes: int, itemsize: int) -> int:
    """Address of the compiled packing of planes, which takes a PackInput."""
    return address(_pack, PackInput, step=step, lanes=lanes, itemsize=itemsize)
