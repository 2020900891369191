"""What the drivers of depthwise layers with channels in lanes, and of planes where they lie, are told, a line a field."""

from __future__ import annotations

from kernels.primitives.driver import Convolution, OutputBlocks
from kernels.primitives.records import Record, address, integer


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


class Planes(Convolution):
    """Tasks of some channels and some rows, whose planes are read where they lie."""

    rows = integer("output rows of a task")
    row_blocks = integer("tasks of a plane's rows")
    tile = address("of the micro-kernel; takes a PlaneRows")
    taps = integer("of a kernel")
    zeros = address("of a line of zeros")
    vectors_of_row = integer("of an output row")
    first_inner = integer("vector that reaches over no end of a row")
    inner = integer("how many such there are from it on")


class PlaneBlocks(Planes):
    """A task of `driver_planes`."""

    multiplier = integer("output channels of an input channel")
    channels = integer("input channels of a task")
    channel_blocks = integer("tasks of an image's channels")


class BottleneckLayers(Record):
    """What drivers of bottlenecks know of the layers around the depthwise one, and of the parts of the wide channels."""

    parts = integer("tasks that divide the wide channels")
    k = integer("input channels")
    expand_activation = integer("of the wide channels, a code of ACTIVATIONS, applied in registers")
    expand_slope = integer("bits of a float64")
    expand_form = integer("one of FORMS, an activation that tiles do not know; 0: none")
    expand_pass = address("of the micro-kernel that applies it; takes an ActivationPass")
    out_channels = integer("of y")
    mean = address("of the micro-kernel that sums a plane; takes a Row")
    share = integer("bits of one over the positions of a plane")
    parts_offset = address("of the sums of all parts but the first, in the scratch of all threads")
    part_bytes = address("from one part's to the next")
    add = address("of the micro-kernel that adds them; takes a VectorPass")
    add_form = integer("its form")


class BottleneckBlocks(Planes, BottleneckLayers):
    """A task of `driver_bottleneck`, whose planes a pointwise layer makes, unless they are the input's, and another one reads."""

    kh = integer("kernel rows")
    together = integer("tiles of wide channels that are added to the narrow ones at a time")
    m_tiles = integer("tiles of wide channels")
    m_edge = integer("channels of an edge tile; full tiles, which come first, have one more")
    m_full_tiles = integer("full tiles")
    tiles = address("of the compiled tiles, by [channels][vectors]; take a GemmTile")
    tiles_each = integer("entries of a row of that table")
    counts = address("of (tiles, vectors of an edge tile, full tiles) for each block of rows")
    vectors = address("of each block's vectors, as a GemmTile reads them")
    vectors_each = address("from one block's to the next")
    offsets = address("of each input channel's place, in numbers")
    plane = integer("numbers from wide plane to wide plane in a thread's scratch")
    narrow_activation = integer("of the last layer, a code of ACTIVATIONS, where one part has all wide channels")
    narrow_slope = integer("bits of a float64")
    narrow_tiles = integer("tiles of the last layer's channels; 0: there is no last layer")
    narrow_edge = integer("channels of an edge tile")
    narrow_full_tiles = integer("full tiles")
    narrow = address("of the compiled tiles")
    narrow_each = integer("entries of a row of that table")
    narrow_counts = address("as `counts`")
    narrow_vectors = address("as `vectors`")
    narrow_vectors_each = address("from one block's to the next")
    narrow_offsets = address("of the place of each channel of summed windows, in numbers")
    summed_offset = address("of summed windows in a thread's scratch")
    summed_plane = integer("numbers from channel to channel of them")
    part_numbers = integer("of a part")
    add_tasks = integer("tasks that this is divided into")


class StackedBlocks(Convolution, BottleneckLayers):
    """A task of `driver_stacked`: the layers of a bottleneck over a small map, channels in lanes."""

    images = integer("of the batch")
    channel_vectors = integer("vectors of wide channels")
    m = integer("positions of a tile of the first layer")
    n = integer("vectors of wide channels of its largest tile")
    tiles = address("of the compiled tiles, by vectors; take a GemmTileOc")
    offsets = address("of each input channel's place, in numbers")
    bed_h = integer("rows that windows read, padding included")
    bed_w = integer("columns that they read")
    seen_h = integer("rows of them that are not padding")
    seen_w = integer("columns of them that are not padding")
    border = address("of the micro-kernel; takes a Border")
    spread = address("of the micro-kernel; takes a Spread")
    sums = address("of the micro-kernel; takes a Sums")
    transpose = address("of the micro-kernel; takes a Transpose")
    step = integer("`step` of Sums")
    side = integer("`columns` of Sums")
    window_rows = integer("`k` of Sums")
    taps = integer("of a kernel")
    window_offsets = address("of their places in the bed, in numbers")
    table = address("of the runs of windows")
    runs = integer("of them")
    narrow_vectors = integer("vectors of output channels of the last layer; 0: there is none")
    narrow_m = integer("positions of a tile of it")
    narrow_n = integer("vectors of its largest tile")
    narrow = address("of its compiled tiles")
    narrow_offsets = address("of the place of each channel of summed windows")
    stage_offset = address("of wide channels in a thread's scratch, as tiles write them")
    rows_offset = address("of a vector of channels' summed windows, before they are transposed")
    planes_offset = address("of all of a part's summed windows")
    counts_bytes = address("that counts of finished parts take before the threads' scratch")
