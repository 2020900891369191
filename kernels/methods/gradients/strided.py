"""Weights' gradients of strided layers by methods that slide by one: those of the phases' weights, of which the layer's own are taken.

The stride's phases become input channels (`methods.winograd.strided`). Of the weights that the convolution of the phases has, the layer has
none where a phase has no tap; those sums are computed and left out. As many images are taken at a time as BUDGET has room for, whose sums
are added in order.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable

import numpy as np

from kernels.cost.calibration import threads_for
from kernels.methods.winograd import stride_phases
from kernels.methods.winograd.stride_phases import axes, polyphase
from kernels.methods.winograd.strided import phases_apart
from kernels.primitives.prepared import Prepared, Run
from kernels.problem.conv import ConvWeight
from kernels.problem.operands import Operands
from kernels.runtime.regions import region
from kernels.runtime.scratch import Scratch, whole

Array = np.ndarray

BUDGET = 16 << 20  # bytes of phases at a time, as for unfolded input
TAKEN = 2.0  # cycles to find a tap's sum and move it


@region
def take_taps(channel, thread, sums, out, places, resumed):
    """Of an output channel, out (c_out, ins, taps) from sums (c_out, ins, phases and taps): where each tap lies. resumed: added to out."""
    for i in range(out.shape[1]):
        for tap in range(len(places)):
            before = out[channel, i, tap] if resumed else 0
            out[channel, i, tap] = before + sums[channel, i, places[tap]]


def sliding(problem: ConvWeight) -> ConvWeight | None:
    """The gradient whose windows move by one: the problem's own, or that of its phases' weights; None where there is none."""
    found = polyphase(problem) if max(problem.stride) > 1 else problem
    assert found is None or isinstance(found, ConvWeight)
    return found


def cycles(problem: ConvWeight) -> float:
    """Estimated cycles of one core to set the phases apart, and to take the taps."""
    return stride_phases.cycles(problem) + TAKEN * math.prod(problem.out_shape) if max(problem.stride) > 1 else 0.0


def at_a_time(problem: ConvWeight) -> ConvWeight:
    """The problem of the images that are taken at a time, some that divide all; all of them where nothing is set apart."""
    slides = sliding(problem)
    if max(problem.stride) == 1 or slides is None:
        return problem
    each = math.prod(slides.x_shape[1:]) * problem.itemsize
    images = max((n for n in range(1, problem.n + 1) if problem.n % n == 0 and n * each <= BUDGET), default=1)
    return dataclasses.replace(problem, n=images)


def prepare_strided(problem: ConvWeight, threads: int, prepare: Callable[[ConvWeight, int], Prepared]) -> Prepared:
    """`prepare` for the phases, which each call sets apart first, and whose sums it takes apart at the end."""
    some = at_a_time(problem)
    images = some.n
    found, slides, apart = axes(some), sliding(some), phases_apart(some, threads)
    assert found and slides
    down, across = found
    prepared = prepare(slides, threads)
    shape = len(down.starts), len(across.starts), down.kernel, across.kernel
    places = np.array(
        [np.ravel_multi_index((row, column, i, j), shape) for (row, i), (column, j) in itertools.product(down.taps, across.taps)]
    )  # fmt: skip
    ins = problem.c_in // problem.groups
    phases_bytes, sums_bytes = (whole(math.prod(each) * problem.itemsize) for each in (slides.x_shape, slides.out_shape))
    scratch = Scratch(phases_bytes + sums_bytes)
    used = threads_for(TAKEN * math.prod(problem.out_shape), threads)

    def pack(operands: Operands) -> Run:
        grad = operands.weight
        assert grad is not None
        totals = [prepared.pack(operands._replace(weight=grad[i : i + images])) for i in range(0, problem.n, images)]

        def run(x: Array, out: Array) -> None:
            buffer = scratch.take()
            phases = buffer[:phases_bytes].view(problem.dtype)[: math.prod(slides.x_shape)].reshape(slides.x_shape)
            sums = buffer[phases_bytes:].view(problem.dtype)[: math.prod(slides.out_shape)]
            spread, taken = sums.reshape(problem.c_out, ins, -1), out.reshape(problem.c_out, ins, -1)
            for first, total in zip(range(0, problem.n, images), totals):
                part = x[first : first + images]  # lives as long as its handle
                apart(part, phases)
                total(phases, sums.reshape(slides.out_shape))
                take_taps(used, problem.c_out, spread, taken, places, first > 0)
            scratch.give(buffer)
            if not totals:
                out[...] = 0

        return run

    note = f"phases of the input, {images} images at a time, as {slides}: {prepared.note}"
    return Prepared(pack, scratch.nbytes + prepared.workspace_bytes, note)
