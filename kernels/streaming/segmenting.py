"""Segments for transforms whose ends are where blocks end: so a stream takes `fft` without giving an output later, or another one.

A transform mixes all outputs of its segment, so that an output's last bits depend on where the segment begins. Where blocks have a usual
length, segments are fixed for the whole signal such that with every block of that length whole segments are completed, and all outputs
that it decides are among them. Blocks of other lengths give the same outputs to the bit, up to a segment later.
"""

from __future__ import annotations

from collections.abc import Iterator

from kernels.dispatch.heuristic import ERROR_BOUND
from kernels.methods import registry
from kernels.methods.contract import rounding_bound
from kernels.methods.estimate import estimate
from kernels.methods.fft.blocking import LENGTHS, taps
from kernels.methods.fft.method import segment_seconds
from kernels.methods.fft.segments import Segments
from kernels.problem.conv import Conv, ConvTranspose, Problem
from kernels.problem.errors import RefusedError
from kernels.problem.halo import Net
from kernels.streaming.sliding import Sliding

LEAST = 8  # outputs of a segment: below, all of a transform is overlap
LONGER = 3  # lengths of transforms that are considered for each segment: the shortest, and some that have smaller factors
GAIN = 0.9  # of the time of direct sums, from which on transforms are taken: estimates of a few microseconds are not better than that


def segments_for(sliding: Sliding, name: str, net: Net, block: int | None, threads: int) -> Segments | None:
    """The segments of a convolution, the last part of a net that is streamed in blocks, or None: direct sums. name: as the user gave it.

    Raises RefusedError for "fft" where blocks have no usual length, or none that ends with an output of this layer.
    """
    problem = sliding.problem
    if not isinstance(problem, Conv) or isinstance(problem, ConvTranspose) or len(problem.size) != 2:
        return None
    method, _, variant = name.partition(":")
    if method not in ("auto", "fft"):
        return None
    if fixed := Segments.read(variant):
        if fixed.axis != sliding.axis % 2:
            raise RefusedError(f"{problem.op}: {name!r} has segments along another axis than time")
        return fixed
    if variant:
        return None
    rate = net.ratio
    if block is None or (block * rate).denominator > 1:
        if method == "auto":
            return None
        remedy = "pass block=, the usual length of blocks" if block is None else f"take blocks of a multiple of {rate.denominator} inputs"
        raise RefusedError(
            f"{problem.op}: the sums of implementation 'fft' depend on where the signal is cut, unless its segments end where blocks do; "
            f'{remedy}, name segments as in "fft:w columns 128, segments of 64", or use "auto"'
        )
    return _fastest(sliding, int(block * rate), _lead(net, block), method == "fft", threads)


def _lead(net: Net, block: int) -> int:
    """How many outputs are decided when a block ends, of blocks that are no longer the first; below zero, to be taken modulo a segment."""
    many = -(-max(net.until(0), 1) // block) + 2
    return -net.ready(many * block)


def _fastest(sliding: Sliding, count: int, lead: int, named: bool, threads: int) -> Segments | None:
    """The segments that divide `count` outputs whose estimate is lowest; None where that of direct sums is lower, unless fft is named."""
    inputs = (count - 1) * sliding.slide.stride + sliding.slide.reach
    problem, axis = sliding.of_length(inputs), sliding.axis % 2
    assert isinstance(problem, Conv)
    method = registry.get(problem, "fft")
    if registry.refusal(problem, method) is not None:
        return None
    found: list[tuple[float, Segments]] = []
    for each in _considered(problem, axis, count):
        took = segment_seconds(problem, threads, each)
        if took is not None:
            found.append((took, each))
    if not found:
        return None
    time, segments = min(found, key=lambda pair: pair[0])
    segments = Segments(axis, segments.oc_lanes, segments.length, segments.outputs, lead % segments.outputs)
    if named:
        return segments
    bound = max(ERROR_BOUND, rounding_bound(problem))
    variant = method.named_variant(problem, str(segments))
    if variant is None or variant.error_bound(problem) > bound:
        return None
    return segments if time < GAIN * _direct(problem) else None


def _considered(problem: Conv, axis: int, count: int) -> Iterator[Segments]:
    reach = taps(problem, axis).reach
    most = min(count, LENGTHS[-1] - reach)  # outputs of the longest transform
    for outputs in (each for each in range(min(LEAST, count), most + 1) if count % each == 0):
        for length in [length for length in LENGTHS if length >= outputs + reach][:LONGER]:
            for oc_lanes in (False, True):
                yield Segments(axis, oc_lanes, length, outputs)


def _direct(problem: Problem) -> float:
    return estimate(problem, registry.get(problem, "direct")) or 0.0
