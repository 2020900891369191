"""Direct weights' gradient on register tiles: a product of matrices whose inner dimension is every position of every image.

The gradient of the weights is grad_output (c_out, positions) times the unfolded input (positions, c_in * kh * kw). Nothing is unfolded:
input packed channels last has under every position whole runs of channels and taps, which are the vectors of the product, and packed
gradients are its factors, or the gradient as it lies where a block is of one image. Sums of a tile stay in registers over a block of
positions and are resumed block after block. It does the definition's multiply-adds, so it loses where a transform needs fewer: 3x3 over
many channels (Winograd) and long kernels (FFT), and where one channel a group leaves nothing for tiles (depthwise). References: E.
Georganas et al., "Anatomy of high-performance deep learning convolutions on SIMD architectures", SC 2018, arXiv 1808.05567, section II-G.
"""

from __future__ import annotations

from kernels.cost.calibration import threads_for
from kernels.cost.roofline import seconds
from kernels.methods import registry
from kernels.methods.contract import Implementation, rounding_bound
from kernels.methods.gradients.blocking import best
from kernels.methods.gradients.driver import prepare_blocks
from kernels.primitives.prepared import Prepared
from kernels.problem.conv import ConvWeight


def prepare(problem: ConvWeight, threads: int) -> Prepared:
    """Choose a blocking, compile its tiles."""
    threads = threads_for(best(problem, 1).cycles, threads)
    return prepare_blocks(problem, threads, best(problem, threads))


def estimate(problem: ConvWeight) -> float:
    """Of one core."""
    return seconds(best(problem, 1).cycles)


DIRECT = Implementation("direct", "conv_weight", lambda problem: None, prepare, rounding_bound, estimate=estimate)
registry.add(DIRECT)
