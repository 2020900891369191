"""The arithmetic of windows against a probe: which inputs does an output change with?"""

from __future__ import annotations

import doctest
import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import ProblemError
from kernels.problem import halo
from kernels.problem.halo import Net, Part, Slide

slides = st.builds(
    Slide, st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), before=st.integers(0, 4), after=st.integers(0, 4), ceil=st.booleans()
).map(lambda s: Slide(s.kernel, s.stride, s.dilation, s.before, s.after, ceil=s.ceil and s.before < s.reach))  # fmt: skip
scattered = st.builds(
    Slide, st.integers(1, 4), st.integers(1, 3), st.integers(1, 2), before=st.integers(0, 3), after=st.integers(0, 3),
    transposed=st.just(True),
)  # fmt: skip
same = st.builds(lambda k, d, b: Slide(k, 1, d, min(b, (k - 1) * d), (k - 1) * d - min(b, (k - 1) * d)), st.integers(1, 4),
                 st.integers(1, 3), st.integers(0, 9))  # fmt: skip
forks = st.lists(st.lists(same, max_size=2), min_size=1, max_size=3).map(lambda branches: fork(*branches))
dense = st.lists(st.tuples(same, st.booleans(), st.booleans()), min_size=1, max_size=4).map(lambda layers: skipping(layers))
stacks = st.lists(st.one_of(slides, scattered, forks, dense), min_size=1, max_size=4).map(lambda parts: Net.row(*parts))


def fork(*branches: list[Slide]) -> Net:
    """Branches of one input, joined."""
    net, ends = Net(), []
    for branch in branches:
        end = 0
        for part in branch:
            net, end = net.then(part, end), len(net.parts) + 1
        ends.append(end)
    return net.then(Slide(), *ends)


def skipping(layers: list[tuple[Slide, bool, bool]]) -> Net:
    """Layers of which each may get its input added, and all may be added at the end: not series and parallel."""
    net, end, skips = Net(), 0, []
    for part, residual, skips_on in layers:
        net = net.then(part, end)
        made = len(net.parts)
        if skips_on:
            skips.append(made)
        net, end = (net.then(Slide(), made, end), made + 1) if residual else (net, made)
    return net.then(Slide(), end, *skips)


def seen(part: Part, sets: list[frozenset[int]]) -> list[frozenset[int]]:
    """What every output sees, by the definition: sets of the positions that each of its inputs sees."""
    if isinstance(part, Net):
        values = [sets]
        for each, places in zip(part.parts, part.sources):
            values.append(seen(each, [frozenset().union(*found) for found in zip(*(values[place] for place in places))]))
        return values[-1]
    n, nothing = len(sets), frozenset[int]()
    outputs = [nothing] * part.length(n)
    for o, tap in itertools.product(range(len(outputs)), range(part.kernel)):
        at = o + part.before - tap * part.dilation
        i, rest = divmod(at, part.stride) if part.transposed else (o * part.stride - part.before + tap * part.dilation, 0)
        if not rest and 0 <= i < n:
            outputs[o] |= sets[i]
    return outputs


def probe(part: Part, n: int) -> list[frozenset[int]]:
    return seen(part, [frozenset((i,)) for i in range(n)])


def windows_only(part: Part) -> bool:
    return all(map(windows_only, part.parts)) if isinstance(part, Net) else not part.transposed


@settings(max_examples=300, deadline=None)
@given(stacks, st.integers(1, 40))
def test_an_output_changes_with_what_it_needs(stack: Net, n: int) -> None:
    found = probe(stack, n)
    assert len(found) == stack.length(n)
    for o, inputs in enumerate(found):
        low, high = stack.needs(o, o + 1)
        assert all(low <= i < high for i in inputs), "an input outside of what is needed"
    for first, end in ((0, len(found)), (len(found) // 3, 2 * len(found) // 3)):
        low, high = stack.needs(first, end)
        assert all(low <= i < high for inputs in found[first:end] for i in inputs)


@settings(max_examples=200, deadline=None)
@given(st.lists(slides, min_size=1, max_size=4).map(lambda parts: Net.row(*parts)))
def test_what_is_needed_is_seen(stack: Net) -> None:
    """Far from the ends, both ends of the interval change the output, where layers only slide."""
    n = stack.grid * 8 + sum(halo.context(stack)) + 60
    found = probe(stack, n)
    for o in range(len(found)):
        low, high = stack.needs(o, o + 1)
        if low >= 40 and high <= n - 40:
            assert low in found[o] and high - 1 in found[o]


@settings(max_examples=300, deadline=None)
@given(stacks, st.integers(0, 40), st.integers(0, 30))
def test_what_is_ready_does_not_change(stack: Net, n: int, more: int) -> None:
    """What the first inputs decide sees no later ones and exists however the input goes on; the next output is not decided."""
    count = stack.ready(n)
    assert count <= stack.ready(n + more)
    for longer in (n, n + more):
        assert count <= stack.length(longer) or longer == 0
        for inputs in probe(stack, longer)[:count]:
            assert all(i < n for i in inputs)


@settings(max_examples=200, deadline=None)
@given(stacks)
def test_until_is_when_it_gets_ready(stack: Net) -> None:
    at = {}
    for n in range(200):
        for o in range(len(at), stack.ready(n)):
            at[o] = n
    settled = {o: n for o, n in at.items() if n > 100}  # where padding before plays no part any more
    for o, n in settled.items():
        assert n == stack.until(o)
    late = [n - 1 - math.floor(o / stack.ratio) for o, n in settled.items()]
    assert not late or max(*late, 0) == halo.latency(stack)


@settings(max_examples=200, deadline=None)
@given(stacks)
def test_everything_repeats_on_the_grid(stack: Net) -> None:
    grid, ratio = stack.grid, stack.ratio
    assert (grid * ratio).denominator == 1
    low, high = stack.needs(0, 3)
    if low < high:
        moved = stack.needs(int(grid * ratio), int(grid * ratio) + 3)
        assert moved == (low + grid, high + grid)


def test_branches_wait_for_the_slowest() -> None:
    three = fork([Slide(5, before=2, after=2)], [], [Slide(9, before=8)])
    assert three.delays(2) == (0, 2, 2)
    assert halo.latency(three) == 2 and halo.context(three) == (8, 2)
    down = fork([Slide(2, 2)], [Slide(4, 2, before=1, after=1)])
    assert (down.ratio, down.grid, down.delays(2)) == (Fraction(1, 2), 2, (1, 0))


def test_branches_of_unequal_ratios_are_refused() -> None:
    with pytest.raises(ProblemError, match="1/2 and 1 outputs per input"):
        fork([Slide(2, 2)], []).check()


def test_many_residual_connections_take_time_by_their_number() -> None:
    """Each walk over branches by themselves took twice as long with every connection more."""
    net = skipping([(Slide(3, before=1, after=1), True, True)] * 200)
    assert net.ready(1000) == 800 and net.needs(500, 501) == (300, 701) and net.until(500) == 701


@settings(max_examples=100, deadline=None)
@given(st.lists(slides, min_size=1, max_size=4))
def test_fields_are_what_needs_says(parts: list[Slide]) -> None:
    for count, field in enumerate(halo.fields(tuple(parts)), 1):
        stack = Net.row(*parts[:count])
        low, high = stack.needs(0, 1)
        assert (field.start, field.size, field.stride) == (low, high - low, 1 / stack.ratio)


def test_crepe_as_published() -> None:
    """Six layers of stride 4·2^6 on frames of 1024: J. W. Kim et al., ICASSP 2018, arXiv 1802.06182; taps as in marl/crepe's core.py."""
    taps = (512, 64, 64, 64, 64, 64)
    layers = [part for i, k in enumerate(taps) for part in (Slide(k, 4 if i == 0 else 1), Slide(2, 2))]
    stack = Net.row(*layers)
    assert stack.ratio == Fraction(1, 256)
    assert np.diff(stack.needs(0, 1))[0] == list(halo.fields(tuple(layers)))[-1].size


def test_examples_in_docstrings() -> None:
    assert doctest.testmod(halo).failed == 0
