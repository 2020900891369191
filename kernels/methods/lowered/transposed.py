"""Transposed convolution by any method: stride-1 convolutions whose output channels are the phases, then interleaved into the output.

A transposed layer as it is defined scatters, and threads would meet in the outputs. `transposed_phases` turns it round: each phase of the
output gathers, as an ordinary convolution with some of the taps. To interleave the phases costs one pass over the output, some images at a
time. Where it is estimated to cost clearly less, products are made and added where they overlap (`transposed_overlap`).
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from kernels.cost.calibration import calibration, threads_for
from kernels.cost.roofline import memory_seconds
from kernels.methods import registry
from kernels.methods.contract import Implementation, rounding_bound
from kernels.methods.estimate import estimate, packing_seconds
from kernels.methods.lowered import phase_sums, transposed_exchanged, transposed_overlap
from kernels.methods.lowered.phase_weights import packing_cycles, taking, taps_of
from kernels.methods.lowered.transposed_exchanged import Exchanged
from kernels.methods.lowered.transposed_overlap import Overlap
from kernels.methods.lowered.transposed_phases import SubProblem, sub_problems
from kernels.primitives import elementwise as epilogue
from kernels.primitives.interleave import COUNT, EACH, FIELDS, OFFSET, SHIFT, WIDEST, Interleave, few_of
from kernels.primitives.interleave import interleave as kernel
from kernels.primitives.prepared import Prepared, Run
from kernels.problem.conv import ConvTranspose
from kernels.problem.operands import Operands
from kernels.runtime.ir import call, split
from kernels.runtime.machine import machine, remembered
from kernels.runtime.pointers import pointed
from kernels.runtime.regions import region
from kernels.runtime.scratch import Scratch, handle

Array = np.ndarray

TASKS = 8  # a thread, at least, that interleave rows, where there are as many
BY_VECTOR, BY_NUMBER = 0.3, 4.0  # cycles for an output to be interleaved: where phases take turns in registers, and where they do not
BUDGET = 16 << 20  # bytes of phases at a time, as for unfolded input


@region
def interleave(task, thread, out, y, lines, missing, kernel, few, lanes, size, width, rows):
    """Some rows of a channel's, of `width` outputs each; out and y are handles, lines [row][phase] as `primitives.interleave` says, missing
    one number a channel, which images repeat."""
    height, stride = lines.shape[:2]
    channel, block = split(task, (height + rows - 1) // rows)
    first = block * rows
    call(
        kernel,
        Interleave(
            few=few, lanes=lanes, itemsize=size, out=pointed(out) + (channel * height + first) * width * size,
            rows=min(rows, height - first), width=width, stride=stride, y=pointed(y), lines=lines[first].ctypes.data, channel=channel,
            missing=missing.ctypes.data + channel % len(missing) * size,
        ),
    )  # fmt: skip


def images(problem: ConvTranspose) -> int:
    """Images at a time; all where there are no phases to keep."""
    if max(problem.stride) == 1:
        return max(problem.n, 1)
    each = problem.c_out * math.prod(problem.conv_size) * problem.itemsize
    return max(1, min(problem.n, BUDGET // each))


def chosen(problem: ConvTranspose, engine: str) -> tuple[SubProblem, ...]:
    """See `_chosen`; a choice needs them sixteen times."""
    return _chosen(problem, engine, images(problem), calibration().clock, calibration().bandwidth)


@remembered
def _chosen(problem: ConvTranspose, engine: str, together: int, *_: float) -> tuple[SubProblem, ...]:
    """The convolutions that the method called `engine` gets: all phases in one, where it packs once and has more channels, or one for
    each window, without zero taps; what it does not refuse, and of both what is estimated to cost less. Zero times NaN or inf is NaN,
    which outputs that see neither must not get where each has to be as accurate as its own window."""

    def cost(some: tuple[SubProblem, ...]) -> float:
        seconds = [estimate(sub.conv, registry.get(sub.conv, engine)) for sub in some]
        return sum(sub.conv.flops if each is None else each for sub, each in zip(some, seconds))

    def refused(some: tuple[SubProblem, ...]) -> bool:
        return any(registry.get(sub.conv, engine).refuse(sub.conv) for sub in some)

    choices = [sub_problems(problem, together, joined) for joined in ((False,) if problem.accuracy == "each" else (True, False))]
    accepted = [some for some in choices if not refused(some)] or choices[:1]
    return min(accepted, key=cost) if len(accepted) > 1 else accepted[0]


def _lines(problem: ConvTranspose, subs: tuple[SubProblem, ...]) -> Array:
    """[row of outputs][phase of its columns] as `primitives.interleave` says, of sub-problems that lie one behind the other; rows of all
    axes but the last."""
    heights, (*steps, stride) = problem.conv_size[:-1], problem.stride
    lines = np.zeros((*heights, stride, FIELDS), np.int64)
    begin = 0
    for sub in subs:
        *others, last = sub.axes
        shape = tuple(len(axis.taps) for axis in sub.axes) + sub.conv.conv_size
        each = math.prod(shape)
        offsets = begin + np.arange(0, each, last.count).reshape(shape[:-1])  # of each line
        for phases in itertools.product(*(range(len(axis.taps)) for axis in sub.axes)):
            # outputs of this phase along every axis but the last: from which on, and from which position of the sub-problem
            firsts = [max(0, -(axis.starts[phase] // step)) for axis, phase, step in zip(others, phases, steps)]
            shift, residue = divmod(last.starts[phases[-1]], stride)
            place: list[Any] = [slice(axis.starts[phase] + first * step, None, step)
                                for axis, phase, first, step in zip(others, phases, firsts, steps)]  # fmt: skip
            target = lines[(*place, residue)]
            source = offsets[phases][tuple(slice(first, first + n) for first, n in zip(firsts, target.shape[:-1]))]
            target[..., OFFSET], target[..., EACH], target[..., SHIFT], target[..., COUNT] = source, each, shift, last.count
        begin += sub.conv.n * problem.c_out * each
    return lines.reshape(-1, stride, FIELDS)


def _adjoint(problem: ConvTranspose, sub: SubProblem) -> bool:
    """Whether the sub-problem is the whole adjoint of a convolution of stride 1: one phase, whose window has the taps in reverse."""
    return sub.conv.c_out == problem.c_out and bool(np.array_equal(taps_of(problem, sub), [range(problem.taps - 1, -1, -1)]))


@dataclasses.dataclass(frozen=True)
class Ready:
    """A sub-problem that is prepared. taking: what makes its operands of the layer's; None where it takes those as they are."""

    sub: SubProblem
    prepared: Prepared
    taking: Callable[[Operands], Operands] | None

    def pack(self, operands: Operands) -> Run:
        """What runs it with the layer's operands."""
        return self.prepared.pack(self.taking(operands) if self.taking else operands)


def _ready(problem: ConvTranspose, sub: SubProblem, engine: str, threads: int, once: bool) -> Ready:
    method = registry.get(sub.conv, engine)
    prepared = method.prepare_adjoint(sub.conv, threads, once) if method.prepare_adjoint and _adjoint(problem, sub) else None
    return Ready(sub, prepared, None) if prepared else Ready(sub, method.prepare(sub.conv, threads), taking(problem, sub, threads))


def _missing(problem: ConvTranspose, operands: Operands) -> Array:
    """What outputs without taps are, by channel: what the steps after the sum make of 0."""
    y = np.zeros((1, problem.c_out, *(1 for _ in problem.size)), problem.dtype)
    if operands.bias is not None:
        y += operands.bias.reshape(y.shape)
    epilogue.prepare(problem, 1)(operands)(y)
    return y.reshape(-1)


def _interleaved(problem: ConvTranspose, ready: list[Ready], threads: int) -> Prepared:
    """What computes all sub-problems for some images of x and interleaves them into theirs of out."""
    subs = tuple(one.sub for one in ready)
    size, lanes = problem.itemsize, machine().lanes(problem.itemsize)
    scratch = Scratch(sum(math.prod(sub.conv.conv_shape) for sub in subs) * size)
    lines, stride = _lines(problem, subs), problem.stride[-1]
    few = few_of(stride)
    channels, width = images(problem) * problem.c_out, problem.conv_size[-1]
    used = threads_for(2 * channels * math.prod(problem.conv_size), threads)  # cycles: a load and a store each, not all in cache
    rows = max(1, min(len(lines), -(-channels * len(lines) // (TASKS * used))))  # few channels are divided
    tasks, rest = channels * -(-len(lines) // rows), (kernel(few, lanes, size), few, lanes, size, width, rows)
    launch = interleave.ready(0, 0, lines, np.empty(0, problem.dtype), *rest)

    def pack(operands: Operands) -> Run:
        runs = [one.pack(operands) for one in ready]
        missing = _missing(problem, operands)

        def run(x: Array, out: Array) -> None:
            buffer = scratch.take()
            y, begin = buffer.view(problem.dtype), 0
            for sub, convolve in zip(subs, runs):
                count = math.prod(sub.conv.conv_shape)
                convolve(x, y[begin : begin + count].reshape(sub.conv.conv_shape))
                begin += count
            launch(used, tasks, handle(out), handle(y), lines, missing, *rest)
            scratch.give(buffer)

        return run

    return Prepared(pack, scratch.nbytes + sum(one.prepared.workspace_bytes for one in ready))


def cheaper(problem: ConvTranspose, engine: str) -> Overlap | None:
    """The products that `engine` had better make and add; None where phases are its way. See `chosen`."""
    return _overlapping(problem.bare(), engine, images(problem), calibration().clock, calibration().bandwidth)


@remembered
def _overlapping(problem: ConvTranspose, engine: str, together: int, *numbers: float) -> Overlap | None:
    subs = [sub.conv for sub in _chosen(problem, engine, together, *numbers)]
    if not subs or problem.n == 0 or any(registry.get(conv, engine).refuse(conv) for conv in subs):
        return None
    if registry.get(subs[0], engine).trust:  # what others are compared with shares no way with them
        return None
    each = [estimate(conv, registry.get(conv, engine)) for conv in subs]
    if None in each:
        return None
    return transposed_overlap.best(problem, engine, -(-problem.n // together) * sum(one or 0.0 for one in each))


def _interleaving(problem: ConvTranspose) -> float:
    """Estimated cycles of one core to interleave phases."""
    stride = problem.stride[-1]
    each = 0.0 if max(problem.stride) == 1 else BY_NUMBER if stride > WIDEST else BY_VECTOR
    return each * math.prod(problem.conv_shape)


@remembered
def _exchanged(problem: ConvTranspose, engine: str, clock: float, bandwidth: float) -> Exchanged | None:
    """The products with exchanged roles that weights of one call had better be given to, if any."""
    lowered_method = registry.get(problem, engine)
    found = transposed_exchanged.exchanged(problem, registry.every("conv")[engine])
    if found is None or lowered_method.refuse(problem):
        return None
    instead = estimate(problem, lowered_method)
    if instead is None:
        return None
    instead += packing_seconds(problem, lowered_method, unpacked=False) - memory_seconds(problem)
    better = transposed_exchanged.BETTER_ONCE if max(problem.stride) == 1 else transposed_exchanged.BETTER
    return found if found.seconds < better * instead else None


def _overlapped(problem: ConvTranspose, found: Overlap, engine: str, threads: int, once: bool) -> Prepared:
    """Products by `engine`, added where they overlap. Products of single taps are those of the adjoint of a convolution with one."""
    method = registry.get(found.conv, engine)
    adjoint = method.prepare_adjoint(found.conv, threads, once) if method.prepare_adjoint and found.conv.taps == 1 else None
    take = None if adjoint else taking(problem, found, threads)

    def operands(given: Operands) -> Operands:
        if take:
            return take(Operands(given.weight))  # what sums begin with is added in the end
        assert given.weight is not None
        return Operands(given.weight.reshape(problem.c_in, -1, 1, 1))

    return transposed_overlap.prepare(problem, found, adjoint or method.prepare(found.conv, threads), operands, threads)


PHASES = "phases"  # the variant that only gathers, whose sums have the engine's order wherever the input is cut


def lowered(engine: str, gathers: bool = False) -> Implementation:
    """The method called `engine`, for transposed convolutions; gathers: by phases, even where it is slower."""

    def overlapping(problem: ConvTranspose) -> Overlap | None:
        return None if gathers else cheaper(problem, engine)

    def own_sub_problems(problem: ConvTranspose) -> tuple[tuple[Any, int], ...]:
        if found := overlapping(problem):
            return ((found.conv, -(-problem.n // found.images)),)
        return tuple((sub.conv, -(-problem.n // images(problem))) for sub in chosen(problem, engine))

    def refuse(problem: ConvTranspose) -> str | None:
        refusals = (registry.get(conv, engine).refuse(conv) for conv, _ in own_sub_problems(problem))
        return next((sentence for sentence in refusals if sentence), None)

    def error_bound(problem: ConvTranspose) -> float:
        bound = max((registry.get(conv, engine).error_bound(conv) for conv, _ in own_sub_problems(problem)), default=0.0)
        return max(bound, rounding_bound(problem)) if overlapping(problem) else bound

    def packing(problem: ConvTranspose) -> float:
        """Cycles to lay out weights of sub-problems that are not the whole adjoint, and of methods that do not read that."""
        reads = registry.every("conv")[engine].prepare_adjoint is not None
        if found := overlapping(problem):
            return 0.0 if reads and found.conv.taps == 1 else packing_cycles(found.conv)
        apart = [sub for sub in chosen(problem, engine) if not (reads and _adjoint(problem, sub))]
        return sum(packing_cycles(sub.conv) for sub in apart)

    def adding(problem: ConvTranspose) -> float:
        found = overlapping(problem)
        return phase_sums.cycles(problem, summed=found.summed) if found else _interleaving(problem)

    def exchanging(problem: ConvTranspose) -> Exchanged | None:
        return None if gathers else _exchanged(problem, engine, calibration().clock, calibration().bandwidth)

    def packing_once(problem: ConvTranspose) -> float:
        """Cycles that weights of one call take besides the estimate; fewer than none where another way is taken for them."""
        method = registry.get(problem, engine)
        if found := exchanging(problem):
            return (found.seconds + memory_seconds(problem) - (estimate(problem, method) or 0.0)) * calibration().clock
        return packing_seconds(problem, method, unpacked=False) * calibration().clock

    def fuses(problem: ConvTranspose) -> bool:
        if overlapping(problem):
            return False
        return problem.pool is None and all(registry.get(conv, engine).fuses(conv) for conv, _ in own_sub_problems(problem))

    def prepare(problem: ConvTranspose, threads: int, once: bool = False) -> Prepared:
        if once and (other := exchanging(problem)):
            prepared = transposed_exchanged.prepare(problem, other, registry.every("conv")[engine], threads)
            if prepared:
                return prepared
        if found := overlapping(problem):
            return _overlapped(problem, found, engine, threads, once)
        together, subs = images(problem), chosen(problem, engine)
        ready = [_ready(problem, sub, engine, threads, once) for sub in subs]
        # stride 1 is one convolution, whose output is the layer's
        plain = len(subs) == 1 and max(problem.stride) == 1 and subs[0].conv.conv_shape[1:] == problem.conv_shape[1:]
        whole = ready[0].prepared if plain else _interleaved(problem, ready, threads)

        def pack(operands: Operands) -> Run:
            some = ready[0].pack(operands) if plain else whole.pack(operands)

            def run(x: Array, out: Array) -> None:
                for first in range(0, problem.n, together):
                    block = slice(min(first, problem.n - together), min(first, problem.n - together) + together)
                    some(x[block], out[block])

            return run

        note = f"{len(subs)} convolutions of phases, {together} images at a time: " + "; ".join(
            f"{one.sub.conv}{f' ({one.prepared.note})' if one.prepared.note else ''}" for one in ready
        )
        return Prepared(pack, whole.workspace_bytes, note)

    local = registry.every("conv")[engine].local
    return Implementation(
        engine, "conv_transpose", refuse, prepare, error_bound, fuses, own_sub_problems, lowering_cycles=adding,
        lowering_packing=packing, packing_unpacked=packing_once, prepare_unpacked=functools.partial(prepare, once=True), local=local,
        named_variant=lambda problem, name: lowered(engine, gathers=True) if name == PHASES else None, steady=PHASES,
    )  # fmt: skip


registry.lower("conv", "conv_transpose", lowered)
