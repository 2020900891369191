"""What the drivers of convolution by Fourier transforms are told, a line a field."""

from __future__ import annotations

from typing import NamedTuple

from kernels.primitives.records import Record, address, integer
from kernels.problem.operands import Array


class Spectra(Record):
    """Tasks of `driver`. A plane is a phase of an input channel, a line what is
    transformed, a segment what one image has of one step of overlap-save."""

    lanes = integer("numbers in a vector")
    itemsize = integer("bytes of a number")
    oc_lanes = integer("whether lanes hold output channels, not columns")
    length = integer("numbers of a line")
    frequencies = integer("of its spectrum")
    frequency_stride = integer("numbers from frequency to frequency of the spectra")
    im_step = integer("numbers from their real to their imaginary parts")
    columns = integer("of a cache block, filled up to whole tiles")
    segment_columns = integer("columns of a segment")
    block_segments = integer("segments of a cache block")
    all_segments = integer("segments of the whole input")
    column_stride = integer("numbers from column to column, where lanes hold channels")
    phases_across = integer("phases of the stride along the axis that is not transformed")
    vectors = integer("of lines that a cache block's columns fill")
    all_vectors = integer("entries of the table of offsets for each phase")
    vectors_in = integer("tasks of `into_spectra` for each line's start")
    vectors_out = integer("vectors of outputs")
    group_planes = integer("planes of a group")
    groups = integer("of channels")
    outs = integer("output channels of a group")
    out_plane = integer("numbers of an output plane")
    outputs = integer("numbers that a line yields")
    m = integer("rows of a product's tile")
    n = integer("vectors of a product's tile")
    tiles = integer("tiles of a task, one below the other")
    oc_blocks = integer("tasks that share a group's output channels")
    summands = integer("of a product")
    weights_task = integer("numbers of weights' spectra that a task reads")
    weights_ahead = integer("numbers from the weights that are used to those that are prefetched")
    step_in = integer("numbers from one of a line to the next, of x")
    step_out = integer("numbers from one of a line to the next, of the output")
    stride = integer("of the axis that is transformed")
    way_in = integer("how lines are loaded that are not neighbours")
    way_out = integer("how lines are stored that are not neighbours")
    load = address("of the micro-kernel for way_in; takes a LoadLines")
    load_near = address("of that for neighbours")
    prefetch = address("of the micro-kernel for way_out; takes a PrefetchLines")
    prefetch_near = address("of that for neighbours")
    store = address("of the micro-kernel for way_out; takes a StoreLines")
    store_near = address("of that for neighbours")
    spectrum = address("of the step to a spectrum; takes a Spectrum")
    line = address("of the step back; takes a Spectrum")
    product = address("of the micro-kernel; takes a ComplexGemmTile")
    halves = address("of the twiddle factors of these steps")
    permutation = address("of the permutation that radix passes leave numbers in")
    fast = integer("bytes of complex vectors that the first-level cache holds")
    y_row = integer("numbers from row to row of products")
    product_bytes = address("of the line that goes back, behind a task's products")
    spectra_bytes = address("of the first thread's scratch, behind the spectra")
    scratch_bytes = address("of a thread's scratch, from one thread's to the next")
    activation = integer("a code of ACTIVATIONS")
    slope = integer("bits of a float64")


class WeightSpectra(Record):
    """Tasks of `pack_weights`: some summands of a vector of output channels."""

    lanes = integer("numbers in a vector")
    itemsize = integer("bytes of a number")
    length = integer("numbers of a line")
    frequencies = integer("of its spectrum")
    groups = integer("of channels")
    outs = integer("output channels of a group")
    ins = integer("input channels of a group")
    taps = integer("of a kernel")
    channel_step = integer("numbers of the weights from output channel to output channel of a group")
    summand_step = integer("numbers of the weights from input channel to input channel")
    lines = integer("of an input channel")
    summands = integer("of a product")
    together = integer("of them, that a task makes spectra for")
    n = integer("vectors of a product's tile where lanes hold output channels, else 0")
    m = integer("rows of a product's tile")
    tiles = integer("tiles of a task of the product")
    oc_blocks = integer("tasks that share a group's output channels")
    task = integer("numbers that one of them reads")
    fast = integer("bytes of complex vectors that the first-level cache holds")
    spectrum = address("of the step to a spectrum; takes a Spectrum")
    halves = address("of its twiddle factors")
    permutation = address("of the permutation that radix passes leave numbers in")


class InTables(NamedTuple):
    """Where lines come from."""

    passes: Array  # radix passes, as `pass_tables` says
    offsets: Array  # of each vector of lines, as `methods.fft.offsets` says
    ways: Array  # how each is loaded, as `ways_of` says
    shifts: Array  # (offset, start) of each line or column


class OutTables(NamedTuple):
    """Where lines go to."""

    passes: Array  # radix passes back
    summand_offsets: Array  # of each summand's vectors
    offsets: Array
    ways: Array
    shifts: Array


class Lines(NamedTuple):
    """Where weights' lines have their taps: line i of an input channel from starts[i] to starts[i + 1]."""

    starts: Array
    rows: Array  # of the line
    sources: Array  # of the kernel
    passes: Array
