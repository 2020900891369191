"""Spectra of weights as the product of spectra reads them: what a plan does once and a function call each time.

A line is what one phase and one tap of the other axis, or one partition of a long kernel, have of a kernel: its taps where they belong, in
reverse, because a correlation multiplies by the conjugate spectrum, and scaled, so that nothing is on the way back. Lanes hold output
channels. Where the product's lanes do so too, spectra go straight to where they belong; where it reads numbers, they are transposed.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from kernels.cost.calibration import threads_for
from kernels.methods.fft.blocking import Blocking, frequencies, summands, taps, transform_cycles
from kernels.methods.fft.codelets import Spectrum, spectrum
from kernels.methods.fft.passes import Tables, fast, transform
from kernels.methods.fft.records import Lines, WeightSpectra
from kernels.problem.conv import Conv
from kernels.runtime.ir import call, split
from kernels.runtime.jit import njit
from kernels.runtime.leases import packed_weights
from kernels.runtime.machine import machine
from kernels.runtime.regions import region
from kernels.runtime.scratch import aligned

Array = np.ndarray
SPREAD = 4  # cycles to store a number of a spectrum where the product reads it


@njit
def fill(g, weight, lines, scale, count, first, line, table):
    """lines[row][lane]: a line of `count` channels, the first's kernel at `first`, and zeros."""
    lines[:] = 0
    for lane in range(count):  # outermost: kernels a power of two apart share cache sets
        kernel = first + lane * g.channel_step
        for tap in range(table.starts[line], table.starts[line + 1]):
            lines[table.rows[tap], lane] = weight[kernel + table.sources[tap]] * scale


@njit
def one_vector(unit, weight, packed, scratch, scale, table, geometry):
    """Spectra of one line of a vector of channels; scratch [row][lane]: room for the line and its spectrum."""
    g = geometry[0]
    size = g.itemsize
    lines, spectra = scratch[: g.length], scratch[g.length :]
    rest, summand = split(unit, g.summands)
    group, v = split(rest, split(g.outs + g.lanes - 1, g.lanes)[0])
    i, line = split(summand, g.lines)
    count = min(g.lanes, g.outs - v * g.lanes)
    first = group * g.outs * g.ins * g.taps + v * g.lanes * g.channel_step + i * g.summand_step
    fill(g, weight, lines, scale, count, first, line, table)
    transform(table.passes, lines.ctypes.data, g.length, g.lanes, size, g.fast)
    if g.n:
        oc_block, q = split(v, g.n)
        target = packed.ctypes.data + (oc_block * g.task + (summand * g.n + q) * g.lanes) * size
        call(
            g.spectrum,
            Spectrum(
                back=0, lanes=g.lanes, itemsize=size, spectrum=target, x=lines.ctypes.data, n=split(g.length, 2)[0],
                stride=g.summands * g.n * g.lanes, im_step=split(g.task, 2)[0], twiddles=g.halves, permutation=g.permutation,
            ),
        )  # fmt: skip
        return
    call(
        g.spectrum,
        Spectrum(
            back=0, lanes=g.lanes, itemsize=size, spectrum=spectra.ctypes.data, x=lines.ctypes.data, n=split(g.length, 2)[0],
            stride=2 * g.lanes, im_step=g.lanes, twiddles=g.halves, permutation=g.permutation,
        ),
    )  # fmt: skip
    step = 2 * g.tiles * g.m * g.summands  # from frequency to frequency
    for lane in range(count):
        oc_block, row = split(v * g.lanes + lane, g.tiles * g.m)
        tile, row = split(row, g.m)
        at = (group * g.oc_blocks + oc_block) * g.task + 2 * ((tile * g.summands + summand) * g.m + row)
        for f in range(g.frequencies):
            packed[at + f * step], packed[at + f * step + 1] = spectra[2 * f, lane], spectra[2 * f + 1, lane]


@region
def _spectra(task, thread, weight, packed, scratch, scale, table, geometry):
    """packed from weight, both flat, a vector of channels a task; scratch [thread][row][lane]."""
    one_vector(task, weight, packed, scratch[thread], scale, table, geometry)


def _lines(problem: Conv, block: Blocking) -> tuple[Array, Array, Array]:
    """(starts, rows, sources) for `_spectra`: lines are [phase][tap on the other axis, or partition]."""
    along, other = taps(problem, block.axis), problem.kernel[1 - block.axis]
    step, apart = (problem.kernel[1], 1)[block.axis], (problem.kernel[1], 1)[1 - block.axis]
    phase, index, tap = np.array(along.phase), np.array(along.index), np.arange(len(along.phase))
    if block.partitions:
        count, (line, row), source = block.partitions, np.divmod(index, block.outputs), tap * step
    else:
        count, line = other, np.repeat(np.arange(other), len(tap))
        phase, row, source = np.tile(phase, other), np.tile(index, other), np.tile(tap * step, other) + line * apart
    line = np.searchsorted(along.phases, phase) * count + line
    by_line = np.argsort(line, kind="stable")  # taps of a line in their own order
    starts = np.append(0, np.cumsum(np.bincount(line, minlength=len(along.phases) * count)))
    return starts, -row[by_line] % block.length, source[by_line]


def spectra_packer(
    problem: Conv, block: Blocking, oc_blocks: int, task: int, own: Tables, threads: int, *, adjoint: bool = False
) -> Callable[[Array], Array]:
    """What makes of contiguous weights (c_out, ins, kh, kw) the spectra of every group's `oc_blocks`, `task` numbers each, zeros where
    one has no channels. Of one: with lanes along channels [real, imaginary][f][summand][channel], else [f][tile][summand][row of the
    tile][real, imaginary]. own: the tables of lines of the blocking's length. adjoint: weights (c_in, outs, kh, kw), taps in reverse."""
    lanes, dtype = machine().lanes(problem.itemsize), np.dtype(problem.dtype)
    outs, ins, f = problem.c_out // problem.groups, problem.c_in // problem.groups, frequencies(block.length)
    starts, rows, sources = _lines(problem, block)
    if adjoint:
        sources = problem.taps - 1 - sources
    channel_step, summand_step = (problem.taps, outs * problem.taps) if adjoint else (ins * problem.taps, problem.taps)
    products, vectors = summands(problem, block), -(-outs // lanes)
    number = problem.groups * oc_blocks * task
    units = problem.groups * vectors * products
    threads = threads_for(units * (2 * transform_cycles(block.length) + SPREAD * 2 * f * lanes), threads)
    geometry = WeightSpectra.packed(
        lanes=lanes, itemsize=problem.itemsize, length=block.length, frequencies=f, groups=problem.groups, outs=outs,
        ins=ins, taps=problem.taps, channel_step=channel_step, summand_step=summand_step, lines=len(starts) - 1,
        summands=products, n=block.n if block.oc_lanes else 0, m=block.m,
        tiles=block.tiles, oc_blocks=oc_blocks, task=task, fast=fast(), spectrum=spectrum(lanes, problem.itemsize),
        halves=own.halves.ctypes.data, permutation=own.permutation.ctypes.data,
    )  # fmt: skip
    scale = dtype.type(1 / (4 * block.length))  # steps to a spectrum and back double it each, and transforms multiply by half the length
    fixed = scale, Lines(starts, rows, sources, own.forward), geometry
    room = (threads, block.length + 2 * f, lanes)
    launch = _spectra.ready(np.empty(0, dtype), np.empty(0, dtype), np.empty((0, 0, 0), dtype), *fixed)

    def pack(weight: Array, keep_alive: object = own) -> Array:  # what geometry and passes point into
        packed = packed_weights.take((number,), dtype)
        if outs % (block.n * lanes if block.oc_lanes else block.tiles * block.m):
            packed.fill(0)
        scratch = aligned(math.prod(room) * dtype.itemsize).view(dtype).reshape(room)
        launch(threads, units, weight.reshape(-1), packed, scratch, *fixed)
        return packed

    return pack
