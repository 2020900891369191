"""Spectra of weights as the product of spectra reads them: what a plan does once and a function call each time.

A line is what one phase and one tap of the other axis, or one partition of a long kernel, have of a kernel: its taps where they belong, in
reverse, because a correlation multiplies by the conjugate spectrum, and scaled, so that nothing is on the way back. Lanes hold output
channels, as the product's lanes do; where it reads numbers instead, spectra are transposed.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np

from kernels.cost.calibration import threads_for
from kernels.methods.fft.blocking import Blocking, frequencies, summands, taps, transform_cycles
from kernels.methods.fft.codelets import Spectrum, spectrum
from kernels.methods.fft.passes import Tables, fast, transform
from kernels.methods.fft.records import Lines, WeightSpectra
from kernels.problem.conv import Conv
from kernels.runtime.byte_copy import copy_bytes
from kernels.runtime.constants import made
from kernels.runtime.ir import call, split
from kernels.runtime.jit import njit
from kernels.runtime.leases import packed_weights
from kernels.runtime.machine import machine
from kernels.runtime.regions import region
from kernels.runtime.scratch import aligned

Array = np.ndarray
SPREAD = 4  # cycles to store a number of a spectrum where the product reads it
TOGETHER = 8  # summands that are stored at a time, where a quarter of the second-level cache holds their spectra


@njit
def fill(g, weight, lines, scale, count, first, line, table):
    """lines[row][lane]: a line of `count` channels, the first's kernel at `first`, and zeros."""
    lines[:] = 0
    for lane in range(count):  # outermost: kernels a power of two apart share cache sets
        kernel = first + lane * g.channel_step
        for tap in range(table.starts[line], table.starts[line + 1]):
            lines[table.rows[tap], lane] = weight[kernel + table.sources[tap]] * scale


@njit
def store(g, packed, spectra, group, v, begin, number):
    """Spectra [summand][frequency, real and imaginary][lane] of a vector of channels to where the product reads them."""
    if g.n:
        oc_block, q = split(v, g.n)
        at, step = oc_block * g.task + (begin * g.n + q) * g.lanes, g.summands * g.n * g.lanes
        for f in range(g.frequencies):
            for part in range(2):
                to = packed.ctypes.data + (at + f * step + part * split(g.task, 2)[0]) * g.itemsize
                for s in range(number):
                    copy_bytes(to + s * g.n * g.lanes * g.itemsize, spectra[s, 2 * f + part].ctypes.data, g.lanes * g.itemsize)
        return
    step = 2 * g.tiles * g.m * g.summands  # from frequency to frequency
    for lane in range(min(g.lanes, g.outs - v * g.lanes)):
        oc_block, row = split(v * g.lanes + lane, g.tiles * g.m)
        tile, row = split(row, g.m)
        at = (group * g.oc_blocks + oc_block) * g.task + 2 * ((tile * g.summands + begin) * g.m + row)
        for f in range(g.frequencies):
            for s in range(number):
                place = at + f * step + 2 * s * g.m
                packed[place], packed[place + 1] = spectra[s, 2 * f, lane], spectra[s, 2 * f + 1, lane]


@region
def _spectra(task, thread, weight, packed, scratch, scale, table, geometry):
    """packed from weight, both flat, some summands of a vector of channels a task; scratch [thread][row][lane]: room for a line and all
    spectra. All are made before any is stored: what belongs together lies a frequency apart, each on pages of its own."""
    g = geometry[0]
    lines, spectra = scratch[thread, : g.length], scratch[thread, g.length :].reshape(g.together, 2 * g.frequencies, g.lanes)
    rest, block = split(task, split(g.summands + g.together - 1, g.together)[0])
    group, v = split(rest, split(g.outs + g.lanes - 1, g.lanes)[0])
    begin = block * g.together
    number = min(g.together, g.summands - begin)
    for s in range(number):
        i, line = split(begin + s, g.lines)
        first = group * g.outs * g.ins * g.taps + v * g.lanes * g.channel_step + i * g.summand_step
        fill(g, weight, lines, scale, min(g.lanes, g.outs - v * g.lanes), first, line, table)
        transform(table.passes, lines.ctypes.data, g.length, g.lanes, g.itemsize, g.fast)
        call(
            g.spectrum,
            Spectrum(
                back=0, lanes=g.lanes, itemsize=g.itemsize, spectrum=spectra[s].ctypes.data, x=lines.ctypes.data, n=split(g.length, 2)[0],
                stride=2 * g.lanes, im_step=g.lanes, twiddles=g.halves, permutation=g.permutation,
            ),
        )  # fmt: skip
    store(g, packed, spectra, group, v, begin, number)


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
    together = max(1, min(TOGETHER, products, machine().l2 // 4 // (2 * f * lanes * problem.itemsize)))
    threads = threads_for(units * (2 * transform_cycles(block.length) + SPREAD * 2 * f * lanes), threads)
    geometry = WeightSpectra.packed(
        lanes=lanes, itemsize=problem.itemsize, length=block.length, frequencies=f, groups=problem.groups, outs=outs,
        ins=ins, taps=problem.taps, channel_step=channel_step, summand_step=summand_step, lines=len(starts) - 1,
        summands=products, together=together, n=block.n if block.oc_lanes else 0, m=block.m,
        tiles=block.tiles, oc_blocks=oc_blocks, task=task, fast=fast(), spectrum=spectrum(lanes, problem.itemsize),
        halves=own.halves.ctypes.data, permutation=own.permutation.ctypes.data,
    )  # fmt: skip
    scale = dtype.type(1 / (4 * block.length))  # steps to a spectrum and back double it each, and transforms multiply by half the length
    fixed = scale, Lines(starts, rows, sources, own.forward), geometry
    room = (threads, block.length + 2 * f * together, lanes)
    tasks = problem.groups * vectors * -(-products // together)
    launch = _spectra.ready(np.empty(0, dtype), np.empty(0, dtype), np.empty((0, 0, 0), dtype), *fixed)

    how = _spectra, geometry.tobytes(), *(each.tobytes() for each in (starts, rows, sources))

    def packed_anew(weight: Array, keep_alive: object = own) -> Array:  # what geometry and passes point into
        packed = packed_weights.take((number,), dtype)
        if outs % (block.n * lanes if block.oc_lanes else block.tiles * block.m):
            packed.fill(0)
        scratch = aligned(math.prod(room) * dtype.itemsize).view(dtype).reshape(room)
        launch(threads, tasks, weight.reshape(-1), packed, scratch, *fixed)
        return packed

    return functools.partial(made, how, packed_anew)
