"""What the driver of Winograd convolution is told, a line a field."""

from __future__ import annotations

from kernels.primitives.channels_last_blocks import ChannelsLast
from kernels.primitives.driver import Convolution
from kernels.primitives.post_ops import PoolAfter
from kernels.primitives.records import address, integer


class WinogradTiles(Convolution, PoolAfter, ChannelsLast):
    """A task: some images, a group, a block of tiles, a split of the output channels."""

    mh = integer("output rows of a tile")
    mw = integer("output columns of a tile")
    down = integer("rows of tiles that take turns, and from row to row of a tile; 1 where windows are dense")
    across = integer("columns of tiles that take turns, and from column to column of a tile")
    rh = integer("kernel rows")
    rw = integer("kernel columns")
    points = integer("of a tile, each a matrix product")
    weights_point = integer("numbers of transformed weights from point to point")
    tiles_h = integer("tiles down an image")
    tiles_w = integer("tiles across an image")
    rows = integer("rows of tiles of a block")
    columns = integer("columns of tiles of a block")
    row_blocks = integer("blocks down an image")
    column_blocks = integer("blocks across an image")
    images = integer("that share a task")
    row_step = integer("1; for the staging buffer, input rows from line to line")
    phases = integer("1; for the staging buffer, input rows that take turns")
    span = integer("input columns that a block of tiles reads")
    kc = integer("input channels whose products are summed in registers")
    tile_n = integer("vectors of tiles of a GEMM tile at most")
    m_tiles = integer("GEMM tiles of a group's output channels")
    m_edge = integer("channels of an edge tile; full tiles, which come first, have one more")
    m_full_tiles = integer("full tiles")
    m_most = integer("channels of a GEMM tile at most")
    channels = integer("output channels of an output-channel block")
    oc_splits = integer("into how many tasks the output channels are split")
    pitch_vectors = integer("vectors of tiles from channel to channel of transformed input")
    oc_m = integer("tiles of a GEMM tile with output channels in lanes, 0 where tiles are in lanes")
    gemm_tile_oc = address("of that micro-kernel; takes a GemmTileOc")
    tiles = address("of the compiled GEMM tiles, by [channels][vectors]; take a GemmTile")
    tiles_each = integer("entries of a row of that table")
    input = address("of the input transform; takes an InputTransform")
    output = address("of the output transform; takes an OutputTransform")
    patch_entries = address("of what writes the input's entries where columns are dilated, else 0; takes DilatedTiles")
    output_entries = address("of what writes the output's; takes DilatedTiles")
    entry_words = integer("int64s of an entry that says where a vector of tiles is loaded from")
    output_words = integer("int64s of an entry that says where a vector of tiles is stored to")
    block = integer("numbers that shuffles keep together")
    ahead = integer("numbers from what is transformed to what is transformed next, which is prefetched")
    ahead_out = integer("numbers from what is written to what is written next, which is prefetched")
    outputs_offset = address("of the output's entries in a thread's scratch")
    v_offset = address("of transformed input in a thread's scratch")
    m_offset = address("of products in a thread's scratch")
    row_offset = address("of a row for the pool in a thread's scratch")
    conv_offset = address("of sums that wait for the pool in a thread's scratch")
    offsets = address("of each input channel's place in transformed input, for each pitch")
    entries = address("of the table of vectors that GEMM tiles read")
