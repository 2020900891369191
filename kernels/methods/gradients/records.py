"""What the drivers of weights' gradients are told, a line a field."""

from __future__ import annotations

from typing import NamedTuple

from kernels.primitives.records import Record, address, integer


class Positions(NamedTuple):
    """A block of positions: of outputs, some rows and columns of some images."""

    image: int  # the first
    images: int
    row: int
    column: int
    rows: int
    columns: int


class PackedPlanes(Record):
    """How a task packs planes, of the input or of the gradient: what `packing` reads besides a Side."""

    itemsize = integer("bytes of a number")
    lanes = integer("numbers in a vector")
    n = integer("images")
    c_in = integer("channels of the planes")
    h = integer("rows of a plane")
    w = integer("columns of a plane")
    sh = integer("rows that a window moves by")
    sw = integer("columns that a window moves by")
    pad_h = integer("rows of zeros before the first")
    pad_w = integer("columns of zeros before the first")
    reach_h = integer("rows that a window covers")
    row_period = integer("rows after which those that a tap sees repeat; 1: taps see them all")
    seen_rows = integer("of each row of a period, a bit: whether a tap sees it")
    reach_w = integer("columns that a window covers")
    transpose = address("of the micro-kernel; takes a Transpose")
    total = address("of the micro-kernel; takes a Total")
    spread = address("of the micro-kernel; takes a Spread")
    clear = address("of the micro-kernel; takes a Clear")
    unfold = address("of the micro-kernel; takes an Unfold")


class Tasks(Record):
    """How weights' gradients are divided into tasks and blocks, and the tiles of their sums."""

    groups = integer("of channels")
    c_out = integer("output channels")
    ins = integer("input channels of a group")
    outs = integer("output channels of a group")
    taps = integer("of a kernel")
    ic_splits = integer("into how many tasks a group's input channels are split")
    share = integer("input channels of one")
    oc_splits = integer("into how many tasks a group's output channels are split")
    out_share = integer("output channels of one")
    splits = integer("parts of the blocks, whose sums are added in order")
    images = integer("of a block")
    rows = integer("of a block")
    columns = integer("of a block")
    row_blocks = integer("blocks down an image")
    column_blocks = integer("blocks across an image")
    blocks = integer("in all")
    m = integer("rows of a tile of sums at most")
    panel = integer("factors of a position that lie side by side: a vector's channels, or all taps of all channels")
    lying = integer("numbers from row to row of factors that are read where they lie; 0: they are packed")
    tiles = address("of the compiled tiles, by [rows][vectors]; take a ProductTile")
    tiles_each = integer("entries of a row of that table")
    pitch = integer("numbers from row to row of the sums")
    threads = integer("whose scratch lies before the sums that they share")
    scratch_bytes = address("of a thread's scratch, from one thread's to the next")


class PositionBlocks(PackedPlanes, Tasks):
    """A task of `driver`: some input and some output channels of a group, a split of the blocks of positions."""

    oh = integer("rows of the gradient")
    ow = integer("columns of the gradient")
    unfolded = integer("whether every tap lies side by side, channel after channel")
    turned = integer("whether those are rows of sums, and vectors are output channels")
    places = integer("positions of a block, the last ones too, that a vector's channels of the gradient have room for")
    kw = integer("kernel columns")
    dh = integer("rows from tap to tap")
    dw = integer("columns from tap to tap")
    rows_of_sums = integer("of a split")
    in_place = integer("whether sums lie where the weights do")
    micro_panels_offset = address("of the packed gradient in a thread's scratch")


class TileBlocks(PackedPlanes, Tasks):
    """A task of `winograd_driver`: some input and some output channels of a group, a split of the blocks of tiles."""

    mh = integer("gradient rows of a tile")
    mw = integer("gradient columns of a tile")
    rh = integer("kernel rows")
    rw = integer("kernel columns")
    points = integer("of a tile, each a matrix product")
    tiles_h = integer("tiles down an image")
    tiles_w = integer("tiles across an image")
    v_offset = address("of transformed input in a thread's scratch")
    u_offset = address("of transformed gradients in a thread's scratch")
    sums_offset = address("of a thread's sums in its scratch, where no other adds to them")
    sums_step = integer("numbers of the sums from point to point")
    input_points = address("of the input's transform; takes a ToPoints")
    grad_points = address("of the gradient's transform; takes a ToPoints")
    weights = address("of the transform of the sums; takes a FromPoints")


class Side(Record):
    """How planes lie packed, and the vectors that tiles of sums take of them."""

    channels = integer("that lie side by side")
    down = integer("numbers from row to row")
    across = integer("numbers from column to column")
    image_pitch = integer("numbers from image to image")
    vectors = address("of where each vector of a row of sums lies under a position, in numbers")
    offsets = address("of each position's place, in numbers")
    n_tiles = integer("tiles of these vectors")
    n_edge = integer("vectors of an edge tile; full tiles, which come first, have one more")
    n_full_tiles = integer("full tiles")


class PositionSide(Side):
    """Of `driver`, and how a row of sums becomes weights: `outer` times, a matrix of `inner` rows of channels is transposed."""

    vectors_each = integer("vectors of a row of sums")
    outer = integer("matrices of a row")
    outer_from = integer("numbers from one to the next among the sums")
    outer_to = integer("numbers from one to the next among the weights")
    inner = integer("taps of a matrix")
    inner_from = integer("numbers from one to the next among the sums")


class TileSide(Side):
    """Of `winograd_driver`."""

    lines = integer("vectors of channels")
    point_step = integer("numbers from point to point")


class DotPlanes(Record):
    """Tasks of `depthwise`: all taps of an output channel."""

    itemsize = integer("bytes of a number")
    lanes = integer("numbers in a vector")
    n = integer("images")
    c_in = integer("input channels")
    c_out = integer("output channels")
    outs = integer("output channels of an input channel")
    h = integer("input rows")
    w = integer("input columns")
    oh = integer("rows of the gradient")
    ow = integer("columns of the gradient")
    sh = integer("rows that a window moves by")
    sw = integer("columns that a window moves by")
    taps = integer("of a kernel")
    dot = address("of the micro-kernel; takes a Dot")


class DotBlocks(Record):
    """A task of `dots_driver`: all input and some output channels of a group, a split of the blocks of rows."""

    itemsize = integer("bytes of a number")
    lanes = integer("numbers in a vector")
    n = integer("images")
    groups = integer("of channels")
    c_in = integer("input channels")
    ins = integer("input channels of a group")
    c_out = integer("output channels")
    outs = integer("output channels of a group")
    h = integer("input rows")
    w = integer("input columns")
    oh = integer("rows of the gradient")
    ow = integer("columns of the gradient")
    sh = integer("rows that a window moves by")
    sw = integer("columns that a window moves by")
    pad_h = integer("rows of zeros before the first")
    pad_w = integer("columns of zeros before the first")
    reach_h = integer("rows of a phase that a window covers beyond the first")
    row_phases = integer("phases of rows that taps see")
    column_phases = integer("phases of columns that taps see")
    starts = address("of the first row of each phase of rows")
    targets = address("of where each phase of columns goes, as a PhaseRows reads it")
    few = integer("`few` of a PhaseRows")
    phase_rows = address("of the micro-kernel; takes a PhaseRows")
    total = address("of the micro-kernel; takes a Total")
    plane = integer("numbers of a phase of a channel")
    pitch = integer("numbers of a row of it")
    lines = integer("taps of all channels of a group")
    flat = integer("whether a block's rows lie one behind the other")
    offsets = address("of where the row that each of those reads begins, in numbers")
    images = integer("of a block: one")
    rows = integer("of a block")
    columns = integer("of a block")
    row_blocks = integer("blocks down an image")
    column_blocks = integer("blocks across an image")
    blocks = integer("in all")
    splits = integer("parts of the blocks, whose sums are added in order")
    oc_splits = integer("into how many tasks a group's output channels are split")
    out_share = integer("output channels of one")
    m = integer("output channels of a tile at most")
    n_tiles = integer("tiles of `lines`")
    n_edge = integer("of an edge tile; full tiles, which come first, have one more")
    n_full_tiles = integer("full tiles")
    tiles = address("of the compiled tiles, by [channels][taps]; take a DotTile")
    tiles_each = integer("entries of a row of that table")
    threads = integer("whose scratch lies before the sums of the splits")
    scratch_bytes = address("of a thread's scratch, from one thread's to the next")
