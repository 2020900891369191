"""Weights' gradient by dot products: each tap's sum is one of a row of the gradient and a row of the input, lanes along both.

`direct` lays out both arrays position by position, the channels of each side by side, which pays where there are many. Of few channels,
as in a network's first layer, that takes longer than the sums: here the gradient is read as it lies and the input is copied with its
padding, a stride's phases apart. Tiles of some output channels by some taps share what they load. It loses where rows are shorter than
vectors, and where there are so many sums that adding up their lanes counts. References: the inner-product form of matrix products, G.
Golub, C. Van Loan, "Matrix Computations", section 1.1; phases: P. P. Vaidyanathan, "Multirate Systems and Filter Banks", section 4.3.
"""

from __future__ import annotations

from kernels.cost.calibration import threads_for
from kernels.cost.roofline import seconds
from kernels.methods import registry
from kernels.methods.contract import Implementation, rounding_bound
from kernels.methods.gradients.dots_blocking import best
from kernels.methods.gradients.dots_driver import prepare_dots
from kernels.primitives.prepared import Prepared
from kernels.problem.conv import ConvWeight


def prepare(problem: ConvWeight, threads: int) -> Prepared:
    """Choose a blocking, compile its tiles."""
    threads = threads_for(best(problem, 1).cycles, threads)
    return prepare_dots(problem, threads, best(problem, threads))


def estimate(problem: ConvWeight) -> float:
    """Of one core."""
    return seconds(best(problem, 1).cycles)


DOTS = Implementation("dots", "conv_weight", lambda problem: None, prepare, rounding_bound, estimate=estimate)
registry.add(DOTS)
