"""What of the past and the future an output needs, along one axis: the arithmetic of windows that slide, once for all.

A layer is a `Slide`, several are a `Net`, in a row or with branches; both answer the same questions in whole numbers:

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
import functools
import math
from collections.abc import Callable, Iterator
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
class Net:
    """Parts of which each reads what the input or earlier parts give. sources: for each part the places that it reads, 0 for the input,
    i + 1 for part i; values from several places are joined one to one. The net's outputs are the last part's, or the input.

    >>> Net.row(Slide(3, before=1, after=1), Slide(2, stride=2)).needs(0, 1)
    (-1, 3)
    >>> Net().then(Slide(5, before=2, after=2)).then(Slide(), 0, 1).delays(1)  # a residual connection
    (2, 0)
    """

    parts: tuple[Part, ...] = ()
    sources: tuple[tuple[int, ...], ...] = ()

    @classmethod
    def row(cls, *parts: Part) -> Net:
        """Parts one after the other."""
        return cls(parts, tuple((i,) for i in range(len(parts))))

    def then(self, part: Part, *sources: int) -> Net:
        """With one part more, behind the last one unless sources are given."""
        return Net((*self.parts, part), (*self.sources, sources or (len(self.parts),)))

    def check(self) -> None:
        """Raise ProblemError where places are joined whose ratios differ."""
        assert self.ratios

    def upto(self, place: int) -> Net:
        """The net whose outputs are what lies at a place."""
        return Net(self.parts[:place], self.sources[:place])

    @functools.cached_property
    def ratios(self) -> tuple[Fraction, ...]:
        """Of every place."""
        found = [Fraction(1)]
        for part, sources in zip(self.parts, self.sources):
            ratios = list(dict.fromkeys(found[place] for place in sources))
            if len(ratios) > 1:
                raise ProblemError(f"its branches give {' and '.join(map(str, ratios))} outputs per input; they must be equal to be joined")
            found.append(ratios[0] * part.ratio)
        return tuple(found)

    @property
    def ratio(self) -> Fraction:
        """Outputs per input."""
        return self.ratios[-1]

    @functools.cached_property
    def grid(self) -> int:
        """Inputs by which all can be moved so that every part moves by whole numbers."""
        return math.lcm(1, *((self.ratios[places[0]] / part.grid).denominator for part, places in zip(self.parts, self.sources)))

    def lengths(self, n: int) -> list[int]:
        """Of n inputs, how many lie at every place; of what is joined, as many as the shortest has."""
        found = [n]
        for part, sources in zip(self.parts, self.sources):
            found.append(part.length(min(found[place] for place in sources)))
        return found

    def length(self, n: int) -> int:
        """Outputs of n inputs."""
        return self.lengths(n)[-1]

    def decided(self, n: int) -> list[int]:
        """How many the first n inputs decide at every place."""
        found = [n]
        for part, sources in zip(self.parts, self.sources):
            found.append(part.ready(min(found[place] for place in sources)))
        return found

    def ready(self, n: int) -> int:
        """Outputs that the first n inputs decide."""
        return self.decided(n)[-1]

    def until(self, output: int) -> int:
        """How many inputs decide this output."""
        wanted: dict[int, int] = {len(self.parts): output + 1}  # how many at a place
        for i in range(len(self.parts) - 1, -1, -1):
            if i + 1 in wanted:
                count = self.parts[i].until(wanted[i + 1] - 1)
                for place in self.sources[i]:
                    wanted[place] = max(wanted.get(place, count), count)
        return wanted[0]

    def needs(self, first: int, end: int) -> Interval:
        """The inputs that the outputs [first, end) see."""
        return self.spans(first, end, lambda i, low, high: self.parts[i].needs(low, high)).get(0, (0, 0))

    def spans(self, first: int, end: int, needs: Callable[[int, int, int], Interval]) -> dict[int, Interval]:
        """Of every place what the outputs [first, end) need, where that is anything. needs(i, low, high): what part i's outputs do."""
        found = {len(self.parts): (first, end)}
        for i in range(len(self.parts) - 1, -1, -1):
            low, high = needs(i, *found[i + 1]) if i + 1 in found else (0, 0)
            if low < high:
                for place in self.sources[i]:
                    others = found.get(place, (low, high))
                    found[place] = min(low, others[0]), max(high, others[1])
        return found

    def delays(self, i: int) -> tuple[int, ...]:
        """For each source of a part, how many there wait for the slowest one, at most, where inputs come one by one."""
        sources = self.sources[i]
        slowest = max(self.upto(place).until(0) for place in sources)
        begun = (slowest // self.grid + 2) * self.grid  # nothing there is a beginning any more
        counts = [[found[place] for place in sources] for found in map(self.decided, range(begun, begun + self.grid))]
        return tuple(max(column) for column in zip(*([count - min(row) for count in row] for row in counts)))


Part = Slide | Net


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

    >>> context(Net.row(Slide(3, stride=2, before=1), Slide(3)))
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
