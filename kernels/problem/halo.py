"""What of the past and the future an output needs, along one axis: the arithmetic of windows that slide, once for all.

A layer is a `Slide`, a stack a `Chain`, branches of one input a `Fork`; all answer the same questions in whole numbers:

- `length(n)`: outputs of n inputs.
- `ready(n)`: outputs that the first n inputs decide, whatever follows; never more than `length` of any longer input.
- `until(o)`: the smallest n with ready(n) > o, if padding before were endless.
- `needs(first, end)`: the inputs [low, high) that the outputs [first, end) see; below 0 and past the end lies padding.

Outputs are counted from 0, so that input i is contemporary with the outputs from i * ratio on. Receptive fields, streams, clusters and
tiled runs follow from these. Definition: A. Araujo, W. Norris, J. Sim, "Computing receptive fields of convolutional neural networks",
Distill, 2019.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from fractions import Fraction

from kernels.problem.errors import ProblemError

Interval = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Slide:
    """A window of `kernel` taps, `dilation` apart, that steps by `stride` over an input with `before` and `after` zeros at its ends; with
    `ceil` the last window may overhang. transposed: every input is scattered instead, before and after are cropped, `more` outputs are
    appended. together: outputs come so many at once, the first time `lead` fewer.

    >>> layer = Slide(3, stride=2, before=1, after=1)
    >>> layer.length(9), layer.ready(9), layer.until(4), layer.needs(2, 4)
    (5, 4, 10, (3, 8))
    """

    kernel: int = 1
    stride: int = 1
    dilation: int = 1
    before: int = 0
    after: int = 0
    transposed: bool = False
    more: int = 0
    ceil: bool = False
    together: int = 1
    lead: int = 0

    @property
    def reach(self) -> int:
        """Positions from the first tap to the last, both included."""
        return (self.kernel - 1) * self.dilation + 1

    @property
    def ratio(self) -> Fraction:
        """Outputs per input."""
        return Fraction(self.stride) if self.transposed else Fraction(1, self.stride)

    @property
    def grid(self) -> int:
        """Inputs by which the layer can be moved so that its outputs move by whole numbers."""
        return 1 if self.transposed else self.stride * self.together

    @property
    def held(self) -> int:
        """Outputs of a transposed layer that are kept back because the end may crop them."""
        return max(0, self.after + self.stride - self.reach - self.more) if self.transposed else 0

    def length(self, n: int) -> int:
        """Outputs of n inputs: none of none, whatever the padding would make of them."""
        if n < 1:
            return 0
        if self.transposed:
            return max(0, (n - 1) * self.stride + self.reach + self.more - self.before - self.after)
        room = n + self.before + self.after - self.reach
        if not self.ceil:
            return max(0, room // self.stride + 1)
        last = -(-room // self.stride)
        return max(0, last + 1 if last * self.stride < n + self.before else last)

    def ready(self, n: int) -> int:
        """Outputs that the first n inputs decide."""
        if self.transposed:
            return max(0, n * self.stride - self.before - self.held) if n else 0
        return self.whole(max(0, (n + self.before - self.reach) // self.stride + 1)) if n else 0

    def whole(self, outputs: int) -> int:
        """Of the first outputs, those that have come."""
        return max(0, (outputs + self.lead) // self.together * self.together - self.lead)

    def until(self, output: int) -> int:
        """How many inputs decide this output."""
        if self.transposed:
            return (output + self.before + self.held) // self.stride + 1
        last = ((output + self.lead) // self.together + 1) * self.together - 1 - self.lead  # of those that come with it
        return last * self.stride - self.before + self.reach

    def needs(self, first: int, end: int) -> Interval:
        """The inputs that the outputs [first, end) see; empty (low >= high) where there are none."""
        if first >= end:
            return 0, 0
        if not self.transposed:
            return first * self.stride - self.before, (end - 1) * self.stride - self.before + self.reach
        # output o is tap t of input i where o + before = i * stride + t * dilation
        low, high = [], []
        for tap in range(self.kernel):
            shift = self.before - tap * self.dilation
            least, most = -(-(first + shift) // self.stride), (end - 1 + shift) // self.stride
            if least <= most:
                low.append(least)
                high.append(most + 1)
        return (min(low), max(high)) if low else (0, 0)


@dataclasses.dataclass(frozen=True)
class Chain:
    """Layers one after the other; without any it is the input itself.

    >>> Chain((Slide(3, before=1, after=1), Slide(2, stride=2))).needs(0, 1)
    (-1, 3)
    """

    parts: tuple[Part, ...] = ()

    @property
    def ratio(self) -> Fraction:
        """Outputs per input."""
        return math.prod((part.ratio for part in self.parts), start=Fraction(1))

    @property
    def grid(self) -> int:
        """Inputs by which all can be moved so that every layer moves by whole numbers."""
        ratio, grid = Fraction(1), 1
        for part in self.parts:
            grid = math.lcm(grid, (ratio / part.grid).denominator)
            ratio *= part.ratio
        return grid

    def length(self, n: int) -> int:
        """Outputs of n inputs."""
        for part in self.parts:
            n = part.length(n)
        return n

    def ready(self, n: int) -> int:
        """Outputs that the first n inputs decide."""
        for part in self.parts:
            n = part.ready(n)
        return n

    def until(self, output: int) -> int:
        """How many inputs decide this output."""
        n = output + 1
        for part in reversed(self.parts):
            n = part.until(n - 1)
        return n

    def needs(self, first: int, end: int) -> Interval:
        """The inputs that the outputs [first, end) see."""
        for part in reversed(self.parts):
            first, end = part.needs(first, end)
        return first, end


@dataclasses.dataclass(frozen=True)
class Fork:
    """Branches that get the same input and whose outputs are joined one to one. Raises ProblemError where their ratios differ.

    >>> Fork((Chain((Slide(5, before=2, after=2),)), Chain())).delays
    (0, 2)
    """

    branches: tuple[Chain, ...]

    def __post_init__(self) -> None:
        ratios = list(dict.fromkeys(branch.ratio for branch in self.branches))
        if len(ratios) > 1:
            raise ProblemError(f"its branches give {' and '.join(map(str, ratios))} outputs per input; they must be equal to be joined")

    @property
    def ratio(self) -> Fraction:
        """Outputs per input."""
        return self.branches[0].ratio

    @property
    def grid(self) -> int:
        """Inputs by which all branches can be moved so that every layer moves by whole numbers."""
        return math.lcm(*(branch.grid for branch in self.branches))

    def length(self, n: int) -> int:
        """Outputs of n inputs: of the shortest branch."""
        return min(branch.length(n) for branch in self.branches)

    def ready(self, n: int) -> int:
        """Outputs that the first n inputs decide, in all branches."""
        return min(branch.ready(n) for branch in self.branches)

    def until(self, output: int) -> int:
        """How many inputs decide this output in all branches."""
        return max(branch.until(output) for branch in self.branches)

    def needs(self, first: int, end: int) -> Interval:
        """The inputs that the outputs [first, end) of any branch see."""
        found = [(low, high) for low, high in (branch.needs(first, end) for branch in self.branches) if low < high]
        return (min(low for low, _ in found), max(high for _, high in found)) if found else (0, 0)

    @property
    def delays(self) -> tuple[int, ...]:
        """For each branch, outputs that wait for the slowest one, at most, where inputs come one by one."""
        begun = (max(branch.until(0) for branch in self.branches) // self.grid + 2) * self.grid  # nothing there is a beginning any more
        counts = [[branch.ready(n) for branch in self.branches] for n in range(begun, begun + self.grid)]
        return tuple(max(column) for column in zip(*([count - min(row) for count in row] for row in counts)))


Part = Slide | Chain | Fork


def _period(part: Part) -> range:
    """Outputs after which everything repeats."""
    return range(int(part.grid * part.ratio))


def latency(part: Part) -> int:
    """Inputs that must follow the contemporary of an output until the output is decided, at most; never below 0.

    >>> latency(Slide(5, before=2, after=2)), latency(Slide(5, before=4))
    (2, 0)
    """
    return max(0, *(part.until(o) - 1 - math.floor(o / part.ratio) for o in _period(part)))


def context(part: Part) -> tuple[int, int]:
    """(left, right): inputs before and after the contemporary of an output that it sees, at most; negative where it sees only later or
    earlier ones.

    >>> context(Chain((Slide(3, stride=2, before=1), Slide(3))))
    (1, 5)
    """
    left, right = [], []
    for o in _period(part):
        low, high = part.needs(o, o + 1)
        if low < high:
            at = math.floor(o / part.ratio)
            left.append(at - low)
            right.append(high - 1 - at)
    return (max(left), max(right)) if left else (0, 0)


@dataclasses.dataclass(frozen=True)
class Field:
    """A receptive field along one axis: its size, the step from output to output, and where output 0's begins, in inputs. After a
    transposed layer these may be fractions: nothing outside is seen, and how much inside takes turns with the stride's phases."""

    size: Fraction = Fraction(1)
    stride: Fraction = Fraction(1)
    start: Fraction = Fraction(0)

    def then(self, slide: Slide) -> Field:
        """The field of a layer that reads what has this field.

        With effective kernels e = (k - 1)*d + 1: size grows by (e - 1) S, start falls by p S, S is the stride before. A transposed layer
        has s = 1/stride, and as its outputs see what lies before them, p = (e - 1 - p)/stride and e - 1 = (e - 1)/stride.
        """
        wide, before, stride = slide.reach - 1, slide.before, self.stride
        if slide.transposed:
            stride /= slide.stride
            before = wide - before
        return Field(self.size + wide * stride, stride if slide.transposed else stride * slide.stride, self.start - before * stride)

    @property
    def centre(self) -> Fraction:
        """Where the middle of output 0's field lies."""
        return self.start + (self.size - 1) / 2


def fields(slides: Iterator[Slide] | tuple[Slide, ...]) -> Iterator[Field]:
    """The field after each of several layers, one after the other."""
    field = Field()
    for slide in slides:
        field = field.then(slide)
        yield field
