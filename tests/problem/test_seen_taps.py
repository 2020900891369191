"""Taps that see only padding: what is left computes the same, and no tap is left that could go."""

from __future__ import annotations

import hypothesis
import hypothesis.strategies as st
import numpy as np
import reference

from kernels.problem.conv import Conv
from kernels.problem.seen_taps import seen


@st.composite
def axes(draw: st.DrawFn) -> tuple[int, int, int, tuple[int, int], int]:
    """Size, kernel, stride, padding and dilation of an axis on which the kernel often reaches past both ends."""
    n, k, d = draw(st.integers(1, 6)), draw(st.integers(1, 6)), draw(st.integers(1, 8))
    reach = (k - 1) * d
    before = draw(st.integers(0, reach + 2))
    after = draw(st.integers(max(0, reach + 1 - n - before), reach + 2))
    return n, k, draw(st.integers(1, 4)), (before, after), d


@st.composite
def short(draw: st.DrawFn) -> Conv:
    size, kernel, stride, padding, dilation = zip(*[draw(axes()) for _ in range(draw(st.integers(2, 3)))])
    return Conv(f"conv{len(size)}d", 1, 2, size, kernel, stride, padding, dilation, "float64", c_out=2, groups=draw(st.integers(1, 2)))


def by_definition(problem: Conv, x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return reference.conv(x, weight, None, problem.stride, problem.padding, problem.dilation, problem.groups)


@hypothesis.given(short(), st.integers(0, 2**32 - 1))
def test_the_same_sums(problem: Conv, seed: int) -> None:
    draw = np.random.default_rng(seed)
    x, weight = draw.integers(-9, 9, problem.x_shape), draw.integers(-9, 9, problem.weight_shape)
    less, taps = seen(problem)
    assert (less.x_shape, less.conv_shape) == (problem.x_shape, problem.conv_shape)
    some = weight[(..., *(slice(*pair) for pair in taps))]
    assert some.shape == less.weight_shape
    np.testing.assert_array_equal(by_definition(less, x, some), by_definition(problem, x, weight))


@hypothesis.given(short())
def test_nothing_is_left_to_take(problem: Conv) -> None:
    less, _ = seen(problem)
    assert seen(less)[0] is less
    for n, k, s, pair, d in zip(less.size, less.kernel, less.stride, less.padding, less.dilation):
        for tap, padding in ((0, pair[0]), (k - 1, pair[1])):
            weight = np.zeros((1, 1, k))
            weight[..., tap] = 1
            sums = reference.conv(np.ones((1, 1, n)), weight, None, (s,), (pair,), (d,), 1)
            assert k == 1 or padding < d or sums.any()
