"""How a transposed convolution becomes stride-1 convolutions: outputs of one phase, `stride` apart, see the same taps of the kernel.

Along one axis input i adds tap t to output o = i*stride - before + t*dilation. With o + origin = q*stride + phase, the outputs of a phase
are indexed by q, and each of their taps reads input q + delta with a delta of its own: an ordinary convolution over q. Phases whose deltas
span one window become output channels of one convolution, so the input is packed once for all of them; where a phase lacks a tap of
the window, its weight is 0. Phases without taps are left out. Reference: W. Shi et al., "Is the deconvolution layer the same as a
convolutional layer?", arXiv 1609.07009.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Sequence

from kernels.problem.conv import Conv, ConvTranspose

SPARSE = 4  # times the taps of the kernel that one window for all phases may have; dilation can put them any distance apart


@dataclasses.dataclass(frozen=True)
class Phases:
    """Some phases of one axis. taps[p][m]: the kernel tap that phase p has at position m of the window, or -1. starts[p]: the output that
    q = 0 is, negative where q = 0 is not used. count: values of q. step: input positions from one position of the window to the next.
    padding: (before, after) of the input."""

    taps: tuple[tuple[int, ...], ...]
    starts: tuple[int, ...]
    count: int
    step: int
    padding: tuple[int, int]

    @property
    def products(self) -> int:
        """Products along this axis."""
        return self.count * len(self.taps) * len(self.taps[0])


@dataclasses.dataclass(frozen=True)
class SubProblem:
    """One stride-1 convolution, with the phases that its output channels are: channel (j, phase of each axis) in row-major order."""

    conv: Conv
    axes: tuple[Phases, ...]


def _window(members: dict[int, dict[int, int]]) -> tuple[int, int, int]:
    """(lowest, highest, step) of all deltas of some phases."""
    deltas = {delta for taps in members.values() for delta in taps}
    lowest = min(deltas)
    return lowest, max(deltas), math.gcd(*(delta - lowest for delta in deltas)) or 1


def _merge(problem: ConvTranspose, axis: int, origin: int, members: dict[int, dict[int, int]]) -> Phases:
    """One window for the phases `members`, each given as {delta: tap}."""
    n, stride, length = problem.size[axis], problem.stride[axis], problem.conv_size[axis]
    lowest, highest, step = _window(members)
    # q from the first output of any phase to the last; further where the window would start or end inside the input
    first = min(min(-((phase - origin) // stride) for phase in members), -lowest)
    last = max(max((length - 1 + origin - phase) // stride for phase in members), n - 1 - highest)
    taps = tuple(tuple(found.get(delta, -1) for delta in range(lowest, highest + 1, step)) for found in members.values())
    starts = tuple(first * stride + phase - origin for phase in members)
    return Phases(taps, starts, last - first + 1, step, (-(first + lowest), last + highest - (n - 1)))


def _live(problem: ConvTranspose, axis: int, origin: int) -> dict[int, dict[int, int]]:
    """{phase: {delta: tap}} of the phases that have outputs and taps."""
    stride, before = problem.stride[axis], problem.padding[axis][0]
    found: dict[int, dict[int, int]] = {}
    for tap in range(problem.kernel[axis]):
        place = tap * problem.dilation[axis] - before + origin
        phase = place % stride
        if (phase - origin) % stride < problem.conv_size[axis]:
            found.setdefault(phase, {})[-(place // stride)] = tap
    return dict(sorted(found.items()))


@functools.lru_cache(maxsize=512)
def along(problem: ConvTranspose, axis: int) -> tuple[tuple[Phases, ...], tuple[Phases, ...]]:
    """The phases of one axis all together, and apart: only those that see the same window together. Each the cheapest of two origins,
    the output's own start and that of the uncropped sum."""
    together, apart = [], []
    for origin in {0, problem.padding[axis][0] % problem.stride[axis]}:
        live = _live(problem, axis, origin)
        if not live:
            return (), ()
        lowest, highest, step = _window(live)
        if ((highest - lowest) // step + 1) * len(live) <= SPARSE * problem.kernel[axis]:
            together.append((_merge(problem, axis, origin, live),))
        windows: dict[tuple[int, ...], dict[int, dict[int, int]]] = {}
        for phase, taps in live.items():
            windows.setdefault(tuple(sorted(taps)), {})[phase] = taps
        apart.append(tuple(_merge(problem, axis, origin, members) for members in windows.values()))
    return min(together or apart, key=_products), min(apart, key=_products)


def _products(phases: Sequence[Phases]) -> int:
    return sum(one.products for one in phases)


@functools.lru_cache(maxsize=512)
def sub_problems(problem: ConvTranspose, images: int, together: bool) -> tuple[SubProblem, ...]:
    """The convolutions that make `images` images of the output, except outputs without taps; with scale, shift and activation.

    One for all phases, or one for each window, which does fewer products.
    """
    chosen = [along(problem, axis)[0 if together else 1] for axis in range(len(problem.size))]
    return tuple(SubProblem(_conv(problem, images, axes), axes) for axes in itertools.product(*chosen))


def _conv(problem: ConvTranspose, images: int, axes: tuple[Phases, ...]) -> Conv:
    channels = problem.c_out * math.prod(len(axis.taps) for axis in axes)
    return Conv(
        op=problem.op.replace("_transpose", ""), n=images, c_in=problem.c_in, size=problem.size,
        kernel=tuple(len(axis.taps[0]) for axis in axes), stride=(1,) * len(axes), padding=tuple(axis.padding for axis in axes),
        dilation=tuple(axis.step for axis in axes), dtype=problem.dtype, c_out=channels, groups=problem.groups, bias=problem.bias,
        scale=problem.scale, activation=problem.activation,
    )  # fmt: skip
