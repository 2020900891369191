"""A row of a transposed layer's output as sums of shifted lines, phase by phase, which then take turns in registers.

    out[q*stride + p] = start + sum over the row's lines l, over phase p's taps t of  a[l, t] * x[l + t + q + shift[t]]

Outputs of a phase are `stride` apart and see the same taps, so lanes are neighbours of one phase, and what is read lies side by side; of
all phases' vectors `stride` vectors of outputs are made (`VectorBuilder.interleaved`). Lines of a layer's input, which many rows and taps
read, get zeros around them first; lines of products, which are only added, are read where they lie, masked where they end.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
from llvmlite import ir

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

WIDEST = 16  # stride: vectors in registers
UNROLLED = 16  # columns of a kernel whose taps are written out
AHEAD = 4096  # bytes from what is stored to what is prefetched: later rows, which the stores so need not wait for
TOGETHER = 8  # sums that hide what an addition waits for
LINES = 24 << 10  # bytes of lines with zeros around them, which stay in the first-level cache
TASKS = 8  # a thread, so that none waits long for the last
TAP, MASKED, ROW = 1.1, 3.0, 40.0  # cycles for a vector of a tap, the same where it is masked; to begin and end a row


class PhaseSums(NamedTuple):
    """What a row takes."""

    weighted: Fixed  # whether lines are multiplied; they have zeros around them then
    stride: Fixed
    together: Fixed  # vectors of a phase that are summed together
    lanes: Fixed  # numbers in a vector
    itemsize: Fixed  # bytes of a number
    columns: Fixed  # of the kernel where lines are multiplied and its taps are written out, else 0: they are read from tables
    dilation: Fixed  # of those columns
    crop: Fixed  # outputs that are cropped before the first, below the stride; `shift` has the rest
    x: int  # address
    a: int  # address of the weights
    shift: int  # numbers from where lines begin to what the first output sees
    bias: int  # address of what sums begin with, 0 for zero
    y: int  # address of the row
    width: int  # numbers of the row
    length: int  # numbers of a line
    lines: int  # address of (place in x, place in a) of each line, in numbers
    n_lines: int
    taps: int  # address of (place in x, shift, place in a) of each tap, phase after phase
    ends: int  # address of the first tap of each phase and the end of the last
    masked: int  # vectors of a phase at the row's beginning that reach before a line
    whole: int  # blocks of vectors after them that reach past neither end; of weighted sums all
    vectors: int  # of a phase in all


@emitter
def _emit(w: VectorBuilder, p: PhaseSums) -> None:
    b, lanes, stride, together = w.b, p.lanes, p.stride, p.together
    start = w.variable(w.zero())
    with w.when(b.icmp_signed("!=", p.bias, i64(0))):
        w.set(start, w.splat(w.load_scalar(w.pointer(p.bias))))

    def written_out(q: ir.Value, count: int) -> list[list[ir.Value]]:
        """As `sums`, line by line: phases share the weights' columns and what they see."""
        c = [[w.variable(w.get(start)) for _ in range(count)] for _ in range(stride)]
        places = [t * p.dilation - p.crop for t in range(p.columns)]
        with w.loop(p.n_lines) as number:
            line = b.mul(number, i64(2))
            source = w.at(w.pointer(p.x, w.load_index(p.lines, line)), b.add(q, p.shift))
            weights = list(w.splats(w.pointer(p.a, w.load_index(p.lines, b.add(line, i64(1)))), p.columns))
            for back in sorted({place // stride for place in places}):
                seen = [w.load(w.at(source, i * lanes - back)) for i in range(count)]
                for place, weight in zip(places, weights):
                    if place // stride == back:
                        for total, value in zip(c[place % stride], seen):
                            w.set(total, w.fma(weight, value, w.get(total)))
        return [[w.get(one) for one in row] for row in c]

    def sums(q: ir.Value, count: int, masked: bool) -> list[list[ir.Value]]:
        """[phase][vector] of outputs from number q of each phase on."""
        c = [[w.variable(w.get(start)) for _ in range(count)] for _ in range(stride)]
        for phase in range(stride):
            first, end = (w.load_index(p.ends, i64(phase + i)) for i in range(2))
            with w.loop(p.n_lines) as number:
                line = b.mul(number, i64(2))
                x = w.pointer(p.x, w.load_index(p.lines, line))
                a = w.pointer(p.a, w.load_index(p.lines, b.add(line, i64(1)))) if p.weighted else None
                with w.loop(b.sub(end, first)) as tap:
                    entry = b.mul(b.add(first, tap), i64(3))
                    place, shift = w.load_index(p.taps, entry), w.load_index(p.taps, b.add(entry, i64(1)))
                    at = b.add(q, shift)
                    source = w.at(w.at(x, place), at)
                    weight = w.splat(w.load_scalar(w.at(a, w.load_index(p.taps, b.add(entry, i64(2)))))) if a else None
                    for i, total in enumerate(c[phase]):
                        here = w.at(source, i * lanes)
                        value = w.load_first(here, w.between(at, i64(0), p.length)) if masked else w.load(here)
                        w.set(total, w.fma(weight, value, w.get(total)) if weight else w.add(w.get(total), value))
        return [[w.get(one) for one in row] for row in c]

    def store(q: ir.Value, found: list[list[ir.Value]], masked: bool) -> None:
        for i in range(len(found[0])):
            first = b.mul(b.add(q, i64(i * lanes)), i64(stride))
            for v, vector in enumerate(w.interleaved([row[i] for row in found])):
                column = b.add(first, i64(v * lanes))
                w.prefetch(w.pointer(p.y, b.add(column, i64(AHEAD // p.itemsize))), write=True)
                if masked:
                    w.store_first(vector, w.pointer(p.y, column), w.between(column, i64(0), p.width))
                else:
                    w.store(vector, w.pointer(p.y, column))

    def edge(number: ir.Value) -> None:
        q = b.mul(number, i64(lanes))
        store(q, sums(q, 1, True), True)

    if p.weighted:
        with w.loop(p.whole) as block:
            q = b.mul(block, i64(together * lanes))
            store(q, written_out(q, together) if p.columns else sums(q, together, False), True)
        return
    with w.loop(p.masked) as number:
        edge(number)
    with w.loop(p.whole) as block:
        q = b.mul(b.add(p.masked, b.mul(block, i64(together))), i64(lanes))
        store(q, sums(q, together, False), False)
    done = b.add(p.masked, b.mul(p.whole, i64(together)))
    with w.loop(b.sub(p.vectors, done)) as number:
        edge(b.add(done, number))


@njit
def _row(p):
    _emit(p, ())


def row(together: int, lanes: int, problem: ConvTranspose, weighted: bool) -> tuple[int, dict[str, int]]:
    """Address of the compiled row, which takes a PhaseSums, and its fields of the kernel's columns."""
    (*_, columns), (*_, dilation), (*_, stride), (*_, (before, _)) = problem.kernel, problem.dilation, problem.stride, problem.padding
    written = weighted and columns <= UNROLLED
    columns_of = {"columns": columns * written, "dilation": dilation * written, "crop": before % stride * written}
    fixed = {"weighted": int(weighted), "stride": stride, "together": together, "lanes": lanes, "itemsize": problem.itemsize}
    return micro_kernel.address(_row, PhaseSums, **fixed, **columns_of), columns_of


class Surround(NamedTuple):
    """Lines with zeros around them: dst[i*pitch + before + j] = src[i*length + j], j < length, the rest of the pitch 0."""

    lanes: Fixed  # numbers in a vector
    itemsize: Fixed
    dst: int  # address
    pitch: int  # whole vectors
    before: int  # zeros
    src: int  # address
    length: int
    lines: int


@emitter
def _surround(w: VectorBuilder, p: Surround) -> None:
    b = w.b
    with w.loop(p.lines) as line:
        source, target = w.pointer(p.src, b.mul(line, p.length)), w.pointer(p.dst, b.mul(line, p.pitch))
        with w.loop(b.sdiv(p.pitch, i64(p.lanes))) as vector:
            to = b.mul(vector, i64(p.lanes))
            at = b.sub(to, p.before)
            w.store(w.load_first(w.at(source, at), w.between(at, i64(0), p.length)), w.at(target, to))


@njit
def _surround_of(p):
    _surround(p, ())


def surround(lanes: int, itemsize: int) -> int:
    """Address of the compiled `Surround`."""
    return micro_kernel.address(_surround_of, Surround, lanes=lanes, itemsize=itemsize)


class RowsOfPhases(Record):
    """Tasks of `sum_rows`: some rows of one plane of the output."""

    itemsize = integer("bytes of a number")
    lanes = integer("numbers in a vector")
    c_out = integer("output channels")
    shared = integer("output channels of an input's plane")
    plane = integer("numbers from one plane of x to the next")
    weights = integer("numbers from one channel's weights to the next; 0: there are none")
    biased = integer("whether each channel has a number that sums begin with")
    stride = integer("columns from output to output of a phase")
    oh = integer("rows of the output")
    ow = integer("columns of the output")
    length = integer("numbers of a line of x")
    rows = integer("of a task")
    row_blocks = integer("tasks of a plane")
    lines = address("of each row's (place in x, place in the weights), row after row")
    line_ends = address("of each row's first line, and the end of the last")
    taps = address("of (place in x, shift, place in the weights), phase after phase")
    ends = address("of each phase's first tap, and the end of the last")
    masked = integer("vectors of a phase before those that reach past neither end of a line")
    whole = integer("blocks of such vectors")
    vectors = integer("of a phase in all")
    together = integer("vectors of a phase that are summed together")
    row = address("of the micro-kernel; takes a PhaseSums")
    columns = integer("of the kernel where its taps are written out, else 0")
    dilation = integer("of those columns")
    crop = integer("outputs before the first that are cropped, below the stride")
    shift = integer("numbers from where lines begin to what the first output sees")
    h = integer("lines of a plane of x")
    sh = integer("rows of the output from line to line of x")
    pad_h = integer("rows of the sum that are cropped before the first")
    reach_h = integer("rows of the output from the first that a line reaches to the last")
    pitch = integer("numbers from line to line with zeros around them")
    before = integer("zeros before a line")
    scratch_bytes = address("of a thread's scratch, from one thread's to the next")
    surround = address("of the micro-kernel; takes a Surround")


@region
def sum_rows(task, thread, x, weights, bias, out, scratch, geometry):
    """One task; x, weights, bias, out and scratch are handles, geometry a record."""
    g = geometry[0]
    size = g.itemsize
    plane, block = split(task, g.row_blocks)
    channel = split(plane, g.c_out)[1]
    first_row, last_row = block * g.rows, min((block + 1) * g.rows, g.oh) - 1
    source, a = pointed(x) + split(plane, g.shared)[0] * g.plane * size, 0
    if g.weights:
        a = pointed(weights) + channel * g.weights * size
        low, high = first_row + g.pad_h - g.reach_h, last_row + g.pad_h
        low, high = split(low + g.sh - 1, g.sh)[0] if low > 0 else 0, min(split(high, g.sh)[0], g.h - 1)
        to = pointed(scratch) + thread * g.scratch_bytes
        if high >= low:
            call(
                g.surround,
                Surround(
                    lanes=g.lanes, itemsize=size, dst=to, pitch=g.pitch, before=g.before, src=source + low * g.length * size,
                    length=g.length, lines=high - low + 1,
                ),
            )  # fmt: skip
        source = to + (g.before - low * g.pitch) * size
    start = pointed(bias) + channel * size if g.biased else 0
    for r in range(first_row, last_row + 1):
        first, end = read_index(g.line_ends, r), read_index(g.line_ends, r + 1)
        call(
            g.row,
            PhaseSums(
                weighted=g.weights, stride=g.stride, together=g.together, lanes=g.lanes, itemsize=size, columns=g.columns,
                dilation=g.dilation, crop=g.crop, x=source, a=a, shift=g.shift, bias=start,
                y=pointed(out) + (plane * g.oh + r) * g.ow * size, width=g.ow, length=g.length, lines=g.lines + first * 16,
                n_lines=end - first, taps=g.taps, ends=g.ends, masked=g.masked, whole=g.whole, vectors=g.vectors,
            ),
        )  # fmt: skip


def _phases(problem: ConvTranspose, places: Array, weights: Array) -> tuple[Array, Array]:
    """(place in x, shift, place in the weights) of the taps along the last axis, phase after phase, and where each phase begins."""
    stride, before = problem.stride[-1], problem.padding[-1][0]
    place = np.arange(problem.kernel[-1]) * problem.dilation[-1] - before
    phase, shift = place % stride, -(place // stride)
    order = np.argsort(phase, kind="stable")
    table = np.stack([places, shift, weights], 1)[order].astype(np.int64)
    return np.ascontiguousarray(table), np.searchsorted(phase[order], np.arange(stride + 1)).astype(np.int64)


def met_inputs(problem: ConvTranspose, axis: int) -> tuple[Array, Array]:
    """(place along the input, whether there is one) of what each output along an axis meets at each tap."""
    reached = np.arange(problem.conv_size[axis])[:, None] + problem.padding[axis][0]
    reached = reached - np.arange(problem.kernel[axis]) * problem.dilation[axis]
    place = reached // problem.stride[axis]
    return place, (reached % problem.stride[axis] == 0) & (place >= 0) & (place < problem.size[axis])


def _rows(problem: ConvTranspose, summed: bool, pitch: int, step: int) -> tuple[Array, Array]:
    """(place in x, place in the weights) of the lines that each output row sums, row after row, and where each row begins. summed: rows of
    x are the output's already; pitch: numbers of x from line to line, step: from kernel row to kernel row."""
    oh, w = problem.conv_size[0], problem.size[1]
    if summed:
        return np.stack([np.arange(oh) * w, np.zeros(oh)], 1).astype(np.int64), np.arange(oh + 1, dtype=np.int64)
    line, met = met_inputs(problem, 0)
    taps = np.arange(problem.kernel[0])
    places = np.stack(np.broadcast_arrays(line * pitch + taps * step, taps * problem.kernel[1]), -1)[met]
    return places.astype(np.int64).reshape(-1, 2), np.concatenate([[0], met.sum(1).cumsum()]).astype(np.int64)


@dataclasses.dataclass(frozen=True)
class Rows:
    """What `sum_rows` is told: record, how many tasks, bytes of scratch of a thread, what the record points into."""

    record: Array
    tasks: int
    scratch_bytes: int
    held: tuple[Array, ...]


def rows_of(problem: ConvTranspose, threads: int, *, weighted: bool, summed: bool) -> Rows:
    """weighted: lines are the layer's input, channel by channel, to be multiplied; else they are products with every tap, of kernel columns
    alone where `summed`."""
    lanes, size = machine().lanes(problem.itemsize), problem.itemsize
    (oh, ow), (h, width), (kh, kw), (sh, stride) = problem.conv_size, problem.size, problem.kernel, problem.stride
    area, columns = (oh if summed else h) * width, np.arange(kw)
    taps, ends = _phases(problem, columns * 0 if weighted else columns * area, columns)
    lowest, highest = int(taps[:, 1].min()), int(taps[:, 1].max())
    vectors = -(-ow // (stride * lanes))
    together = min(max(1, TOGETHER // stride), vectors)
    masked = min(vectors, max(0, -(lowest // lanes)))
    inside = min((width - highest) // lanes, ow // (stride * lanes)) - masked  # vectors, as far as lines and the row reach
    whole, before = max(0, inside) // together, max(0, -lowest)
    pitch = -(-(before + max(width, -(-vectors // together) * together * lanes + highest)) // lanes) * lanes
    planes = problem.n * problem.c_out
    rows = -(-oh // min(oh, -(-TASKS * threads // max(1, planes))))
    if weighted:
        masked, whole = 0, -(-vectors // together)
        reach = (kh - 1) * problem.dilation[0]
        rows = min(rows, max(1, (LINES // (pitch * size) - 2) * sh - reach))
    lines, line_ends = _rows(problem, summed, pitch if weighted else width, 0 if weighted else kw * area)
    scratch_bytes = whole_lines(h, rows, problem) * pitch * size if weighted else 0
    code, columns_of = row(together, lanes, problem, weighted)
    record = RowsOfPhases.packed(
        itemsize=size, lanes=lanes, c_out=problem.c_out, shared=problem.c_out // problem.groups if weighted else 1,
        plane=h * width if weighted else (kw if summed else kh * kw) * area, weights=kh * kw if weighted else 0,
        biased=problem.bias, stride=stride, oh=oh, ow=ow, length=width, rows=rows, row_blocks=-(-oh // rows), lines=lines.ctypes.data,
        line_ends=line_ends.ctypes.data, taps=taps.ctypes.data, ends=ends.ctypes.data, masked=masked, whole=whole, vectors=vectors,
        together=together, row=code, **columns_of, shift=problem.padding[1][0] // stride, h=h, sh=sh, pad_h=problem.padding[0][0],
        reach_h=(kh - 1) * problem.dilation[0], pitch=pitch, before=before, scratch_bytes=scratch_bytes, surround=surround(lanes, size),
    )  # fmt: skip
    return Rows(record, planes * -(-oh // rows), scratch_bytes, (lines, line_ends, taps, ends))


def whole_lines(h: int, rows: int, problem: ConvTranspose) -> int:
    """Lines of a plane that so many rows of the output see at most."""
    return min(h, (rows - 1 + (problem.kernel[0] - 1) * problem.dilation[0]) // problem.stride[0] + 2)


def cycles(problem: ConvTranspose, *, summed: bool) -> float:
    """Estimated cycles of one core."""
    lanes, stride = machine().lanes(problem.itemsize), problem.stride[-1]
    (oh, ow), kernel = problem.conv_size, problem.kernel
    lines = 1.0 if summed else kernel[0] / problem.stride[0]
    vectors = -(-ow // (stride * lanes))
    each = TAP if vectors > 2 else MASKED
    return float(problem.n * problem.c_out * oh * (ROW + 3.0 * vectors * stride + lines * kernel[1] * vectors * each))
