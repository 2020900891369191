"""What the drivers of direct convolution are told, a line a field."""

from __future__ import annotations

from kernels.primitives.channels_last_blocks import ChannelsLast
from kernels.primitives.driver import Convolution, OutputBlocks
from kernels.primitives.post_ops import PoolAfter
from kernels.primitives.records import Record, address, integer


class Packing(Record):
    """How a task packs its input; names are those of PackInput and of packed_layout.Layout."""

    pack = address("of the micro-kernel that packs; takes a PackInput")
    planes = integer("planes of a channel: input columns where their lines start")
    columns_table = address("of those columns, before padding")
    column_stride = integer("numbers from plane to plane")
    phases = integer("input rows that take turns")
    phase_stride = integer("numbers from one's lines to the next one's")
    positions = integer("lines of a plane")
    pitch = integer("numbers from line to line")
    channel_stride = integer("numbers from channel to channel")
    count = integer("numbers in a line")
    span = integer("input columns that all lines of a row cover")
    reach = integer("numbers of a row that are read where it is picked apart")
    row_step = integer("input rows from line to line")
    column_step = integer("input columns from number to number")
    positions_per_row = integer("lines from one row of outputs to the next")
    step = integer("how columns are picked apart: `picking` of a Layout")
    line_offset = address("of room for one input row with its zeros in a thread's scratch")
    ahead = integer("numbers from what is packed to what is packed next, which is prefetched")
    keeps = integer("where a thread's scratch says which block it holds packed, for tasks of its other output channels; 0: it keeps none")


class Blocks(Convolution, OutputBlocks, Packing, PoolAfter, ChannelsLast):
    """A task of `driver`: an image, a group, a block of rows and columns, a split of the output channels."""

    channels = integer("input channels that are packed at a time")
    k = integer("taps of all channels of a group")
    kc = integer("taps that a tile sums at a time: all, or those of one product of matrices")
    kernel_taps = integer("taps of one channel")
    oc_splits = integer("into how many tasks a group's output channels are split")
    m_tiles = integer("tiles of a group's output channels")
    m_edge = integer("channels of an edge tile; full tiles, which come first, have one more")
    m_full_tiles = integer("full tiles")
    tiles = address("of the compiled tiles, by [channels][vectors]; take a GemmTile")
    tiles_each = integer("entries of a row of that table")
    n_tables = address("of (tiles, vectors of an edge tile, full tiles) for blocks of full and last rows by full and last columns")
    vectors = address("of the same four tables of vectors, as a GemmTile reads them")
    vectors_each = address("from one of them to the next")
    offsets = address("of each tap's place in the packed block, in numbers")
    row_offset = address("of a row for the pool in a thread's scratch")
    conv_offset = address("of sums that wait for the pool in a thread's scratch")
    a_row = address("from row to row of weights that are not packed, 0 of those that are")
    in_place = integer("whether tiles read the input where it lies, packing nothing")
    added = integer("ADDED where sums are added to what the output holds, else 0")


class OcBlocks(Convolution, Packing, ChannelsLast):
    """A task of `driver_oc`, where lanes run along output channels: an image, a block of rows, a split of the output channels."""

    rows = integer("output rows of a block")
    row_blocks = integer("blocks down the output")
    k = integer("taps of all channels")
    m = integer("positions of a tile")
    n_tiles = integer("tiles of vectors of output channels")
    n_edge = integer("vectors of an edge tile; full tiles, which come first, have one more")
    n_full_tiles = integer("full tiles")
    oc_splits = integer("into how many tasks a group's output channels are split")
    in_place = integer("whether tiles read the input where it lies, packing nothing")
    as_matrix = integer("whether channels, which are last, are transposed as one matrix")
    side_by_side = integer("whether output channels lie side by side")
    a_tap = integer("numbers of the weights from tap to tap")
    a_channel = integer("numbers of the weights from output channel to output channel at the start of vectors")
    tiles = address("of the compiled tiles, by vectors; take a GemmTileOc")
    offsets = address("of each tap's place in the packed block, in numbers")
