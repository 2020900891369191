"""Direct convolution on register tiles: the definition's sums, ordered so that the arithmetic units never wait.

A block of input is packed once into scratch that stays in the second-level cache: zeros for padding, strided columns side by side,
which leaves only contiguous vectors to read. Register tiles of several output channels by several vectors then sum all taps of all
channels; each loaded vector serves every channel of the tile and each weight every vector. Bias, scale and shift, and the ReLU family
are applied before a tile leaves the registers. It does exactly the definition's multiply-adds, so it loses where a transform needs
fewer: 3x3 over many channels (Winograd) and long kernels (FFT). References: E. Georganas et al., "Anatomy of high-performance deep
learning convolutions on SIMD architectures", SC 2018, arXiv 1808.05567; the packing follows M. Cho and D. Brand, arXiv 1706.06873.
"""

from __future__ import annotations

from kernels.cost.roofline import BIND, map_seconds, seconds, threads_that_pay
from kernels.methods import registry
from kernels.methods.contract import Implementation, rounding_bound
from kernels.methods.direct.blocking import best, best_pooled, best_unpacked, variant_names, weight_cycles
from kernels.methods.direct.driver import prepare_blocks
from kernels.methods.direct.driver_oc import prepare_oc_blocks
from kernels.methods.direct.one_line import as_one_line
from kernels.primitives.gemm_tile import tile, tile_of_rows
from kernels.primitives.prepared import Prepared
from kernels.problem.conv import Conv
from kernels.problem.seen_taps import Within
from kernels.runtime.machine import cores


def threads_of(problem: Conv, threads: int) -> int:
    """How many of so many threads to take for the problem."""
    return threads_that_pay(problem, threads, lambda: best(problem, 1).cycles)


def prepare(
    problem: Conv, threads: int, variant: str = "", *, last: bool = False, adjoint: bool = False, within: Within | None = None
) -> Prepared:
    """Choose a blocking (of one variant only), compile its tiles."""
    problem = as_one_line(problem)
    threads = threads_of(problem, threads)
    block = best_pooled(problem, threads, variant) if problem.pool else best(problem, threads, variant, last)
    assert block is not None
    if block.oc_lanes:
        return prepare_oc_blocks(problem, threads, block, last=last, adjoint=adjoint, within=within)
    return prepare_blocks(problem, threads, block, tile, last=last, adjoint=adjoint, within=within)


def prepare_last(problem: Conv, threads: int) -> Prepared:
    """The same for channels last, transposed in each task where lanes do not run along channels."""
    return prepare(problem, threads, last=True)


def prepare_added(problem: Conv, threads: int) -> Prepared | None:
    """The same for outputs that hold what is added to the sums; None where lanes run along channels, or maxima are written."""
    problem = as_one_line(problem)
    threads = threads_of(problem, threads)
    block = best(problem, threads)
    if problem.pool or block.oc_lanes:
        return None
    return prepare_blocks(problem, threads, block, tile, added=True)


def prepare_adjoint(problem: Conv, threads: int, once: bool = False, within: Within | None = None) -> Prepared:
    """The same for weights of the layer that this is the adjoint of; they are packed alike if they serve one call."""
    return prepare(problem, threads, adjoint=True, within=within)


def prepare_unpacked(problem: Conv, threads: int) -> Prepared:
    """The same for weights that serve one call, read where they lie if that costs less than packing them."""
    problem = as_one_line(problem)
    threads = threads_of(problem, threads)
    block = best_unpacked(problem, threads)
    return prepare_blocks(problem, threads, block, tile_of_rows, unpacked=True) if block else prepare(problem, threads)


def fuses(problem: Conv) -> bool:
    """Scale, shift and the ReLU family are applied in registers; other activations, and pools of windows that do not overlap, while the
    block is in cache."""
    return problem.pool is None or all(best_pooled(problem, threads) for threads in range(1, cores() + 1))


def variants(problem: Conv, threads: int) -> dict[str, Implementation]:
    """Other layouts and tiles."""
    problem = as_one_line(problem)
    names = variant_names(problem, threads_of(problem, threads))
    return {name: DIRECT.as_variant(name, "prepare") for name in names}


def estimate(problem: Conv) -> float:
    """Its blocking's cycles, and what maps move."""
    return seconds(best(as_one_line(problem), 1).cycles) + map_seconds(problem)


def once_cycles(problem: Conv) -> float:
    """What weights cost that serve one call: packed, or read where they lie by a slower blocking."""
    problem = as_one_line(problem)
    unpacked = best_unpacked(problem, 1)
    return BIND + max(0.0, unpacked.cycles - best(problem, 1).cycles) if unpacked else weight_cycles(problem)


DIRECT = Implementation(
    "direct", "conv", lambda problem: None, prepare, rounding_bound, fuses, variants=variants, prepare_last=prepare_last,
    prepare_unpacked=prepare_unpacked, prepare_adjoint=prepare_adjoint, prepare_added=prepare_added, estimate=estimate,
    packing=weight_cycles, packing_unpacked=once_cycles, picks_strides=True, sum_order="taps",
)  # fmt: skip
registry.add(DIRECT)
