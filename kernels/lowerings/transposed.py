"""Transposed convolution by any method: stride-1 convolutions whose output channels are the phases, then woven into the output.

A transposed layer as it is defined scatters, and threads would meet in the outputs. `cuts.phases` turns it round: each phase of the
output gathers, as an ordinary convolution with some of the taps. Weaving the phases costs one pass over the output, some images at a time.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from numba import prange

from kernels import epilogue, registry
from kernels.calibration import calibration, worth
from kernels.cuts.phases import Part, parts
from kernels.implementation import Implementation, Operands, Prepared, Run
from kernels.jit import region
from kernels.machine import remembered
from kernels.policy import estimate
from kernels.problem import ConvTranspose
from kernels.scratch import Scratch

Array = np.ndarray

BUDGET = 16 << 20  # bytes of phases at a time, as for unfolded input
WOVEN = 2048  # outputs woven at a time, which stay in the first-level cache while every phase adds its own


@region
def weave(y, out, depths, heights, starts, stride):
    """out (channels, d, h, w) from y (channels, phases of d, h and w, d, h, w). depths and heights (2, outputs): phase and place, phase -1
    where y has none; starts: the column of out where each phase of w begins, stride further each."""
    rows = depths.shape[1] * heights.shape[1]
    width, count = out.shape[3], y.shape[6]
    run = max(WOVEN // stride, 16)
    for row in prange(out.shape[0] * rows):
        channel, d, h = row // rows, row % rows // heights.shape[1], row % heights.shape[1]
        if depths[0, d] < 0 or heights[0, h] < 0:
            continue
        source, target = y[channel, depths[0, d], heights[0, h]], out[channel, d, h]
        for first in range(0, count, run):
            for phase in range(starts.shape[0]):
                line, start = source[phase, depths[1, d], heights[1, h]], starts[phase]
                low = max(first, -(start // stride))
                high = min(first + run, count, (width - 1 - start) // stride + 1)
                for q in range(low, high):
                    target[start + q * stride] = line[q]


def images(problem: ConvTranspose) -> int:
    """Images at a time."""
    each = problem.c_out * math.prod(problem.conv_size) * problem.itemsize
    return max(1, min(problem.n, BUDGET // each))


def pieces(problem: ConvTranspose, engine: str) -> tuple[Part, ...]:
    """See `_pieces`; a choice asks for them sixteen times."""
    return _pieces(problem, engine, images(problem), calibration().clock, calibration().bandwidth)


@remembered
def _pieces(problem: ConvTranspose, engine: str, together: int, *_: float) -> tuple[Part, ...]:
    """The convolutions that the method called `engine` is given: all phases in one, where it packs once and has more channels, or one for
    each kind of window, without zero taps; what it does not refuse, and of both what is estimated to cost less."""

    def cost(some: tuple[Part, ...]) -> float:
        seconds = [estimate(part.conv, registry.get(part.conv, engine)) for part in some]
        return sum(part.conv.flops if each is None else each for part, each in zip(some, seconds))

    def refused(some: tuple[Part, ...]) -> bool:
        return any(registry.get(part.conv, engine).refuse(part.conv) for part in some)

    choices = [parts(problem, together, joined) for joined in (True, False)]
    able = [some for some in choices if not refused(some)] or choices[:1]
    return min(able, key=cost) if len(able) > 1 else able[0]


def _places(problem: ConvTranspose, part: Part, axis: int) -> Array:
    """(2, outputs) along an axis: the phase and the place in it, phase -1 where the part has none."""
    places = np.full((2, problem.conv_size[axis]), -1, np.int64)
    phases, stride = part.axes[axis], problem.stride[axis]
    for phase, start in enumerate(phases.starts):
        first = max(0, -(start // stride))
        span = places[:, max(start + first * stride, 0) :: stride]
        span[0], span[1] = phase, first + np.arange(span.shape[1])
    return places


def _operands(problem: ConvTranspose, part: Part, operands: Operands) -> Operands:
    """Weights (c_out, phases; c_in/groups, *window) of a part, and what there is per output channel repeated for its phases."""
    assert operands.weight is not None
    groups, outs = problem.groups, problem.c_out // problem.groups
    weight = operands.weight.reshape(groups, problem.c_in // groups, outs, *problem.kernel)
    for axis, phases in enumerate(part.axes):  # each kernel axis becomes (phase, place in the window)
        place = 3 + 2 * axis
        zero = np.zeros((*weight.shape[:place], 1, *weight.shape[place + 1 :]), weight.dtype)
        weight = np.take(np.concatenate([weight, zero], place), np.array(phases.taps), place)
    spread = len(part.axes)
    order = 0, 2, *range(3, 3 + 2 * spread, 2), 1, *range(4, 4 + 2 * spread, 2)
    weight = np.ascontiguousarray(weight.transpose(order)).reshape(part.conv.weight_shape)
    each = part.conv.c_out // problem.c_out
    others = (operands.bias, operands.scale, operands.shift)
    return Operands(weight, *(None if value is None else np.repeat(value, each) for value in others))


def _background(problem: ConvTranspose, operands: Operands) -> Array:
    """(1, c_out, 1, 1): outputs without taps; what the steps after the sum make of 0."""
    y = np.zeros((1, problem.c_out, *(1 for _ in problem.size)), problem.dtype)
    if operands.bias is not None:
        y += operands.bias.reshape(y.shape)
    epilogue.prepare(problem, 1)(operands)(y)
    return y


def _part(problem: ConvTranspose, part: Part, engine: Implementation, threads: int) -> Prepared:
    """What computes a part for some images of x and weaves it into theirs of out."""
    prepared = engine.prepare(part.conv, threads)
    scratch = Scratch(math.prod(part.conv.conv_shape) * problem.itemsize)
    phases, depth = tuple(len(axis.taps) for axis in part.axes), 3 - len(part.axes)
    places = [_places(problem, part, axis) for axis in range(len(part.axes))]
    depths, heights = places[0] if not depth else np.zeros((2, 1), np.int64), places[-2]
    starts = np.array(part.axes[-1].starts)
    channels = part.conv.n * problem.c_out
    shape = channels, *(1,) * depth, *phases, *(1,) * depth, *part.conv.conv_size
    out_shape = channels, *(1,) * depth, *problem.conv_size
    tables = depths, heights, starts, problem.stride[-1]
    empty = np.empty((0, *shape[1:]), problem.dtype), np.empty((0, *out_shape[1:]), problem.dtype)
    used = worth(threads, 2 * channels * math.prod(problem.conv_size))  # cycles: a load and a store each, not all in cache
    launch = weave.ready(used, *empty, *tables)
    whole = max(problem.stride) == 1 and part.conv.conv_shape[1:] == problem.conv_shape[1:]

    def bind(operands: Operands) -> Run:
        convolve = prepared.bind(_operands(problem, part, operands))
        if whole:
            return convolve

        def run(x: Array, out: Array) -> None:
            buffer = scratch.take()
            y = buffer.view(problem.dtype)
            convolve(x, y.reshape(part.conv.conv_shape))
            launch(y.reshape(shape), out.reshape(out_shape), *tables)
            scratch.give(buffer)

        return run

    return dataclasses.replace(prepared, bind=bind, workspace_bytes=prepared.workspace_bytes + (0 if whole else scratch.nbytes))


def lowered(engine: str) -> Implementation:
    """The method called `engine`, for transposed convolutions."""

    def cut(problem: ConvTranspose) -> tuple[tuple[Any, int], ...]:
        return tuple((part.conv, -(-problem.n // images(problem))) for part in pieces(problem, engine))

    def refuse(problem: ConvTranspose) -> str | None:
        refusals = (registry.get(conv, engine).refuse(conv) for conv, _ in cut(problem))
        return next((sentence for sentence in refusals if sentence), None)

    def error_bound(problem: ConvTranspose) -> float:
        return max((registry.get(conv, engine).error_bound(conv) for conv, _ in cut(problem)), default=0.0)

    def fuses(problem: ConvTranspose) -> bool:
        return problem.pool is None and all(registry.get(conv, engine).fuses(conv) for conv, _ in cut(problem))

    def prepare(problem: ConvTranspose, threads: int) -> Prepared:
        together, given = images(problem), pieces(problem, engine)
        prepared = [_part(problem, part, registry.get(part.conv, engine), threads) for part in given]
        covered = sum(math.prod(len(axis.taps) for axis in part.axes) for part in given)
        phases = math.prod(min(s, length) for s, length in zip(problem.stride, problem.conv_size))

        def bind(operands: Operands) -> Run:
            background = _background(problem, operands) if covered < phases else None
            runs = [part.bind(operands) for part in prepared]

            def run(x: Array, out: Array) -> None:
                if background is not None:
                    out[...] = background
                for first in range(0, problem.n, together):
                    block = slice(min(first, problem.n - together), min(first, problem.n - together) + together)
                    for part in runs:
                        part(x[block], out[block])

            return run

        note = f"{len(given)} convolutions of phases, {together} images at a time: " + "; ".join(
            f"{part.conv}{f' ({one.note})' if one.note else ''}" for part, one in zip(given, prepared)
        )
        return Prepared(bind, sum(one.workspace_bytes for one in prepared), note)

    return Implementation(engine, "conv_transpose", refuse, prepare, error_bound, fuses, cut)


for _name in registry.every("conv"):
    if _name not in registry.every("conv_transpose"):
        registry.add(lowered(_name))
