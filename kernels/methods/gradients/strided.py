"""Weights' gradients of strided layers by methods that slide by one: those of the phases' weights, of which the layer's own are taken.

The stride's phases become input channels (`methods.winograd.strided`). Of the weights that the convolution of the phases has, the layer has
none where a phase has no tap; those sums are computed and left out. Images are taken in portions whose phases PHASES_BYTES has room for, of
one image at least, and the portions' sums are added in order.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable

import numpy as np

from kernels.cost.calibration import threads_for
from kernels.methods.winograd import stride_phases
from kernels.methods.winograd.stride_phases import axes, sliding_by_one
from kernels.methods.winograd.strided import phases_apart
from kernels.primitives.prepared import Prepared, Run
from kernels.problem.conv import ConvWeight
from kernels.problem.operands import Operands
from kernels.runtime.regions import region
from kernels.runtime.scratch import Scratch, whole

Array = np.ndarray

PHASES_BYTES = 16 << 20  # of phases at a time, as for unfolded input
TAKEN = 2.0  # cycles to find a tap's sum and move it


@region
def gather_taps(channel, thread, sums, out, places, resumed):
    """Of an output channel, out (c_out, ins, taps) from sums (c_out, ins, phases and taps): where each tap lies. resumed: added to out."""
    for i in range(out.shape[1]):
        if resumed:
            for tap in range(len(places)):
                out[channel, i, tap] += sums[channel, i, places[tap]]
        else:
            for tap in range(len(places)):
                out[channel, i, tap] = sums[channel, i, places[tap]]


def image_bytes(problem: ConvWeight) -> int:
    """Of an image's phases, where there are any."""
    return math.prod(sliding_by_one(problem).x_shape[1:]) * problem.itemsize


def portions(problem: ConvWeight) -> list[tuple[int, ConvWeight]]:
    """How many portions of how many images: equal ones, and the rest behind them. Where no phases are set apart, all images are one."""
    n = max(problem.n, 1)
    if max(problem.stride) == 1:
        return [(1, problem)]
    images = -(-n // -(-n // max(1, PHASES_BYTES // image_bytes(problem))))
    many, rest = divmod(n, images)
    return [(count, dataclasses.replace(problem, n=own)) for count, own in ((many, images), (1, rest)) if own]


def phase_cycles(portion: ConvWeight) -> float:
    """Estimated cycles of one core to set a portion's phases apart, and to take the taps."""
    return stride_phases.cycles(portion) + TAKEN * math.prod(portion.out_shape) if max(portion.stride) > 1 else 0.0


def prepare_strided(problem: ConvWeight, threads: int, prepare: Callable[[ConvWeight, int], Prepared]) -> Prepared:
    """`prepare` for the phases, which each call sets apart first, and whose sums it takes apart at the end."""
    found, slides = axes(problem), sliding_by_one(problem)
    assert found
    down, across = found
    shape = len(down.starts), len(across.starts), down.kernel, across.kernel
    places = np.array(
        [np.ravel_multi_index((row, column, i, j), shape) for (row, i), (column, j) in itertools.product(down.taps, across.taps)]
    )  # fmt: skip
    parts = [portion for _, portion in portions(problem)]
    most = parts[0].n
    ready = {part.n: (phases_apart(part, threads), prepare(sliding_by_one(part), threads)) for part in parts}
    ins, phases_shape = problem.c_in // problem.groups, slides.x_shape[1:]
    phases_bytes, sums_bytes = (whole(math.prod(each) * problem.itemsize) for each in ((most, *phases_shape), slides.out_shape))
    scratch = Scratch(phases_bytes + sums_bytes)
    used = threads_for(TAKEN * math.prod(problem.out_shape), threads)

    def pack(operands: Operands) -> Run:
        grad = operands.weight
        assert grad is not None
        todo = []
        for first in range(0, problem.n, most):
            images = min(most, problem.n - first)
            apart, prepared = ready[images]
            todo.append((first, images, apart, prepared.pack(operands._replace(weight=grad[first : first + images]))))

        def run(x: Array, out: Array) -> None:
            buffer = scratch.take()
            room = buffer[:phases_bytes].view(problem.dtype)
            sums = buffer[phases_bytes:].view(problem.dtype)[: math.prod(slides.out_shape)]
            spread, taken = sums.reshape(problem.c_out, ins, -1), out.reshape(problem.c_out, ins, -1)
            for first, images, apart, add_up in todo:
                part = x[first : first + images]  # lives as long as its handle
                phases = room[: images * math.prod(phases_shape)].reshape(images, *phases_shape)
                apart(part, phases)
                add_up(phases, sums.reshape(slides.out_shape))
                gather_taps(used, problem.c_out, spread, taken, places, first > 0)
            scratch.give(buffer)
            if not todo:
                out[...] = 0

        return run

    inner = [prepared for _, prepared in ready.values()]
    note = f"phases of the input, {most} images at a time, as {sliding_by_one(parts[0])}: {inner[0].note}"
    return Prepared(pack, scratch.nbytes + max(each.workspace_bytes for each in inner), note)
