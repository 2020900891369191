"""Weights' gradient of layers with one input channel a group: every tap is a dot product of two planes, lanes along their rows.

One channel leaves nothing that a register tile could share, so the gradient's plane and the input's, moved by the tap, are read as they lie
in memory, each in whole vectors; where padding is met no number is read. Four running sums hide what an addition waits for. Short rows are
read once for all columns of the kernel, each of which has a sum of its own (`depthwise_columns`); of small maps channels lie along vectors
(`depthwise_channels`). It loses where taps or output channels are many, which then share what direct packs once, and where a stride of more
than one leaves gaps in the vectors. Reference: P. Zhang et al., "High performance depthwise and pointwise convolutions on mobile devices",
arXiv 2001.02504.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from llvmlite import ir

from kernels.cost.calibration import threads_for
from kernels.cost.roofline import seconds
from kernels.methods import registry
from kernels.methods.contract import Implementation, rounding_bound
from kernels.methods.gradients.blocking import L2_READ, brought_cycles, hidden
from kernels.methods.gradients.depthwise_channels import channels_cycles, prepare_channels, together
from kernels.methods.gradients.depthwise_columns import Columns, columns, columns_cycles, short, store_sum
from kernels.methods.gradients.records import DotPlanes
from kernels.primitives.prepared import Prepared, Run
from kernels.problem.conv import ConvWeight
from kernels.problem.operands import Operands
from kernels.runtime.ir import VectorBuilder, call, i64
from kernels.runtime.jit import njit
from kernels.runtime.machine import machine
from kernels.runtime.micro_kernel import Fixed, address, emitter
from kernels.runtime.pointers import pointed
from kernels.runtime.regions import region
from kernels.runtime.scratch import handle

Array = np.ndarray

SUMS = 4  # running sums: a multiply-add waits four cycles for itself
WIDEST = 4  # stride that vectors are loaded with
DOT, LINE = 1.6, 14.0  # cycles to load, and multiply and add, two vectors; to begin a row
PICKED = 1.5  # cycles more for each vector that a stride spreads one over


class Dot(NamedTuple):
    """The sum over some rows of two planes multiplied, into one number."""

    lanes: Fixed  # of a vector
    itemsize: Fixed
    stride: Fixed  # numbers of b from one of a's to the next
    a: int  # address of the first number
    a_pitch: int  # elements from row to row
    b: int
    b_pitch: int
    rows: int
    width: int  # of a row
    to: int  # address of the result
    resumed: int  # whether it is added to what is there


@emitter
def _dot(w: VectorBuilder, p: Dot) -> None:
    b, lanes = w.b, p.lanes
    sums = [w.variable(w.zero()) for _ in range(SUMS)]
    whole = b.sdiv(p.width, i64(lanes))
    if p.stride > 1:  # whole vectors of b would reach past the row: its last is masked
        whole = b.sdiv(b.sub(p.width, i64(1)), i64(lanes))
    unrolled = b.sdiv(whole, i64(SUMS))
    begun = b.mul(unrolled, i64(SUMS))
    done = b.mul(whole, i64(lanes))
    rest = b.sub(p.width, done)
    with w.loop(p.rows) as row:
        first = w.at(w.pointer(p.a), b.mul(row, p.a_pitch))
        second = w.at(w.pointer(p.b), b.mul(row, p.b_pitch))

        def add(at: ir.Value, total: ir.Value, first: ir.Value = first, second: ir.Value = second) -> None:
            others = w.load_strided(w.at(second, b.mul(at, i64(p.stride))), p.stride)
            w.set(total, w.fma(w.load(w.at(first, at)), others, w.get(total)))

        with w.loop(unrolled) as block:
            for i, total in enumerate(sums):
                add(b.mul(b.add(b.mul(block, i64(SUMS)), i64(i)), i64(lanes)), total)
        with w.loop(b.sub(whole, begun)) as further:
            add(b.mul(b.add(begun, further), i64(lanes)), sums[0])
        with w.when(b.icmp_signed(">", rest, i64(0))):
            mask = w.first(rest)
            mine = w.load_first(w.at(first, done), mask)
            if p.stride == 1:
                others = w.load_first(w.at(second, done), mask)
            else:
                start = w.at(second, b.mul(done, i64(p.stride)))
                places = b.mul(w.counting(), w.splat_index(i64(p.stride)))
                others = w.gather(w.addresses(b.ptrtoint(start, done.type), places), mask)
            w.set(sums[0], w.fma(mine, others, w.get(sums[0])))
    total = w.get(sums[0])
    for other in sums[1:]:
        total = w.add(total, w.get(other))
    store_sum(w, total, w.pointer(p.to), p.resumed)


@njit
def _dot_of(p):
    _dot(p, ())


def dot(stride: int, lanes: int, itemsize: int) -> int:
    """Address of the compiled `Dot`."""
    return address(_dot_of, Dot, lanes=lanes, itemsize=itemsize, stride=stride)


@region
def taps_of_channel(task, thread, x, grad, out, geometry, down, across):
    """All taps of one output channel; x, grad and out are handles. down and across: [tap] of first output, first input, and how many."""
    g = geometry[0]
    size = g.itemsize
    plane = task // g.outs
    for n in range(g.n):
        a = pointed(grad) + (n * g.c_out + task) * g.oh * g.ow * size
        b = pointed(x) + (n * g.c_in + plane) * g.h * g.w * size
        for kh in range(down.shape[0]):
            for kw in range(across.shape[0]):
                rows, count = down[kh, 2], across[kw, 2]
                if rows == 0 or count == 0:
                    rows, count = 0, 0
                first = a + (down[kh, 0] * g.ow + across[kw, 0]) * size
                second = b + (down[kh, 1] * g.w + across[kw, 1]) * size
                to = pointed(out) + (task * g.taps + kh * across.shape[0] + kw) * size
                call(
                    g.dot,
                    Dot(
                        lanes=g.lanes, itemsize=size, stride=g.sw, a=first, a_pitch=g.ow, b=second, b_pitch=g.sh * g.w, rows=rows,
                        width=count, to=to, resumed=n,
                    ),
                )  # fmt: skip


@region
def rows_of_taps(task, thread, x, grad, out, geometry, down, across):
    """The same, a row of the kernel at a time."""
    g = geometry[0]
    size = g.itemsize
    plane = task // g.outs
    for n in range(g.n):
        a = pointed(grad) + (n * g.c_out + task) * g.oh * g.ow * size
        b = pointed(x) + (n * g.c_in + plane) * g.h * g.w * size
        for kh in range(down.shape[0]):
            call(
                g.dot,
                Columns(
                    lanes=g.lanes, itemsize=size, stride=g.sw, columns=across.shape[0], a=a + down[kh, 0] * g.ow * size, a_pitch=g.ow,
                    b=b + down[kh, 1] * g.w * size, b_pitch=g.sh * g.w, rows=down[kh, 2], width=g.ow, met=across.ctypes.data,
                    to=pointed(out) + (task * g.taps + kh * across.shape[0]) * size, resumed=n,
                ),
            )  # fmt: skip


def _met(problem: ConvWeight, axis: int) -> Array:
    """[tap] of (first output, first input, how many) that meet under it along an axis."""
    stride, before, found = problem.stride[axis], problem.padding[axis][0], []
    for tap in range(problem.kernel[axis]):
        shift = tap * problem.dilation[axis] - before  # the input under output 0
        first = max(0, -(shift // stride))
        last = min(problem.conv_size[axis] - 1, (problem.size[axis] - 1 - shift) // stride)
        found.append((first, first * stride + shift, last - first + 1) if last >= first else (0, 0, 0))
    return np.array(found, np.int64)


def refuse(problem: ConvWeight) -> str | None:
    """More than one input channel a group, long strides."""
    if problem.c_in != problem.groups:
        return f"it takes one input channel per group, this has {problem.c_in // problem.groups}; direct does it"
    if problem.stride[1] > WIDEST:
        return f"its vectors are loaded with strides of up to {WIDEST}, this has {problem.stride[1]}; direct does it"
    return None


def cycles(problem: ConvWeight) -> float:
    """Of one core, rows along vectors."""
    lanes, (oh, ow) = machine().lanes(problem.itemsize), problem.conv_size
    if short(problem):
        return columns_cycles(problem)
    each = DOT + (PICKED * problem.stride[1] if problem.stride[1] > 1 else 0.0)
    return problem.n * problem.c_out * problem.taps * (oh * (math.ceil(ow / lanes) * each + LINE) + 40)


def prepare(problem: ConvWeight, threads: int) -> Prepared:
    """Compile the dot product, and find what meets under each tap; or take channels along vectors."""
    if by_channels(problem):
        return prepare_channels(problem, threads)
    lanes, size = machine().lanes(problem.itemsize), problem.itemsize
    (h, w), (oh, ow) = problem.size, problem.conv_size
    geometry = DotPlanes.packed(
        itemsize=size, lanes=lanes, n=problem.n, c_in=problem.c_in, c_out=problem.c_out, outs=problem.c_out // problem.groups, h=h, w=w,
        oh=oh, ow=ow, sh=problem.stride[0], sw=problem.stride[1], taps=problem.taps,
        dot=columns(problem, lanes) if short(problem) else dot(problem.stride[1], lanes, size),
    )  # fmt: skip
    down, across = _met(problem, 0), _met(problem, 1)
    used = min(threads_for(cycles(problem), threads), problem.c_out)
    launch = (rows_of_taps if short(problem) else taps_of_channel).ready(0, 0, 0, geometry, down, across)

    def pack(operands: Operands) -> Run:
        grad = operands.weight

        def run(x: Array, out: Array) -> None:
            launch(used, problem.c_out, handle(x), handle(grad), handle(out), geometry, down, across)

        return run

    return Prepared(pack)


def by_rows(problem: ConvWeight) -> float:
    """Cycles of one core with rows along vectors. Planes are read again for every tap; short rows for each row of taps, masked."""
    planes = (math.prod(problem.size) + math.prod(problem.conv_size) * (problem.c_out // problem.groups)) * problem.itemsize
    passes = (2 * problem.kernel[0] if short(problem) else problem.taps - 1) if planes > machine().l1 / 2 else 0
    return cycles(problem) + problem.n * problem.groups * planes * passes / L2_READ


def by_channels(problem: ConvWeight) -> bool:
    """Whether channels lie along vectors."""
    return together(problem) and channels_cycles(problem) < by_rows(problem)


def estimate(problem: ConvWeight) -> float:
    """Of one core."""
    planes = math.prod(problem.x_shape[1:]) + math.prod(problem.conv_shape[1:])
    bringing = problem.n * planes * problem.itemsize * brought_cycles(problem)
    arithmetic = channels_cycles(problem) if by_channels(problem) else by_rows(problem)
    return seconds(hidden(arithmetic, bringing))


DEPTHWISE = Implementation("depthwise", "conv_weight", refuse, prepare, rounding_bound, estimate=estimate)
registry.add(DEPTHWISE)
