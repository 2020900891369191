"""Transposed depthwise convolution with a stride: every output row sums lines of its channel's plane, phase by phase in registers.

One input channel a group leaves nothing for tiles to share, so a convolution whose output channels are the phases multiplies the zeros that
pad their windows, and what it wrote is read once more to be interleaved. Here a row of the input is read where it lies, and what is stored
is the output (`phase_sums`). Of stride 1 it is one depthwise convolution.
"""

from __future__ import annotations

import numpy as np

from kernels.cost.calibration import threads_for
from kernels.cost.roofline import memory_seconds, seconds
from kernels.methods import registry
from kernels.methods.contract import Implementation, rounding_bound
from kernels.methods.lowered.phase_sums import WIDEST, cycles, rows_of, sum_rows
from kernels.methods.lowered.transposed import lowered
from kernels.primitives.prepared import Prepared, Run
from kernels.problem.conv import ConvTranspose
from kernels.problem.operands import Operands
from kernels.runtime.scratch import Scratch, handle

Array = np.ndarray

LOWERED = lowered("depthwise")  # what strides of 1, very long ones and three axes take


def _by_rows(problem: ConvTranspose) -> bool:
    strides = len(problem.size) == 2 and max(problem.stride) > 1 and problem.stride[1] <= WIDEST
    return problem.c_in == problem.groups and strides


def refuse(problem: ConvTranspose) -> str | None:
    """More than one input channel a group."""
    return None if _by_rows(problem) else LOWERED.refuse(problem)


def prepare(problem: ConvTranspose, threads: int) -> Prepared:
    """Find what every row sums, compile the row."""
    if not _by_rows(problem):
        return LOWERED.prepare(problem, threads)
    threads = threads_for(cycles(problem, summed=False), threads)
    rows = rows_of(problem, threads, weighted=True, summed=False)
    scratch = Scratch(threads * rows.scratch_bytes)
    launch = sum_rows.ready(0, 0, 0, 0, 0, rows.record)

    def pack(operands: Operands) -> Run:
        def run(x: Array, out: Array) -> None:
            buffer = scratch.take()
            given = handle(x), handle(operands.weight), handle(operands.bias), handle(out), handle(buffer)
            launch(threads, rows.tasks, *given, rows.record)
            scratch.give(buffer)

        return run

    return Prepared(pack, scratch.nbytes, "rows of phases")


def estimate(problem: ConvTranspose) -> float:
    """Of one core."""
    return seconds(cycles(problem, summed=False)) + memory_seconds(problem)


DEPTHWISE = Implementation(
    "depthwise", "conv_transpose", refuse, prepare,
    lambda problem: rounding_bound(problem) if _by_rows(problem) else LOWERED.error_bound(problem),
    lambda problem: not _by_rows(problem) and LOWERED.fuses(problem),
    lambda problem: None if _by_rows(problem) else LOWERED.sub_problems(problem),
    estimate=estimate, lowering_packing=LOWERED.lowering_packing,
)  # fmt: skip
registry.add(DEPTHWISE)
