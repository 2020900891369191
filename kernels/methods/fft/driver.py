"""Driver of convolution by transforms of one axis: input spectra first, then for each part of the output its products and the way back.

Two regions for each cache block of segments. `into_spectra` loads a vector of lines at a time, transforms it in scratch and spreads its
spectrum over the cache block's spectra, which all threads share: [frequency][plane][real, imaginary][column], or, where lanes hold
channels, [frequency] [column][real, imaginary][plane]. `out_of_spectra` has tasks of some rows by n vectors: products at all frequencies
into scratch, then each vector of lines back and out, with the epilogue. A plane is a phase of an input channel.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from kernels.cost.calibration import threads_for
from kernels.methods.fft.blocking import Blocking, columns_of, frequencies, shifts, summands, taps
from kernels.methods.fft.codelets import Spectrum, line, spectrum
from kernels.methods.fft.complex_gemm_tile import ComplexGemmTile, product
from kernels.methods.fft.offsets import channel_offsets, column_offsets, ways_of
from kernels.methods.fft.pack_weights import spectra_packer
from kernels.methods.fft.passes import fast, tables, transform
from kernels.methods.fft.records import InTables, OutTables, Spectra
from kernels.primitives.activations import codes
from kernels.primitives.driver import epilogue_of, padded
from kernels.primitives.gemm_tile import AHEAD, taps_ahead
from kernels.primitives.lines import ALONG, APART, NEIGHBOURS, LoadLines, PrefetchLines, StoreLines, load_lines, prefetch_lines, store_lines
from kernels.primitives.prepared import Prepared, Run
from kernels.problem.conv import Conv
from kernels.problem.operands import Operands
from kernels.runtime.ir import call, split
from kernels.runtime.jit import inlined
from kernels.runtime.machine import machine
from kernels.runtime.pointers import pointed
from kernels.runtime.regions import region
from kernels.runtime.scratch import Scratch, handle, whole

Array = np.ndarray


@inlined
def one_in(task, x, spectra, tables, geometry, segment, block):
    """Task of `into_spectra`: one vector of lines of one channel and phase, or of one column."""
    g = geometry[0]
    size = g.itemsize
    shift, vector = split(task, g.vectors_in)
    if g.oc_lanes:
        column = segment * g.segment_columns + shift
        if column >= tables.shifts.shape[0]:
            return
        offset, start, limit = tables.shifts[column]
        entry, at = vector, (2 * shift * g.column_stride + vector * g.lanes)
    else:
        offset, start, limit = tables.shifts[shift]
        phase, v = split(vector, g.vectors)
        entry = phase * g.all_vectors + split(segment, g.block_segments)[0] * g.vectors + v
        at = 2 * (shift * g.phases_across + phase) * g.columns + v * g.lanes
    way = tables.ways[entry]
    call(
        g.load if way == g.way_in else g.load_near,
        LoadLines(
            way=way, lanes=g.lanes, itemsize=size, rows=block, numbers=g.length, x=x + offset * size,
            offsets=tables.offsets[entry].ctypes.data, step=g.step_in, start=start, stride=g.stride,
            limit=limit,
        ),
    )  # fmt: skip
    transform(tables.passes, block, g.length, g.lanes, size, g.fast)
    call(
        g.spectrum,
        Spectrum(
            back=0, lanes=g.lanes, itemsize=size, spectrum=spectra + at * size, x=block, n=g.length // 2, stride=g.frequency_stride,
            im_step=g.im_step, twiddles=g.halves, permutation=g.permutation,
        ),
    )  # fmt: skip


@region
def into_spectra(task, thread, x, tables, geometry, segment, scratch):
    """A task for the spectra of the cache block that begins at `segment`, which lie at the beginning of scratch, each thread's behind them.
    x and scratch are handles."""
    g = geometry[0]
    spectra = pointed(scratch)
    one_in(task, pointed(x), spectra, tables, geometry, segment, spectra + g.spectra_bytes + thread * g.scratch_bytes)


@inlined
def one_out(task, spectra, out, operands, tables, geometry, segment, block):
    """Task of `out_of_spectra`: tiles of rows by n vectors."""
    g = geometry[0]
    size = g.itemsize
    y_step = 2 * g.n * g.lanes  # from frequency to frequency; each row's spectra are one stream, which the way back reads
    here = block + g.product_bytes
    if g.oc_lanes:
        call(
            g.product,
            ComplexGemmTile(
                m=g.m, n=g.n, lanes=g.lanes, itemsize=size, frequencies=g.frequencies, tiles=g.tiles, k=g.summands,
                a=spectra, a_f=g.frequency_stride, a_tile=2 * g.m * g.column_stride, a_k=1, a_i=2 * g.column_stride, a_im=g.column_stride,
                x=operands[0] + task * g.weights_task * size, x_f=g.summands * g.n * g.lanes, offsets=tables.summand_offsets.ctypes.data,
                x_im=split(g.weights_task, 2)[0], y=block, y_f=y_step, y_i=g.y_row, y_im=g.n * g.lanes, a_ahead=0,
                x_ahead=g.weights_ahead,
            ),
        )  # fmt: skip
        first_vector, group, rows = task * g.n, 0, min(g.columns, (g.all_segments - segment) * g.segment_columns)
    else:
        rest, oc_block = split(task, g.oc_blocks)
        column_block, group = split(rest, g.groups)
        first_vector, first_row = column_block * g.n, oc_block * g.tiles * g.m
        source = spectra + (2 * group * g.group_planes * g.columns + first_vector * g.lanes) * size
        call(
            g.product,
            ComplexGemmTile(
                m=g.m, n=g.n, lanes=g.lanes, itemsize=size, frequencies=g.frequencies, tiles=g.tiles, k=g.summands,
                a=operands[0] + (group * g.oc_blocks + oc_block) * g.weights_task * size, a_f=g.tiles * 2 * g.m * g.summands,
                a_tile=2 * g.m * g.summands, a_k=2 * g.m, a_i=2, a_im=1, x=source, x_f=g.frequency_stride,
                offsets=tables.summand_offsets.ctypes.data, x_im=g.columns, y=block, y_f=y_step, y_i=g.y_row, y_im=g.n * g.lanes,
                a_ahead=g.weights_ahead, x_ahead=0,
            ),
        )  # fmt: skip
        rows = min(g.tiles * g.m, g.outs - first_row)
    for i in range(rows):
        for q in range(min(g.n, g.vectors_out - first_vector)):
            if g.oc_lanes:
                entry, channel = first_vector + q, (first_vector + q) * g.lanes
                offset, count = tables.shifts[segment * g.segment_columns + i]
            else:
                entry = split(segment, g.block_segments)[0] * g.vectors + first_vector + q
                channel = group * g.outs + first_row + i
                offset, count = channel * g.out_plane, g.outputs
            way = tables.ways[entry]
            if way < 0:
                continue
            source = block + (i * g.y_row + q * g.lanes) * size
            target = out + offset * size
            call(
                g.prefetch if way == g.way_out else g.prefetch_near,
                PrefetchLines(
                    way=way, lanes=g.lanes, itemsize=size, numbers=count, out=target, offsets=tables.offsets[entry].ctypes.data,
                    step=g.step_out,
                ),
            )
            call(
                g.line,
                Spectrum(
                    back=1, lanes=g.lanes, itemsize=size, spectrum=source, x=here, n=g.length // 2, stride=y_step, im_step=g.n * g.lanes,
                    twiddles=g.halves, permutation=g.permutation,
                ),
            )  # fmt: skip
            transform(tables.passes, here, g.length, g.lanes, size, g.fast)
            bias, scale, shift = epilogue_of(g, operands, channel)
            call(
                g.store if way == g.way_out else g.store_near,
                StoreLines(
                    way=way, oc_lanes=g.oc_lanes, lanes=g.lanes, itemsize=size, rows=here, numbers=count, out=target,
                    offsets=tables.offsets[entry].ctypes.data, step=g.step_out,
                    bias=bias, scale=scale, shift=shift, activation=g.activation, slope=g.slope,
                ),
            )  # fmt: skip


@region
def out_of_spectra(task, thread, out, handles, tables, geometry, segment, scratch):
    """A task for the outputs of the cache block that begins at `segment`; handles: of weights, bias, scale, shift, others as for
    `into_spectra`."""
    g = geometry[0]
    spectra = pointed(scratch)
    weights, bias, scale, shift = handles
    operands = pointed(weights), pointed(bias), pointed(scale), pointed(shift)
    block = spectra + g.spectra_bytes + thread * g.scratch_bytes
    one_out(task, spectra, pointed(out), operands, tables, geometry, segment, block)


def prepare_spectra(problem: Conv, threads: int, block: Blocking, *, adjoint: bool = False) -> Prepared:
    """Where every column begins, and scratch for the spectra of one cache block; adjoint: weights are those of the layer that this is the
    adjoint of."""
    lanes, size = machine().lanes(problem.itemsize), problem.itemsize
    along, across, f = taps(problem, block.axis), shifts(problem, block), frequencies(block.length)
    phases, ins, outs = len(along.phases), problem.c_in // problem.groups, problem.c_out // problem.groups
    planes, all_segments = problem.c_in * phases * len(across.phases), problem.n * block.segments
    columns, pitch = block.block_segments * columns_of(problem, block), (problem.size[1], 1)[block.axis]
    products = summands(problem, block)
    if block.oc_lanes:
        weights_task = f * products * 2 * block.n * lanes
        inputs, outputs, shifts_in, shifts_out = channel_offsets(problem, block, lanes)
        # an odd number of vectors from column to column: those of a tile, a power of two apart, would share cache sets
        vectors, vectors_out, plane_numbers = len(inputs), len(outputs), (len(inputs) | 1) * lanes
        im_step, frequency_stride = plane_numbers, block.tiles * block.m * 2 * plane_numbers
        summand_offsets = np.arange(products) * block.n * lanes
        tasks_in, tasks_out, oc_blocks, all_vectors = columns * vectors, -(-vectors_out // block.n), 1, 0
    else:
        weights_task = f * products * 2 * block.tiles * block.m
        inputs, outputs = column_offsets(problem, block, lanes)
        shifts_in = np.array([
            (c * math.prod(problem.size) + phase * pitch, phase, problem.size[block.axis])
            for c, phase in itertools.product(range(problem.c_in), along.phases)
        ])  # fmt: skip
        shifts_out, plane_numbers = np.zeros((1, 2), np.int64), 0
        vectors = vectors_out = -(-columns // lanes)
        groups_of_vectors = -(-vectors // block.n)
        columns = im_step = groups_of_vectors * block.n * lanes
        frequency_stride = planes * 2 * columns
        plane_of = np.arange(ins * phases)[:, None] * len(across.phases) + [across.phases.index(phase) for phase in across.phase]
        summand_offsets = (plane_of * 2 * columns + np.array(across.index)).ravel()
        oc_blocks, all_vectors = -(-outs // (block.tiles * block.m)), len(outputs)
        tasks_in, tasks_out = problem.c_in * phases * len(across.phases) * vectors, groups_of_vectors * problem.groups * oc_blocks
    frequency_stride += lanes * (frequency_stride // lanes % 2 == 0)  # an odd number of vectors: powers of two would share cache sets
    summand_offsets = np.append(summand_offsets, np.zeros(AHEAD)).astype(np.int64)
    width = 2 * (block.n * lanes if block.oc_lanes else block.m)  # of the weights of a summand,
    stream = width // 2 if block.oc_lanes else width  # of which so many lie together
    y_row = f * 2 * block.n * lanes + lanes
    rows = -(-block.length // lanes) * lanes
    product_bytes = whole(block.tiles * block.m * y_row * size)
    scratch_bytes = product_bytes + rows * lanes * size
    spectra_bytes = whole((f * frequency_stride + across.reach + (block.n + 1) * lanes) * size)
    used = min(threads_for(block.cycles, threads), max(tasks_in, tasks_out))
    scratch = Scratch(spectra_bytes + used * scratch_bytes)
    own = tables(block.length, size)
    step_in, step_out = problem.stride[block.axis] * pitch, (problem.conv_size[1], 1)[block.axis]
    way_in, way_out = (ALONG if step == 1 else APART for step in (step_in, step_out))
    ways_in, ways_out = ways_of(inputs, way_in), ways_of(outputs, way_out)
    _, activation, slope = codes(problem.activation)
    geometry = Spectra.packed(
        lanes=lanes, itemsize=size, oc_lanes=int(block.oc_lanes), length=block.length, frequencies=f, im_step=im_step,
        frequency_stride=frequency_stride, column_stride=plane_numbers, phases_across=len(across.phases), columns=columns,
        segment_columns=columns_of(problem, block), block_segments=block.block_segments, all_segments=all_segments, vectors=vectors,
        all_vectors=all_vectors,
        vectors_in=vectors if block.oc_lanes else vectors * len(across.phases), vectors_out=vectors_out,
        group_planes=ins * phases * len(across.phases), groups=problem.groups, outs=outs,
        out_plane=math.prod(problem.conv_size), outputs=block.outputs, m=block.m, n=block.n, tiles=block.tiles, oc_blocks=oc_blocks,
        summands=products, weights_task=weights_task,
        weights_ahead=stream * taps_ahead(2 * block.m, 2 * block.n, width * size), spectra_bytes=spectra_bytes, y_row=y_row,
        product_bytes=product_bytes,
        step_in=step_in, step_out=step_out, stride=problem.stride[block.axis], way_in=way_in, way_out=way_out,
        load=load_lines(way_in, lanes, size), load_near=load_lines(NEIGHBOURS, lanes, size), spectrum=spectrum(lanes, size),
        line=line(lanes, size), prefetch=prefetch_lines(way_out, lanes, size), prefetch_near=prefetch_lines(NEIGHBOURS, lanes, size),
        store=store_lines(way_out, block.oc_lanes, lanes, size), store_near=store_lines(NEIGHBOURS, block.oc_lanes, lanes, size),
        product=product(block.m, block.n, lanes, size), halves=own.halves.ctypes.data, permutation=own.permutation.ctypes.data,
        fast=fast(),
        activation=activation, slope=slope,
        scratch_bytes=scratch_bytes,
    )  # fmt: skip
    tables_in = InTables(own.forward, inputs, ways_in, shifts_in)
    tables_out = OutTables(own.back, summand_offsets, outputs, ways_out, shifts_out)
    forward = into_spectra.ready(0, tables_in, geometry, 0, 0)
    back = out_of_spectra.ready(0, (0, 0, 0, 0), tables_out, geometry, 0, 0)
    whole_vectors = -(-problem.c_out // lanes) * lanes
    weight_blocks = tasks_out if block.oc_lanes else oc_blocks
    spectra_of = spectra_packer(problem, block, weight_blocks, weights_task, own, threads, adjoint=adjoint)

    def pack(operands: Operands) -> Run:
        assert operands.weight is not None
        weights = spectra_of(operands.weight)
        bias = np.zeros(problem.c_out, problem.dtype) if operands.bias is None else operands.bias
        packed = [weights, *(padded(array, whole_vectors) for array in (bias, operands.scale, operands.shift))]
        handles = tuple(handle(array) for array in packed)

        def run(x: Array, out: Array, keep_alive: Any = (packed, own)) -> None:  # what geometry and passes point into
            buffer = scratch.take()
            for segment in range(0, all_segments, block.block_segments):
                forward(used, tasks_in, handle(x), tables_in, geometry, segment, handle(buffer))
                back(used, tasks_out, handle(out), handles, tables_out, geometry, segment, handle(buffer))
            scratch.give(buffer)

        return run

    weight_bytes = weights_task * problem.groups * weight_blocks * size
    partitions = f"kernel in {block.partitions} partitions, " if block.partitions else ""
    note = (
        f"{weight_bytes / 1e6:.3g} MB of weight spectra, transforms of {block.length} along axis {'HW'[block.axis]}, {block.outputs} "
        f"outputs of each, {partitions}{block.block_segments} of {all_segments} segments at a time, products {block.m}x{block.n} with "
        f"{'output channels' if block.oc_lanes else 'columns'} in lanes"
    )
    return Prepared(pack, scratch.nbytes, note)
