"""Softmax and layer norms by rows against float64: tails, threads, in place, large and infinite numbers, numbers far from zero."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kernels.primitives.layer_norm import layer_norm
from kernels.primitives.softmax import softmax

SHAPES = [(1, 1), (7, 5), (3, 16), (5, 33), (64, 109), (300, 257), (1, 4096), (2, 10_007)]


def soft(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(1, keepdims=True))
    return np.asarray(e / e.sum(1, keepdims=True))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("in_place", [False, True])
def test_softmax(shape: tuple[int, int], threads: int, dtype: Any, in_place: bool) -> None:
    x = (20 * np.random.default_rng(0).standard_normal(shape)).astype(dtype)
    before = x.copy()
    y = x if in_place else np.full(shape, np.nan, dtype)
    softmax(x.dtype, *shape, 0.125, threads)(x, y)()
    np.testing.assert_allclose(y, soft(before.astype(np.float64) * 0.125), rtol=40 * np.finfo(dtype).eps, atol=1e-37)
    assert in_place or np.array_equal(x, before)


def test_softmax_of_extremes() -> None:
    x = np.full((4, 20), -np.inf, np.float32)
    x[0, 3] = 3e38
    x[1, :] = np.linspace(-3e38, 3e38, 20)
    x[2, 5:9] = -1e4
    x[3, 19] = np.nan
    y = np.empty_like(x)
    softmax(x.dtype, 4, 20, 1.0, 1)(x, y)()
    assert y[0].tolist() == [float(i == 3) for i in range(20)]
    assert y[1].tolist() == [float(i == 19) for i in range(20)]
    assert y[2].tolist() == [0.25 if 5 <= i < 9 else 0.0 for i in range(20)]
    assert np.isnan(y[3]).all()


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape[1] > 1])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("affine", ["", "gamma", "beta", "gamma beta"])
@pytest.mark.parametrize("in_place", [False, True])
def test_layer_norm(shape: tuple[int, int], threads: int, dtype: Any, affine: str, in_place: bool) -> None:
    rng = np.random.default_rng(0)
    x = (50 + rng.standard_normal(shape)).astype(dtype)
    before = x.astype(np.float64)
    gamma, beta = (rng.standard_normal(shape[1]).astype(dtype) if name in affine else None for name in ("gamma", "beta"))
    y = x if in_place else np.full(shape, np.nan, dtype)
    layer_norm(x.dtype, *shape, 1e-5, threads, gamma, beta)(x, y)()
    wanted = (before - before.mean(1, keepdims=True)) / np.sqrt(before.var(1, keepdims=True) + 1e-5)
    wanted = wanted * (1 if gamma is None else gamma) + (0 if beta is None else beta)
    np.testing.assert_allclose(y, wanted, atol=2000 * np.finfo(dtype).eps)


def test_layer_norm_of_equal_numbers_is_beta() -> None:
    x, beta = np.full((3, 21), 7.25, np.float32), np.arange(21, dtype=np.float32)
    y = np.empty_like(x)
    layer_norm(x.dtype, 3, 21, 1e-5, 1, None, beta)(x, y)()
    assert np.array_equal(y, np.tile(beta, (3, 1)))
