"""What the drivers of depthwise layers with channels in lanes, and of planes where they lie, are told, a line a field."""

from __future__ import annotations

from kernels.primitives.driver import Convolution, OutputBlocks
from kernels.primitives.records import address, integer


class ChannelBlocks(Convolution, OutputBlocks):
    """A task: an image, as many channels as there are lanes, a block of rows and columns."""

    channel_vectors = integer("vectors of input channels")
    multiplier = integer("output channels of an input channel")
    bed_h = integer("input rows that a block reads, padding included")
    bed_w = integer("input columns that a block reads, padding included")
    k = integer("kernel rows, or taps where none are summed together")
    taps = integer("of a kernel")
    last = integer("whether channels are the last axis")
    step = integer("`step` of Sums")
    side = integer("`columns` of Sums")
    offsets = address("of each kernel row's place in the bed, in numbers")
    tables = address("of the runs of blocks of full and of last columns")
    table_bytes = address("from one to the other")
    runs = address("of (micro-kernel that takes Sums, positions of a run, runs in a row) for full and last columns")
    fill_offsets = address("of each position's place in the bed")
    border = address("of the micro-kernel; takes a Border")
    fill = address("of the micro-kernel; takes a Fill")
    spread = address("of the micro-kernel; takes a Spread")
    transpose = address("of the micro-kernel; takes a Transpose")
    summed_offset = address("of sums in a thread's scratch, before they are transposed")


class PlaneBlocks(Convolution):
    """A task of `driver_planes`: an image, some channels, some rows."""

    multiplier = integer("output channels of an input channel")
    channels = integer("input channels of a task")
    channel_blocks = integer("tasks of an image's channels")
    rows = integer("output rows of a task")
    row_blocks = integer("tasks of a plane's rows")
    tile_rows = integer("output rows of a tile")
    tile = address("of the micro-kernel; takes a PlaneRows")
    taps = integer("of a kernel")
    zeros = address("of a line of zeros")
    vectors = integer("of an output row")
    first_inner = integer("vector that reaches over no end of a row")
    inner = integer("how many such there are from it on")
