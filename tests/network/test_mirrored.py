"""Rows that are even or odd about a position: what is found, and that half the weights make the same products."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.network.mirrored import mirrored

Array = np.ndarray


def transform(taps: int, periodic: bool, *, window: bool = True, first: int = 0) -> Array:
    """Cosines, then sines, of a real transform under a window, about taps / 2 (periodic) or the middle."""
    n, k = np.arange(taps) - (0 if periodic else (taps - 1) / 2), np.arange(first, taps // 2 + 1)[:, None]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(taps) / (taps if periodic else taps - 1)) if window else np.ones(taps)
    return np.concatenate([np.cos(2 * np.pi * k * n / taps), np.sin(2 * np.pi * k * n / taps)]) * hann


def product(weight: Array, x: Array) -> Array:
    """weight @ x by way of folded positions."""
    found = mirrored(weight)
    assert found is not None
    left = x[found.first : found.first + found.pairs]
    right = np.array([x[found.total - i] for i in range(found.first, found.first + found.pairs)])
    even, odd = np.concatenate([x[list(found.singles)], left + right]), left - right
    y = np.full(len(weight), np.nan)
    for run in found.runs:
        y[run.start : run.stop] = run.weight @ (odd if run.odd else even)
    return y


@pytest.mark.parametrize("window", [True, False])
@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("taps", [3, 4, 16, 17, 128])
def test_transforms_are_folded(taps: int, periodic: bool, window: bool) -> None:
    weight = transform(taps, periodic, window=window)
    x = np.random.default_rng(taps).standard_normal(taps)
    np.testing.assert_allclose(product(weight, x), weight @ x, atol=1e-9 * taps)
    assert len(mirrored(weight).runs) <= 2


def test_half_of_the_weights_are_left() -> None:
    found = mirrored(transform(64, True))
    assert found is not None and [run.weight.shape[1] for run in found.runs] == [32, 31]
    assert [run.odd for run in found.runs] == [False, True]
    assert [found.runs[0].start, found.runs[-1].stop] == [0, 66]


def test_weights_that_are_rounded_apart() -> None:
    """float32 rounds cosines whose arguments were rounded in float64 to neighbours now and then."""
    weight = transform(1024, True).astype(np.float32)
    left, right = weight[:, 1:512], weight[:, :512:-1]
    assert (np.abs(left) != np.abs(right)).any() and len(mirrored(weight).runs) == 2
    weight = np.ones((4, 16), np.float32)
    weight[1, 3] += 3e-7  # three roundings
    assert mirrored(weight) is None


def test_rows_of_nothing_go_with_their_neighbours() -> None:
    weight = transform(32, True)
    weight[17] = 0  # sines of no frequency
    weight[-1] = 1e-14 * np.random.default_rng(0).standard_normal(32)  # what is left of sines of the highest
    found = mirrored(weight)
    assert found is not None and len(found.runs) == 2


@pytest.mark.parametrize("case", ["random", "one weight", "quiet row", "many runs", "infinite", "first sample"])
def test_what_is_not_mirrored(case: str) -> None:
    rng, weight = np.random.default_rng(0), transform(32, True)
    if case == "random":
        weight = rng.standard_normal((8, 32))
    elif case == "one weight":
        weight[3, 5] += 1e-8
    elif case == "quiet row":  # it is weights, not rounding
        weight[3] = 1e-6 * rng.standard_normal(32)
    elif case == "many runs":
        weight = weight.reshape(2, 17, 32).swapaxes(0, 1).reshape(34, 32)
    elif case == "infinite":
        weight[0] = np.inf
    else:
        weight[20, 0] = 0.1  # odd, but for a sample that nothing mirrors
    assert mirrored(weight) is None
