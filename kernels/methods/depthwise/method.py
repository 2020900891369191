"""Depthwise convolution by planes, by rows or with channels in lanes: each output channel sees one input channel, no sum is shared.

Planes: small kernels over rows that fill vectors read planes where they lie, and output rows share the lines that their windows have in
common. Rows: every output line is a sum of kh*kw shifted input vectors, times one weight each; packing puts zeros where padding is and
strided columns side by side, and the arithmetic hides behind memory. Long lines go through in pieces that stay in the first-level cache,
and results that will not fit the last-level cache bypass it. Channels in lanes: as many channels as there are lanes are transposed
together, and each lane sums one of them. Rows too short to fill vectors take a fifth of the time so, and channels last need no
transposing. It loses on many taps over few channels, which pay for one load each, and refuses more input channels per group, where
register tiles over several output channels reuse what they load. Reference: P. Zhang, E. Lo, B. Lu, "High performance depthwise and
pointwise convolutions on mobile devices", AAAI 2020, arXiv 2001.02504.
"""

from __future__ import annotations

import math

from kernels.cost.calibration import threads_for
from kernels.cost.classes import Anew, by_class
from kernels.cost.gemm import TRANSPOSED
from kernels.cost.roofline import memory_seconds, seconds, threads_that_pay
from kernels.methods import registry
from kernels.methods.contract import Implementation, rounding_bound
from kernels.methods.depthwise.blocking import PLANES, STACKS, ChannelBlocking, best, best_channels, cycles, layouts
from kernels.methods.depthwise.driver_channels import prepare_channels
from kernels.methods.depthwise.driver_planes import prepare_planes
from kernels.methods.depthwise.plane_blocking import best_planes, refused
from kernels.methods.depthwise.row_tile import row
from kernels.methods.direct.blocking import weight_cycles
from kernels.methods.direct.driver import prepare_blocks
from kernels.primitives.activations import codes
from kernels.primitives.channels_last import channels_last
from kernels.primitives.prepared import Prepared
from kernels.problem.conv import Conv, Problem
from kernels.problem.seen_taps import Within
from kernels.runtime.machine import machine

# cycles of other methods that one counted for planes takes, by whether a mesh is between caches; fitted on Granite Rapids, see README
IN_OTHERS = {False: 1.0, True: 0.7}


def refuse(problem: Problem) -> str | None:
    """More than one input channel per group."""
    assert isinstance(problem, Conv)
    if problem.groups != problem.c_in:
        return f"it takes one input channel per group, this has {problem.c_in // problem.groups}; direct does it"
    return None


def _channels_last(problem: Conv, threads: int) -> ChannelBlocking | None:
    """The blocking with channels in lanes where that is estimated faster than to transpose to and from another layout."""
    block = best_channels(problem, threads, last=True)
    if block is None:
        return None
    transposing = TRANSPOSED * (math.prod(problem.x_shape) + math.prod(problem.conv_shape))
    others = [cycles for name, cycles in layouts(problem, threads).items() if name != STACKS]
    return block if block.cycles < min(others) + transposing else None


def _threads_for(problem: Conv, threads: int) -> int:
    """How many of so many threads to take for the problem."""
    return threads_that_pay(problem, threads, lambda: cycles(problem))


def _same(old: Conv, layout: str, problem: Conv, threads: int, variant: str) -> str:
    """The layout of another problem of the class, where it can do this one."""
    if layout == PLANES and refused(problem):
        raise Anew
    return layout


@by_class(_same)
def _layout(problem: Conv, threads: int, variant: str) -> str:
    """The layout that is estimated fastest, or the variant that was asked for where it can do the problem."""
    known = layouts(problem, threads)
    return variant if variant in known else min(known, key=known.__getitem__)


def prepare(problem: Conv, threads: int, variant: str = "", *, adjoint: bool = False) -> Prepared:
    """In one layout (or one variant only), compiled; adjoint: for weights of the layer that this is the adjoint of."""
    threads = _threads_for(problem, threads)
    found = _layout(problem, threads, variant)
    if found == STACKS:
        channels = best_channels(problem, threads)
        assert channels
        return prepare_channels(problem, threads, channels, adjoint=adjoint)
    if found == PLANES:
        planes = best_planes(problem, threads)
        assert planes
        return prepare_planes(problem, threads, planes, adjoint)
    # results that another pass reads must stay in cache
    stream = math.prod(problem.conv_shape) * problem.itemsize > machine().l3 and not codes(problem.activation)[0]
    block = best(problem)
    line = block.rows * block.columns
    return prepare_blocks(problem, threads, block, lambda m, n, lanes, itemsize: row(stream, lanes, itemsize), line, adjoint=adjoint)


def prepare_last(problem: Conv, threads: int) -> Prepared:
    """The same for channels last: with channels in lanes, which transposes nothing."""
    block = _channels_last(problem, _threads_for(problem, threads))
    threads = threads_for(block.cycles if block else cycles(problem), threads)
    return prepare_channels(problem, threads, block, last=True) if block else channels_last(prepare(problem, threads), problem, threads)


def prepare_adjoint(problem: Conv, threads: int, once: bool = False, within: Within | None = None) -> Prepared | None:
    """The same for weights of the layer that this is the adjoint of; they are laid out alike if they serve one call."""
    return None if within else prepare(problem, threads, adjoint=True)


def fuses(problem: Conv) -> bool:
    """Scale, shift and activation are applied, pools are not."""
    return problem.pool is None


def variants(problem: Conv, threads: int) -> dict[str, Implementation]:
    """The other layouts that can."""
    threads = _threads_for(problem, threads)
    own = _layout(problem, threads, "")
    return {other: DEPTHWISE.as_variant(other, "prepare") for other in layouts(problem, threads) if other != own}


def estimate(problem: Conv) -> float:
    """The better layout's cycles, in those of the other methods, and what memory takes."""
    known = layouts(problem, 1)
    taken = min(known, key=known.__getitem__)
    return seconds(known[taken] * (IN_OTHERS[machine().mesh] if taken == PLANES else 1.0)) + memory_seconds(problem)


DEPTHWISE = Implementation(
    "depthwise", "conv", refuse, prepare, rounding_bound, fuses, variants=variants, prepare_last=prepare_last,
    prepare_adjoint=prepare_adjoint, estimate=estimate, packing=weight_cycles, sum_order="taps",
)  # fmt: skip
registry.add(DEPTHWISE)
