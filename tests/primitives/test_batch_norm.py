"""Batch norm in training against its definition in float64: one image and many, channels shorter than a vector and of many pieces, means
far from zero; the same bits whatever the threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kernels.primitives.batch_norm import STATS, gradient, normalise
from kernels.runtime.machine import machine, pretend

SHAPES = [(1, 3, 2), (2, 1, 7), (5, 4, 33), (3, 6, 4096), (2, 3, 9001), (4, 17, 64)]
EPSILON = 1e-3


def computed(
    shape: tuple[int, int, int], dtype: Any, threads: int, rectified: bool = False
) -> tuple[list[np.ndarray], list[np.ndarray], list[float]]:  # fmt: skip
    """(what ours gives: y, mean, 1 / deviation, variance, gradients of x, bias and weight; the same in wider numbers; how large what is
    summed for each is, times what the rounding of the mean grows by)."""
    draw = np.random.default_rng(0)
    x, grad = (draw.standard_normal((2, *shape)) * 2 + 30).astype(dtype)
    weight, bias = draw.standard_normal((2, shape[1])).astype(dtype)
    y, of_x = (np.full(shape, np.nan, dtype) for _ in range(2))
    stats, sums = np.full((STATS, shape[1]), np.nan, dtype), np.full((2, shape[1]), np.nan, dtype)
    before = x.copy(), grad.copy()
    normalise(x, weight, bias, EPSILON, threads, y, stats, rectified)
    gradient(x, weight, stats, grad, threads, of_x, sums, rectified)
    assert np.array_equal(x, before[0]) and np.array_equal(grad, before[1])
    exact, of_y, gamma = (each.astype(np.longdouble) for each in (x, grad, weight))
    mean, variance = exact.mean((0, 2)), exact.var((0, 2))
    inverse = 1 / np.sqrt(variance + EPSILON)
    normal = (exact - mean[:, None]) * inverse[:, None]
    plain = normal * gamma[:, None] + bias[:, None]
    if rectified:  # by what ours computed, whose signs near zero are its own
        opened = (x - stats[0, :, None]) * stats[3, :, None] + stats[4, :, None] > 0
        assert np.abs(plain[opened != (plain > 0)]).max(initial=0) <= 100 * np.finfo(dtype).eps * np.abs(plain).max()
        plain, of_y = np.maximum(plain, 0), of_y * opened
    of_bias, of_weight = of_y.sum((0, 2)), (of_y * normal).sum((0, 2))
    count = shape[0] * shape[2]
    expected = (gamma * inverse)[:, None] * (of_y - of_bias[:, None] / count - normal * of_weight[:, None] / count)
    wanted = [plain, mean, inverse, variance, expected, of_bias, of_weight]
    grows = 1 + np.abs(mean * inverse).max()
    summed = np.abs(of_y).sum((0, 2)).max()
    sizes = [np.abs(wanted[0]).max(), np.abs(mean).max(), inverse.max(), (np.abs(mean) * variance**0.5 + variance).max()]
    sizes += [np.abs(gamma * inverse).max() * np.abs(of_y).max() * grows, summed, summed * grows]
    return [y, *stats[:3], of_x, *sums], wanted, [float(size) for size in sizes]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("vector_bytes", [16, 32, 64])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rectified", [False, True])
def test_against_the_definition(rectified: bool, shape: tuple[int, int, int], vector_bytes: int, dtype: Any) -> None:
    if vector_bytes > machine().vector_bytes:
        pytest.skip("this machine has no vectors so wide")
    with pretend(vector_bytes=vector_bytes):
        found, wanted, sizes = computed(shape, dtype, 2, rectified)
    for mine, exact, size in zip(found, wanted, sizes):
        assert np.abs(mine - exact).max() <= 8 * np.finfo(dtype).eps * size


@pytest.mark.parametrize("shape", [(3, 6, 4096), (4, 17, 64)])
@pytest.mark.parametrize("rectified", [False, True])
def test_the_same_bits_whatever_the_threads(rectified: bool, shape: tuple[int, int, int]) -> None:
    for one, two in zip(computed(shape, np.float32, 1, rectified)[0], computed(shape, np.float32, 2, rectified)[0]):
        assert np.array_equal(one, two)


@pytest.mark.parametrize("dtype, number", [(np.float32, 1e6 + 0.3), (np.float32, 3e9), (np.float64, 1e15 / 3)])
def test_a_channel_of_equal_numbers(dtype: Any, number: float) -> None:
    """Its variance is what the mean is rounded by, and never below zero."""
    x, ones = np.full((3, 1, 5001), number, dtype), np.ones(1, dtype)
    y, stats = np.empty_like(x), np.empty((STATS, 1), dtype)
    normalise(x, ones, 7 * ones, 1e-5, 2, y, stats)
    assert 0 <= stats[2, 0] <= (16 * np.spacing(x[0, 0, 0])) ** 2 and np.isfinite(stats).all() and np.isfinite(y).all()


def test_a_closed_unit_has_no_gradient_whatever_comes() -> None:
    """Infinite or no numbers at all: 0; units that hold no number stay open."""
    x = np.array([[[-2.0, -1.0, 1.0, 2.0]]], np.float32)
    ones, stats, y, of_x, sums = np.ones(1, np.float32), np.empty((STATS, 1), np.float32), x.copy(), x.copy(), np.empty((2, 1), np.float32)
    normalise(x, ones, 0 * ones, EPSILON, 1, y, stats, True)
    assert (y[0, 0] == 0).tolist() == [True, True, False, False]
    gradient(x, ones, stats, np.array([[[np.inf, np.nan, 1.0, 1.0]]], np.float32), 1, of_x, sums, True)
    assert sums[0, 0] == 2 and np.isfinite(of_x).all()
