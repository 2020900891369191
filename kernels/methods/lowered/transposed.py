"""Transposed convolution by any method: stride-1 convolutions whose output channels are the phases, then interleaved into the output.

A transposed layer as it is defined scatters, and threads would meet in the outputs. `transposed_phases` turns it round: each phase of the
output gathers, as an ordinary convolution with some of the taps. To interleave the phases costs one pass over the output, some images at a
time.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from typing import Any

import numpy as np

from kernels.cost.calibration import calibration, threads_for
from kernels.methods import registry
from kernels.methods.contract import Implementation
from kernels.methods.estimate import estimate
from kernels.methods.lowered.transposed_phases import Part, parts
from kernels.primitives import elementwise as epilogue
from kernels.primitives.interleave import COUNT, EACH, FIELDS, OFFSET, SHIFT, WIDEST, Interleave
from kernels.primitives.interleave import interleave as kernel
from kernels.primitives.prepared import Prepared, Run
from kernels.primitives.transpose import Transpose, transpose
from kernels.problem.arrays import frozen
from kernels.problem.conv import ConvTranspose
from kernels.problem.operands import Operands
from kernels.runtime.ir import call
from kernels.runtime.machine import machine, remembered
from kernels.runtime.pointers import pointed
from kernels.runtime.regions import region
from kernels.runtime.scratch import Scratch, handle

Array = np.ndarray

TRANSPOSED = 32  # channels of a block that is transposed: whole cache lines on both sides
TAKEN = 4.0  # cycles to find the tap of a phase and place, and move it
BUDGET = 16 << 20  # bytes of phases at a time, as for unfolded input


@region
def interleave(channel, thread, out, y, lines, missing, kernel, few, lanes, size, width):
    """A channel's rows of `width` outputs; out and y are handles, lines [row][phase] as `primitives.interleave` says, missing one
    number a channel, which images repeat."""
    rows, stride = lines.shape[:2]
    for r in range(rows):
        call(
            kernel,
            Interleave(
                few=few, lanes=lanes, itemsize=size, out=pointed(out) + (channel * rows + r) * width * size, width=width, stride=stride,
                y=pointed(y), lines=lines[r].ctypes.data, channel=channel,
                missing=missing.ctypes.data + channel % len(missing) * size,
            ),
        )  # fmt: skip


def images(problem: ConvTranspose) -> int:
    """Images at a time; all where there are no phases to keep."""
    if max(problem.stride) == 1:
        return max(problem.n, 1)
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


def _lines(problem: ConvTranspose, given: tuple[Part, ...]) -> Array:
    """[row of outputs][phase of its columns] as `primitives.interleave` says, of parts that lie one behind the other; rows of all axes
    but the last."""
    heights, (*steps, stride) = problem.conv_size[:-1], problem.stride
    lines = np.zeros((*heights, stride, FIELDS), np.int64)
    begin = 0
    for part in given:
        *others, last = part.axes
        shape = tuple(len(axis.taps) for axis in part.axes) + part.conv.conv_size
        each = math.prod(shape)
        offsets = begin + np.arange(0, each, last.count).reshape(shape[:-1])  # of each line
        for phases in itertools.product(*(range(len(axis.taps)) for axis in part.axes)):
            # outputs of this phase along every axis but the last: from which on, and from which place of the part
            firsts = [max(0, -(axis.starts[phase] // step)) for axis, phase, step in zip(others, phases, steps)]
            shift, residue = divmod(last.starts[phases[-1]], stride)
            place: list[Any] = [slice(axis.starts[phase] + first * step, None, step)
                                for axis, phase, first, step in zip(others, phases, firsts, steps)]  # fmt: skip
            target = lines[(*place, residue)]
            source = offsets[phases][tuple(slice(first, first + n) for first, n in zip(firsts, target.shape[:-1]))]
            target[..., OFFSET], target[..., EACH], target[..., SHIFT], target[..., COUNT] = source, each, shift, last.count
        begin += part.conv.n * problem.c_out * each
    return lines.reshape(-1, stride, FIELDS)


@region
def take_taps(task, thread, weight, taps, out):
    """Some output channels of a group of out (groups, outs, phases, ins, places) from weight (groups, ins, outs, taps): the tap of each
    phase and place, -1 for none."""
    _, outs, phases, ins, places = out.shape
    blocks = (outs + TRANSPOSED - 1) // TRANSPOSED
    g, first = task // blocks, task % blocks * TRANSPOSED
    for start in range(0, ins, TRANSPOSED):  # what is read lies side by side by output channel, what is written by input channel
        for o in range(first, min(first + TRANSPOSED, outs)):
            for phase in range(phases):
                for i in range(start, min(start + TRANSPOSED, ins)):
                    for place in range(places):
                        tap = taps[phase, place]
                        out[g, o, phase, i, place] = weight[g, i, o, tap] if tap >= 0 else 0


@functools.lru_cache(maxsize=512)
def _taps(problem: ConvTranspose, part: Part) -> Array:
    """[phase][place of the window] of a part: flat kernel taps, -1 where a phase has none."""
    flat = np.zeros((1, 1), np.int64)
    for axis, k in zip(part.axes, problem.kernel):
        own = np.array(axis.taps)
        joined = flat[:, None, :, None] * k + own[None, :, None, :]
        absent = (flat[:, None, :, None] < 0) | (own[None, :, None, :] < 0)
        flat = np.where(absent, -1, joined).reshape(len(flat) * len(own), -1)
    return flat


@region
def transpose_weights(task, thread, weight, out, kernel, lanes, size, ins, outs):
    """A block of output channels of a group of out (groups, outs, ins) from weight (groups, ins, outs), both handles."""
    blocks = (outs + TRANSPOSED - 1) // TRANSPOSED
    g, first = task // blocks, task % blocks * TRANSPOSED
    place = g * ins * outs
    source, to = pointed(weight) + (place + first) * size, pointed(out) + (place + first * ins) * size
    call(
        kernel,
        Transpose(
            lanes=lanes, itemsize=size, dst=to, dst_pitch=ins, src=source, src_pitch=outs, rows=ins, columns=min(TRANSPOSED, outs - first),
        ),
    )  # fmt: skip


def _adjoint(problem: ConvTranspose, part: Part) -> bool:
    """Whether the part is the whole adjoint of a convolution of stride 1: one phase, whose window has the taps in reverse."""
    return part.conv.c_out == problem.c_out and bool(np.array_equal(_taps(problem, part), [range(problem.taps - 1, -1, -1)]))


@dataclasses.dataclass(frozen=True)
class Ready:
    """A part that is prepared. adjoint: for the layer's weights as they are."""

    part: Part
    prepared: Prepared
    adjoint: bool

    def pack(self, problem: ConvTranspose, operands: Operands, threads: int) -> Run:
        """What runs it with the layer's operands."""
        return self.prepared.pack(operands if self.adjoint else _operands(problem, self.part, operands, threads))


def _ready(problem: ConvTranspose, part: Part, engine: str, threads: int) -> Ready:
    method = registry.get(part.conv, engine)
    prepared = method.prepare_adjoint(part.conv, threads) if method.prepare_adjoint and _adjoint(problem, part) else None
    return Ready(part, prepared or method.prepare(part.conv, threads), prepared is not None)


def _operands(problem: ConvTranspose, part: Part, operands: Operands, threads: int) -> Operands:
    """Weights (c_out, phases; c_in/groups, *window) of a part, and what there is per output channel repeated for its phases."""
    assert operands.weight is not None
    groups, outs = problem.groups, problem.c_out // problem.groups
    given = frozen(operands.weight.reshape(groups, problem.c_in // groups, outs, problem.taps))
    weight = np.empty(part.conv.weight_shape, given.dtype)
    taps = _taps(problem, part)
    used = threads_for(TAKEN * weight.size, threads)
    if problem.taps == 1 and taps.shape == (1, 1):
        size, lanes = problem.itemsize, machine().lanes(problem.itemsize)
        kind = transpose(lanes, size), lanes, size, problem.c_in // groups, outs
        transpose_weights(used, groups * -(-outs // TRANSPOSED), handle(given), handle(weight), *kind)
    else:
        take_taps(used, groups * -(-outs // TRANSPOSED), given, taps, weight.reshape(groups, outs, len(taps), problem.c_in // groups, -1))
    each = part.conv.c_out // problem.c_out
    others = (operands.bias, operands.scale, operands.shift)
    return Operands(weight, *(None if value is None else np.repeat(value, each) for value in others))


def _missing(problem: ConvTranspose, operands: Operands) -> Array:
    """What outputs without taps are, by channel: what the steps after the sum make of 0."""
    y = np.zeros((1, problem.c_out, *(1 for _ in problem.size)), problem.dtype)
    if operands.bias is not None:
        y += operands.bias.reshape(y.shape)
    epilogue.prepare(problem, 1)(operands)(y)
    return y.reshape(-1)


def _interleaved(problem: ConvTranspose, ready: list[Ready], threads: int) -> Prepared:
    """What computes all parts for some images of x and interleaves them into theirs of out."""
    given = tuple(one.part for one in ready)
    size, lanes = problem.itemsize, machine().lanes(problem.itemsize)
    scratch = Scratch(sum(math.prod(part.conv.conv_shape) for part in given) * size)
    lines, stride = _lines(problem, given), problem.stride[-1]
    few = stride if stride <= WIDEST else 0
    channels, width = images(problem) * problem.c_out, problem.conv_size[-1]
    used = threads_for(2 * channels * math.prod(problem.conv_size), threads)  # cycles: a load and a store each, not all in cache
    rest = kernel(few, lanes, size), few, lanes, size, width
    launch = interleave.ready(0, 0, lines, np.empty(0, problem.dtype), *rest)

    def pack(operands: Operands) -> Run:
        runs = [one.pack(problem, operands, threads) for one in ready]
        missing = _missing(problem, operands)

        def run(x: Array, out: Array) -> None:
            buffer = scratch.take()
            y, begin = buffer.view(problem.dtype), 0
            for part, convolve in zip(given, runs):
                count = math.prod(part.conv.conv_shape)
                convolve(x, y[begin : begin + count].reshape(part.conv.conv_shape))
                begin += count
            launch(used, channels, handle(out), handle(y), lines, missing, *rest)
            scratch.give(buffer)

        return run

    return Prepared(pack, scratch.nbytes + sum(one.prepared.workspace_bytes for one in ready))


def lowered(engine: str) -> Implementation:
    """The method called `engine`, for transposed convolutions."""

    def sub_problems(problem: ConvTranspose) -> tuple[tuple[Any, int], ...]:
        return tuple((part.conv, -(-problem.n // images(problem))) for part in pieces(problem, engine))

    def refuse(problem: ConvTranspose) -> str | None:
        refusals = (registry.get(conv, engine).refuse(conv) for conv, _ in sub_problems(problem))
        return next((sentence for sentence in refusals if sentence), None)

    def error_bound(problem: ConvTranspose) -> float:
        return max((registry.get(conv, engine).error_bound(conv) for conv, _ in sub_problems(problem)), default=0.0)

    def packing(problem: ConvTranspose) -> float:
        """Cycles to lay out weights of parts that are not the whole adjoint, and of methods that do not read that."""
        reads = registry.every("conv")[engine].prepare_adjoint is not None
        apart = [part for part in pieces(problem, engine) if not (reads and _adjoint(problem, part))]
        return TAKEN * sum(math.prod(part.conv.weight_shape) for part in apart)

    def fuses(problem: ConvTranspose) -> bool:
        return problem.pool is None and all(registry.get(conv, engine).fuses(conv) for conv, _ in sub_problems(problem))

    def prepare(problem: ConvTranspose, threads: int) -> Prepared:
        together, given = images(problem), pieces(problem, engine)
        ready = [_ready(problem, part, engine, threads) for part in given]
        # stride 1 is one convolution, whose output is the layer's
        plain = len(given) == 1 and max(problem.stride) == 1 and given[0].conv.conv_shape[1:] == problem.conv_shape[1:]
        whole = ready[0].prepared if plain else _interleaved(problem, ready, threads)

        def pack(operands: Operands) -> Run:
            some = ready[0].pack(problem, operands, threads) if plain else whole.pack(operands)

            def run(x: Array, out: Array) -> None:
                for first in range(0, problem.n, together):
                    block = slice(min(first, problem.n - together), min(first, problem.n - together) + together)
                    some(x[block], out[block])

            return run

        note = f"{len(given)} convolutions of phases, {together} images at a time: " + "; ".join(
            f"{one.part.conv}{f' ({one.prepared.note})' if one.prepared.note else ''}" for one in ready
        )
        return Prepared(pack, whole.workspace_bytes, note)

    local = registry.every("conv")[engine].local
    return Implementation(
        engine, "conv_transpose", refuse, prepare, error_bound, fuses, sub_problems, lowering_packing=packing, local=local
    )


registry.lower("conv", "conv_transpose", lowered)
