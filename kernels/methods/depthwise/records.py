"""What the driver of depthwise layers with channels in lanes is told, a line a field."""

from __future__ import annotations

from kernels.primitives.records import Record, address, integer


class ChannelBlocks(Record):
    """A task: an image, as many channels as there are lanes, a block of rows and columns."""

    itemsize = integer("bytes of a number")
    lanes = integer("numbers in a vector")
    groups = integer("vectors of input channels")
    c_in = integer("input channels")
    c_out = integer("output channels")
    multiplier = integer("output channels of an input channel")
    h = integer("input rows")
    w = integer("input columns")
    oh = integer("output rows")
    ow = integer("output columns")
    pad_h = integer("rows of zeros before the first")
    pad_w = integer("columns of zeros before the first")
    sh = integer("rows that a window moves by")
    sw = integer("columns that a window moves by")
    rows = integer("output rows of a block")
    columns = integer("output columns of a block")
    row_blocks = integer("blocks down the output")
    column_blocks = integer("blocks across the output")
    high = integer("input rows that a block reads, padding included")
    wide = integer("input columns that a block reads, padding included")
    k = integer("kernel rows, or taps where none are summed together")
    taps = integer("of a kernel")
    last = integer("whether channels are the last axis")
    step = integer("`step` of Sums")
    side = integer("`columns` of Sums")
    offsets = address("of each kernel row's place in the bed, in numbers")
    tables = address("of the runs of blocks of full and of last columns")
    table_bytes = address("from one to the other")
    runs = address("of (micro-kernel that takes Sums, positions of a run, runs in a row) for full and last columns")
    places = address("of each position's place in the bed")
    border = address("of the micro-kernel; takes a Border")
    fill = address("of the micro-kernel; takes a Fill")
    spread = address("of the micro-kernel; takes a Spread")
    transpose = address("of the micro-kernel; takes a Transpose")
    activation = integer("a code of ACTIVATIONS, applied in registers")
    slope = integer("bits of a float64")
    form = integer("one of FORMS, an activation that tiles do not know; 0: none")
    activation_pass = address("of the micro-kernel that applies it; takes an ActivationPass")
    summed_offset = address("of sums in a thread's scratch, before they are transposed")
    tasks = integer("of the whole convolution")
    scratch_bytes = address("of a thread's scratch, from one thread's to the next")
