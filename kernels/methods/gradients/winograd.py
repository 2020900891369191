"""Winograd weights' gradient: small kernels by interpolation, with a half to a fifth of the definition's multiplications.

Along an axis, F(r, m) has the r numbers of a kernel from m gradients and m + r - 1 inputs: inputs and gradients of every tile are
transformed to points, their products are summed over all tiles and images point by point, and only the sums are transformed back. It loses
where transforms are not shared by many channels on the other side, and where maps have few tiles for all those sums, of which there are t*t
/ (r*r) times as many as weights. The phases of a stride become input channels (`strided`). A NaN or inf spreads over all taps of its
channels. Sources: A. Lavin and S. Gray, "Fast algorithms for convolutional neural networks", arXiv 1509.09308, section 5.1; error growth
B. Barabasz et al., arXiv 1803.10986.
"""

from __future__ import annotations

import functools

from kernels.cost.calibration import threads_for
from kernels.cost.roofline import seconds
from kernels.methods import registry
from kernels.methods.contract import Implementation
from kernels.methods.gradients.strided import image_bytes, phase_cycles, portions, prepare_strided
from kernels.methods.gradients.winograd_blocking import TILES, best, error, tile_sizes
from kernels.methods.gradients.winograd_driver import prepare_tiles
from kernels.methods.winograd.stride_phases import polyphase, sliding_by_one
from kernels.primitives.prepared import Prepared
from kernels.problem.conv import ConvWeight
from kernels.runtime.machine import cores

LEAST_CHANNELS = 8  # below this on either side the transforms cost more than they save
LIMIT = 512 << 20  # bytes of an image's phases beyond which the method refuses; direct needs none


def refuse(problem: ConvWeight) -> str | None:
    """Strides that leave no tile or make long phases, dilations, kernels without a tile, few channels."""
    if max(problem.stride) > 1:
        slides = polyphase(problem)
        if slides is None:
            return f"its tiles slide by one, this has stride {problem.stride} and padding as long as the dilated kernel; direct does it"
        assert isinstance(slides, ConvWeight)
        if (held := image_bytes(problem)) > LIMIT:
            return f"the phases of an image of x take {held >> 20:,} MiB, more than {LIMIT >> 20}; use direct"
        sentence = refuse(slides)
        return sentence and f"{sentence} (of the phases of stride {problem.stride})"
    if any(d > 1 and k > 1 for d, k in zip(problem.dilation, problem.kernel)):
        return f"its patches are dense, this has dilation {problem.dilation}; direct does it"
    if any(k not in TILES for k in problem.kernel) or problem.taps == 1:
        return f"it has tiles for kernels of 2 to 5 (1 along one axis), this is {problem.kernel}; direct does it"
    if any(k == 1 and n > 1 for k, n in zip(problem.kernel, problem.conv_size)):
        return f"its tiles are one high where the kernel is, which a map of {problem.conv_size} makes many of; direct does it"
    channels = min(problem.c_in, problem.c_out) // problem.groups
    if channels < LEAST_CHANNELS:
        return f"its transforms pay from {LEAST_CHANNELS} channels a group on either side, this has {channels}; direct does it"
    return None


def error_bound(problem: ConvWeight, variant: str = "") -> float:
    """The tile may differ with the threads, and of a rest of images; the largest of theirs."""
    slides, parts = sliding_by_one(problem), [sliding_by_one(portion) for _, portion in portions(problem)]
    return max(error(slides, best(part, threads, variant)) for part in parts for threads in range(1, cores() + 1))


def prepare(problem: ConvWeight, threads: int, variant: str = "") -> Prepared:
    """Choose a blocking, compile its tiles."""
    if max(problem.stride) > 1:
        return prepare_strided(problem, threads, functools.partial(prepare, variant=variant))
    threads = threads_for(best(problem, 1, variant).cycles, threads)
    return prepare_tiles(problem, threads, best(problem, threads, variant))


def estimate(problem: ConvWeight) -> float:
    """Of one core."""
    return seconds(sum(count * (best(sliding_by_one(part), 1).cycles + phase_cycles(part)) for count, part in portions(problem)))


def variants(problem: ConvWeight, threads: int) -> dict[str, Implementation]:
    """Other tiles."""
    problem = sliding_by_one(portions(problem)[0][1])
    own = best(problem, threads_for(best(problem, 1).cycles, threads))
    names = [f"{mh}x{mw}" for mh, mw in tile_sizes(problem) if (mh, mw) != (own.mh, own.mw)]
    return {name: WINOGRAD.as_variant(name, "prepare", "error_bound") for name in names}


WINOGRAD = Implementation(
    "winograd", "conv_weight", refuse, prepare, error_bound, variants=variants, local=False, estimate=estimate
)
registry.add(WINOGRAD)
