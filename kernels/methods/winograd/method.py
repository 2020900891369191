"""Winograd convolution: small kernels by interpolation, with a half to a fifth of the definition's multiplications.

F(m x m, r x r) computes a tile of m x m outputs from a patch of t x t inputs, t = m + r - 1: patch and kernel are transformed to t*t
points, the channels are summed at each point by t*t matrix products (t*t multiplications per channel instead of m*m*r*r), and the
result is transformed back. Patches of neighbouring tiles, of several images where maps are small, sit in the lanes of vectors; products
may have lanes along output channels instead. Blocks of tiles go through all three steps while they are in the second-level cache, and
bias, scale, shift and the ReLU family are applied on the way out. It loses where transforms are not shared by many channels, where maps
are so small that tiles overhang them or that transformed weights, t*t / (r*r) times as many, take longer to read than the products to
compute. A NaN or inf spreads over the outputs of the tiles whose patches hold it. Sources: A. Lavin and S. Gray, arXiv 1509.09308;
blocks after Z. Jia et al., "Towards optimal Winograd convolution on manycores", arXiv 1912.02165.
"""

from __future__ import annotations

from kernels.cost.roofline import BIND, map_seconds, seconds
from kernels.methods import registry
from kernels.methods.contract import Implementation
from kernels.methods.winograd import blocking, dilated
from kernels.methods.winograd.driver import prepare
from kernels.methods.winograd.stride_phases import cycles, lost_cycles, polyphase, sliding_by_one
from kernels.primitives.activations import codes
from kernels.primitives.channels_last import channels_last
from kernels.primitives.prepared import Prepared
from kernels.problem.conv import Conv, Problem
from kernels.problem.seen_taps import Within
from kernels.runtime.machine import cores

LEAST_CHANNELS = 8  # below this on either side the transforms cost more than they save


def refuse(problem: Problem) -> str | None:
    """Strides that leave no tile, kernels without a tile, few channels, dilations with few outputs or long ones."""
    assert isinstance(problem, Conv)
    if max(problem.stride) > 1:
        slides = polyphase(problem)
        if slides is None:
            return f"its tiles slide by one, this has stride {problem.stride} and padding as long as the dilated kernel; direct does it"
        sentence = refuse(slides)
        return sentence and f"{sentence} (of the phases of stride {problem.stride})"
    if dilated.few_outputs(problem):
        return f"its tiles have outputs a dilation apart, this has {problem.conv_size} outputs, dilation {problem.dilation}; direct does it"
    if any(k not in blocking.TILES for k in problem.kernel) or problem.taps == 1:
        return f"it has tiles for kernels of 2, 3 and 5 (1 along one axis), this is {problem.kernel}; direct or fft does it"
    if (held := blocking.turn_bytes(problem)) > blocking.turns_limit():
        return f"its tasks hold {held:,} bytes for each row with dilation {problem.dilation}, more than the layer is worth; direct does it"
    channels = min(problem.c_in, problem.c_out) // problem.groups
    if channels < LEAST_CHANNELS:
        return f"its transforms pay from {LEAST_CHANNELS} channels a group on either side, this has {channels}; direct does it"
    return None


def sub_problems(problem: Conv) -> tuple[tuple[Conv, int], ...] | None:
    """The convolution of a stride's phases."""
    return ((sliding_by_one(problem), 1),) if max(problem.stride) > 1 else None


def error_bound(problem: Conv, variant: str = "") -> float:
    """The tile may differ with the threads; the largest of theirs. See `methods.winograd.blocking.error`; B. Barabasz et al.,
    arXiv 1803.10986."""
    problem = sliding_by_one(problem)
    return max(blocking.error(problem, blocking.best(problem, threads, variant)) for threads in range(1, cores() + 1))


def prepare_last(problem: Conv, threads: int) -> Prepared:
    """The same for channels last, transposed in each task, or before phases of a stride are set apart or tiles are dilated."""
    if max(problem.stride) > 1 or dilated.turns(problem) != (1, 1):
        return channels_last(prepare(problem, threads), problem, threads)
    return prepare(problem, threads, last=True)


def prepare_unpacked(problem: Conv, threads: int) -> Prepared:
    """The same for weights that serve one call, by the tile that costs least with transforming them."""
    return prepare(problem, threads, once=problem.pool is None)


def prepare_adjoint(problem: Conv, threads: int, once: bool = False, within: Within | None = None) -> Prepared | None:
    """The same for weights of the layer that this, of stride 1, is the adjoint of."""
    return None if within else prepare(problem, threads, adjoint=True, once=once)


def fuses(problem: Conv, variant: str = "") -> bool:
    """Scale, shift and activation are applied on the way out; pools where a task's tiles hold whole windows. Dilated tiles hold none, nor
    rows of outputs that activations beyond the ReLU family would follow on."""
    problem = sliding_by_one(problem)
    if dilated.turns(problem) != (1, 1):
        return problem.pool is None and codes(problem.activation)[0] == 0
    blockings = (blocking.best(problem, threads, variant) for threads in range(1, cores() + 1))
    return problem.pool is None or all(blocking.holds_windows(problem, block) for block in blockings)


def variants(problem: Conv, threads: int) -> dict[str, Implementation]:
    """Other tiles."""
    problem = sliding_by_one(problem)
    names = blocking.variant_names(problem, blocking.threads_of(problem, threads))
    return {name: WINOGRAD.as_variant(name, "prepare", "error_bound", "fuses") for name in names}


def estimate(problem: Conv) -> float:
    """Its blocking's cycles, and what maps move."""
    return seconds(blocking.best(problem, 1).cycles) + map_seconds(problem)


def weight_cycles(problem: Conv) -> float:
    """Cycles of one core to transform the weights."""
    return BIND + blocking.weight_cycles(problem, blocking.best(problem, 1))


def once_cycles(problem: Conv) -> float:
    """What weights cost that serve one call: transformed for a tile that would be slower without."""
    block = blocking.best(problem, 1, once=True)
    return BIND + blocking.weight_cycles(problem, block) + block.cycles - blocking.best(problem, 1).cycles


WINOGRAD = Implementation(
    "winograd", "conv", refuse, prepare, error_bound, fuses, sub_problems, variants=variants, prepare_last=prepare_last,
    prepare_unpacked=prepare_unpacked, prepare_adjoint=prepare_adjoint, estimate=estimate,
    lowering_cycles=cycles, lost=lost_cycles, packing=weight_cycles, packing_unpacked=once_cycles, local=False,
)  # fmt: skip
registry.add(WINOGRAD)
