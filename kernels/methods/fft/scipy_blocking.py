"""How a convolution by transforms is laid out: which axes are transformed, in tiles of what length, at what cost.

Along a transformed axis, tiles overlap by the kernel's reach and yield length - reach outputs each (overlap-save). A stride splits the
input into phases, each of which sees its own taps at stride 1 (polyphase). An axis that is not transformed keeps its taps; they join the
channels of the product. Tilings of several lengths are listed for either axis and the cheapest pair is taken.
Reference: J. J. Shynk, "Frequency-domain and multirate adaptive filtering", IEEE Signal Processing Magazine 9(1), 1992.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math

from kernels.cost.classes import Anew, by_class
from kernels.problem.conv import Conv
from kernels.runtime.locks import cached_property

BLOCK_BYTES = 32 << 20  # bytes that the tiles processed at a time may take in all their forms
SLOW = 10  # transforms with their gathers reach 3 GFLOP/s a core, complex matrix products 30
FLOPS_PER_CYCLE, CALLS = 12, 1e6  # of complex products; a call of SciPy's route is never under half a millisecond
FLOPS_PER_BYTE = 3  # products of one core per byte that it reads from memory; what re-reading weight spectra costs


@functools.cache
def good_length(least: int) -> int:
    """The smallest number of at least `least` with no prime factor beyond 5, for which real transforms are fastest."""
    best = 1 << (least - 1).bit_length()
    fives = 1
    while fives < best:
        threes = fives
        while threes < best:
            best = min(best, threes << max(-(-least // threes) - 1, 0).bit_length())
            threes *= 3
        fives *= 5
    return best


class KernelTaps(tuple[tuple[int, int], ...]):
    """(phase, index within the phase) of each tap along an axis; what follows from them is found once."""

    @cached_property
    def phases(self) -> tuple[int, ...]:
        """Phases of the input that some tap sees."""
        return tuple(sorted({phase for phase, _ in self}))

    @cached_property
    def reach(self) -> int:
        """Positions of a phase from its first tap to its last."""
        return max(index for _, index in self)


@functools.lru_cache(maxsize=64)
def kernel_taps(kernel: int, stride: int, dilation: int) -> KernelTaps:
    """The taps of an axis that is transformed; as long as an impulse response, and the same for every length of input."""
    return KernelTaps(divmod(i * dilation, stride)[::-1] for i in range(kernel))


@functools.lru_cache(maxsize=64)
def plain_taps(kernel: int, dilation: int) -> KernelTaps:
    """The taps of an axis that is not."""
    return KernelTaps((0, i * dilation) for i in range(kernel))


@dataclasses.dataclass(frozen=True)
class Axis:
    """How one spatial axis is done. length: positions of a tile that are gathered, the transform's length if it is transformed.
    outputs: valid outputs of a tile. tiles: how many. taps: (phase, index within the phase) of each kernel tap; on an axis that is not
    transformed, (0, offset). step: input positions between neighbours of a tile. stride: positions of a tile between outputs."""

    transformed: bool
    length: int
    outputs: int
    tiles: int
    taps: KernelTaps
    step: int
    stride: int

    @property
    def phases(self) -> tuple[int, ...]:
        """Phases of the input that some tap sees."""
        return self.taps.phases


def transformed(problem: Conv, axis: int) -> list[Axis]:
    """Tilings of an axis by transforms of several lengths; none where windows do not overlap."""
    stride, size = problem.stride[axis], problem.conv_size[axis]
    taps = kernel_taps(problem.kernel[axis], stride, problem.dilation[axis])
    reach = taps.reach
    if reach == 0:
        return []
    whole = good_length(size + reach)
    lengths = {good_length(-(-size // tiles) + reach) for tiles in range(1, 5)} | {good_length(reach << power) for power in range(1, 8)}
    choices = [(length, min(length - reach, size)) for length in sorted(lengths) if reach < length <= whole]
    return [Axis(True, length, outputs, -(-size // outputs), taps, stride, 1) for length, outputs in choices]


def direct(problem: Conv, axis: int) -> list[Axis]:
    """The axis as it is, whole or cut into tiles of fewer outputs."""
    stride, size = problem.stride[axis], problem.conv_size[axis]
    taps = plain_taps(problem.kernel[axis], problem.dilation[axis])
    choices = sorted({-(-size // tiles) for tiles in (1, 4, 16, 64, 256, 1024, size)})
    return [Axis(False, (outputs - 1) * stride + taps[-1][1] + 1, outputs, -(-size // outputs), taps, 1, stride) for outputs in choices]


@dataclasses.dataclass(frozen=True)
class Layout:
    """Both axes, and the sizes that follow from them, a group or (with `groups`) in all."""

    problem: Conv
    h: Axis
    w: Axis

    @property
    def axes(self) -> tuple[Axis, Axis]:
        """(h, w)."""
        return self.h, self.w

    @property
    def transform(self) -> tuple[int, int]:
        """Lengths of the transform along h and w; 1 on an axis that is not transformed."""
        return tuple(axis.length if axis.transformed else 1 for axis in self.axes)  # type: ignore[return-value]

    @property
    def frequencies(self) -> tuple[int, int]:
        """Frequencies along h and w; the last transformed axis has only those that a real signal needs."""
        h, w = self.transform
        return (h, w // 2 + 1) if self.w.transformed else (h // 2 + 1, 1)

    @property
    def planes(self) -> int:
        """Channels and their phases, of one group."""
        return self.problem.c_in // self.problem.groups * math.prod(len(axis.phases) for axis in self.axes)

    @property
    def direct_taps(self) -> int:
        """Taps on the axis that is not transformed."""
        return math.prod(len(axis.taps) for axis in self.axes if not axis.transformed)

    @property
    def columns(self) -> tuple[int, int]:
        """(gathered, output) positions of the axis that is not transformed, in one tile."""
        rest = [axis for axis in self.axes if not axis.transformed]
        return math.prod(axis.length for axis in rest), math.prod(axis.outputs for axis in rest)

    @property
    def items(self) -> int:
        """Tiles of all images."""
        return self.problem.n * self.h.tiles * self.w.tiles

    @property
    def unfolds(self) -> bool:
        """Whether spectra are copied once per direct tap before the product."""
        return any(not axis.transformed and (len(axis.taps) > 1 or axis.stride > 1) for axis in self.axes)

    @property
    def item_bytes(self) -> tuple[int, int]:
        """(bytes kept between calls, bytes that the transforms allocate) for one tile."""
        itemsize, groups = self.problem.itemsize, self.problem.groups
        real, frequencies = math.prod(self.transform), 2 * math.prod(self.frequencies)
        gathered, produced = self.columns
        planes, twice = self.planes * groups, 2 if all(axis.transformed for axis in self.axes) else 1
        kept = real * planes * gathered + frequencies * (self.problem.c_out + self.unfolds * planes * self.direct_taps) * produced
        lent = frequencies * planes * gathered * twice + (frequencies * (twice - 1) + real) * self.problem.c_out * produced
        return kept * itemsize, lent * itemsize

    @property
    def block_tiles(self) -> int:
        """Tiles processed at a time."""
        return max(1, min(self.items, BLOCK_BYTES // sum(self.item_bytes)))

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights' spectra."""
        return 2 * math.prod(self.frequencies) * self.problem.c_out * self.planes * self.direct_taps * self.problem.itemsize

    @property
    def cost(self) -> float:
        """Operations, each kind weighed by how slowly it runs."""
        gathered, produced = self.columns
        length = math.prod(self.transform)
        numbers = self.planes * self.problem.groups * gathered + self.problem.c_out * produced
        transforms = self.items * 2.5 * length * math.log2(length) * numbers
        products = self.items * 8 * math.prod(self.frequencies) * self.problem.c_out * self.planes * self.direct_taps * produced
        reading = FLOPS_PER_BYTE * self.weight_bytes * -(-self.items // self.block_tiles)
        return SLOW * transforms + products + reading

    @property
    def cycles(self) -> float:
        """The cost in cycles of one core, and what gathering, scattering and SciPy's calls cost besides."""
        return self.cost / FLOPS_PER_CYCLE + CALLS


def _resized(old: Conv, taken: Layout | None, problem: Conv) -> Layout | None:
    """The layout of another problem of the class for this one: as many tiles along each axis."""
    if taken is None:
        return None
    axes = []
    for i, axis in enumerate(taken.axes):
        stride, size = problem.stride[i], problem.conv_size[i]
        outputs = -(-size // axis.tiles)
        if axis.transformed:
            length = good_length(outputs + axis.taps.reach)
            outputs = min(length - axis.taps.reach, size)
        else:
            length = (outputs - 1) * stride + axis.taps[-1][1] + 1
        axes.append(dataclasses.replace(axis, length=length, outputs=outputs, tiles=-(-size // outputs)))
    new = Layout(problem, *axes)
    if sum(new.item_bytes) > BLOCK_BYTES and sum(taken.item_bytes) <= BLOCK_BYTES:
        raise Anew
    return new


@by_class(_resized)
def layout(problem: Conv) -> Layout | None:
    """The cheapest layout whose tiles fit BLOCK_BYTES (or else the one of the smallest tiles); None where no window overlaps another."""
    rows, columns = transformed(problem, 0), transformed(problem, 1)
    pairs = itertools.chain(
        itertools.product(rows, direct(problem, 1)), itertools.product(direct(problem, 0), columns), itertools.product(rows, columns)
    )
    candidates = [Layout(problem, *pair) for pair in pairs]
    fitting = [candidate for candidate in candidates if sum(candidate.item_bytes) <= BLOCK_BYTES]
    if fitting:
        return min(fitting, key=lambda candidate: candidate.cost)
    return min(candidates, key=lambda candidate: sum(candidate.item_bytes), default=None)
