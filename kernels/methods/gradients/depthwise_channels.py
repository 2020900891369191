"""Depthwise weights' gradients of small maps, a vector of channels at a time: rows of a few numbers fill no vector, channels do.

    x and gradient of an image, transposed:   position t: | c c c c … |        padding: vectors of zeros around x

A task sums all images of its share (a split) for a vector of channels. Then the splits are added in order and written as weights.
"""

from __future__ import annotations

import math

import numpy as np

from kernels.cost.calibration import threads_for
from kernels.cost.gemm import even
from kernels.cost.memory import TASK_COST
from kernels.methods.gradients.blocking import CALL, L2_READ, PACKED, SHARE
from kernels.methods.gradients.channel_dots import ChannelDots, channel_dots, most_rows
from kernels.methods.gradients.moves import Clear, Total, clear, total
from kernels.primitives.prepared import Prepared, Run
from kernels.primitives.records import Record, address, integer
from kernels.primitives.transpose import Transpose, transpose
from kernels.problem.conv import ConvWeight
from kernels.problem.operands import Operands
from kernels.problem.window import reach
from kernels.runtime.byte_copy import copy_bytes
from kernels.runtime.ir import call, read_index, split
from kernels.runtime.machine import machine
from kernels.runtime.pointers import pointed
from kernels.runtime.regions import region
from kernels.runtime.scratch import Scratch, handle, whole

Array = np.ndarray

MOST = 29  # taps of a row
ROW = 10.0  # cycles to begin a row


class ChannelPlanes(Record):
    """Tasks of `sum_channels`: the planes of a vector of channels, of some images. Bytes are of a thread's scratch."""

    itemsize = integer("bytes of a number")
    lanes = integer("numbers in a vector")
    n = integer("images")
    channels = integer("of input and gradient")
    vectors = integer("of channels")
    splits = integer("parts of the images, whose sums are added in order")
    h = integer("input rows")
    w = integer("input columns")
    oh = integer("rows of the gradient")
    ow = integer("columns of the gradient")
    top = integer("rows of zeros before the first")
    left = integer("columns of zeros before the first")
    seen_h = integer("input rows that windows see")
    seen_w = integer("input columns that windows see")
    wide_h = integer("rows that windows see, with their zeros")
    wide_w = integer("columns that windows see, with their zeros")
    sh = integer("rows that a window moves by")
    sw = integer("columns that a window moves by")
    dh = integer("rows from tap to tap")
    dw = integer("columns from tap to tap")
    taps = integer("of a kernel")
    kw = integer("kernel columns")
    tiles = integer("of rows of taps")
    edge = integer("rows of an edge tile; full tiles, which come first, have one more")
    full_tiles = integer("full tiles")
    dots = address("of the compiled tiles, by rows of taps; take a ChannelDots")
    transpose = address("of the micro-kernel; takes a Transpose")
    clear = address("of the micro-kernel; takes a Clear")
    total = address("of the micro-kernel; takes a Total")
    lines = address("of transposed input, in a thread's scratch")
    grads = address("of transposed gradients, in a thread's scratch")
    scratch_bytes = address("of a thread's scratch, from one thread's to the next")
    threads = integer("whose scratch lies before the sums")


@region
def sum_channels(task, thread, x, grad, scratch, geometry):
    """All images of one split for a vector of channels; x, grad and scratch are handles."""
    g = geometry[0]
    size, a_vector = g.itemsize, g.lanes * g.itemsize
    part, vector = split(task, g.vectors)
    channel = vector * g.lanes
    rows = min(g.lanes, g.channels - channel)
    planes = pointed(scratch) + thread * g.scratch_bytes
    sums = pointed(scratch) + g.threads * g.scratch_bytes + task * g.taps * a_vector
    first, last = split(part * g.n, g.splits)[0], split((part + 1) * g.n, g.splits)[0]
    call(g.clear, Clear(lanes=g.lanes, itemsize=size, dst=planes, numbers=g.wide_h * g.wide_w * g.lanes))
    for image in range(first, last):
        source = (image * g.channels + channel) * size
        call(
            g.transpose,
            Transpose(
                lanes=g.lanes, itemsize=size, dst=planes + g.grads, dst_pitch=g.lanes, src=pointed(grad) + source * g.oh * g.ow,
                src_pitch=g.oh * g.ow, rows=rows, columns=g.oh * g.ow,
            ),
        )  # fmt: skip
        call(
            g.transpose,
            Transpose(
                lanes=g.lanes, itemsize=size, dst=planes + g.lines, dst_pitch=g.lanes, src=pointed(x) + source * g.h * g.w,
                src_pitch=g.h * g.w, rows=rows, columns=g.seen_h * g.w,
            ),
        )  # fmt: skip
        for row in range(g.seen_h):
            to = planes + ((g.top + row) * g.wide_w + g.left) * a_vector
            copy_bytes(to, planes + g.lines + row * g.w * a_vector, g.seen_w * a_vector)
        i = 0
        for t in range(g.tiles):
            high = g.edge + (t < g.full_tiles)
            call(
                read_index(g.dots, high),
                ChannelDots(
                    high=high, broad=g.kw, apart=g.dw, lanes=g.lanes, itemsize=size, rows=g.oh, columns=g.ow, a=planes + g.grads,
                    b=planes + i * g.dh * g.wide_w * a_vector, b_row=g.sh * g.wide_w, b_tap=g.dh * g.wide_w, b_step=g.sw,
                    to=sums + i * g.kw * a_vector, resumed=image - first,
                ),
            )  # fmt: skip
            i += high


@region
def write_channels(vector, thread, out, scratch, geometry):
    """The sums of a vector of channels, added over the splits, as weights."""
    g = geometry[0]
    size, numbers = g.itemsize, g.taps * g.lanes
    sums = pointed(scratch) + g.threads * g.scratch_bytes + vector * numbers * size
    if g.splits > 1:
        call(
            g.total,
            Total(lanes=g.lanes, itemsize=size, dst=sums, src=sums, step=g.vectors * numbers, parts=g.splits, numbers=numbers),
        )  # fmt: skip
    channel = vector * g.lanes
    call(
        g.transpose,
        Transpose(
            lanes=g.lanes, itemsize=size, dst=pointed(out) + channel * g.taps * size, dst_pitch=g.taps, src=sums, src_pitch=g.lanes,
            rows=g.taps, columns=min(g.lanes, g.channels - channel),
        ),
    )  # fmt: skip


def _room(problem: ConvWeight) -> int:
    """Bytes of a thread's scratch: padded input, gradient, input."""
    wide, grads, lines = math.prod(reach(problem, *problem.conv_size)), math.prod(problem.conv_size), math.prod(problem.size)
    return (wide + grads + lines) * machine().vector_bytes


def together(problem: ConvWeight) -> bool:
    """Whether it can be done so: an output channel for each input channel, planes that stay in the second-level cache."""
    return problem.c_in == problem.c_out == problem.groups and problem.kernel[1] <= MOST and _room(problem) <= SHARE * machine().l2


def channels_cycles(problem: ConvWeight) -> float:
    """Of one core."""
    lanes, (kh, kw), (oh, ow) = machine().lanes(problem.itemsize), problem.kernel, problem.conv_size
    high = min(kh, most_rows(kw))
    tiles = -(-kh // high)
    moved = math.prod(problem.size) + oh * ow
    packing = moved * lanes * PACKED + math.prod(problem.size) + 20 * problem.size[0]
    if _room(problem) > machine().l1 / 2:
        packing += 2 * moved * machine().vector_bytes / L2_READ
    each = tiles * (oh * (ow * max(4.0, (kh / tiles * kw + 1) / 2 + 0.5) + ROW) + CALL)
    return -(-problem.c_in // lanes) * (problem.n * (packing + each + 3 * CALL) + TASK_COST)


def prepare_channels(problem: ConvWeight, threads: int) -> Prepared:
    """Size scratch, compile tiles."""
    lanes, size = machine().lanes(problem.itemsize), problem.itemsize
    (h, w), (oh, ow), (kh, kw), (wide_h, wide_w) = problem.size, problem.conv_size, problem.kernel, reach(problem, *problem.conv_size)
    top, left = problem.padding[0][0], problem.padding[1][0]
    vectors = -(-problem.c_in // lanes)
    used = threads_for(channels_cycles(problem), threads)
    splits = max(1, min(problem.n, -(-2 * used // vectors))) if used > 1 else 1
    used = min(used, vectors * splits)
    tiles, edge, full = even(kh, min(kh, most_rows(kw)))
    table = np.zeros(edge + 2, np.int64)
    for high in {edge, edge + (full > 0)}:
        table[high] = channel_dots(high, kw, problem.dilation[1], lanes, size)
    lines = whole(wide_h * wide_w * lanes * size)
    grads = lines + whole(h * w * lanes * size)
    scratch_bytes = grads + whole(oh * ow * lanes * size)
    scratch = Scratch(used * scratch_bytes + splits * vectors * problem.taps * lanes * size)
    geometry = ChannelPlanes.packed(
        itemsize=size, lanes=lanes, n=problem.n, channels=problem.c_in, vectors=vectors, splits=splits, h=h, w=w, oh=oh, ow=ow, top=top,
        left=left, seen_h=max(0, min(h, wide_h - top)), seen_w=max(0, min(w, wide_w - left)), wide_h=wide_h, wide_w=wide_w,
        sh=problem.stride[0], sw=problem.stride[1], dh=problem.dilation[0], dw=problem.dilation[1], taps=problem.taps, kw=kw, tiles=tiles,
        edge=edge, full_tiles=full, dots=table.ctypes.data, transpose=transpose(lanes, size), clear=clear(lanes, size),
        total=total(lanes, size), lines=lines, grads=grads, scratch_bytes=scratch_bytes, threads=used,
    )  # fmt: skip
    launch = sum_channels.ready(0, 0, 0, geometry)
    write = write_channels.ready(0, 0, geometry)

    def pack(operands: Operands) -> Run:
        grad = operands.weight
        grad_handle = handle(grad)

        def run(x: Array, out: Array, keep_alive: tuple[Array | None, ...] = (grad, table)) -> None:
            if not problem.n:
                out[...] = 0
                return
            buffer = scratch.take()
            launch(used, vectors * splits, handle(x), grad_handle, handle(buffer), geometry)
            write(used, vectors, handle(out), handle(buffer), geometry)
            scratch.give(buffer)

        return run

    return Prepared(pack, scratch.nbytes, f"{lanes} channels a vector, images in {splits} splits, {edge + (full > 0)} rows of taps a tile")
