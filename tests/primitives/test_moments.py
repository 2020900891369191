"""Means and deviations against NumPy: groups of one piece and of many, lines, repeats and factors, means far from zero."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kernels.primitives.moments import moments


def found(x: np.ndarray, threads: int, repeat: int = 1, factors: Any = None) -> tuple[np.ndarray, np.ndarray]:
    groups, length, inner = x.shape
    bind, scratch_bytes = moments(x.dtype, groups, length, inner, 1e-5, threads, repeat, factors)
    mean, scale = (np.full((groups * repeat, inner), np.nan, x.dtype) for _ in range(2))
    bind(x, mean, scale, np.full(scratch_bytes, 255, np.uint8))()
    return mean, scale


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    "groups, length, inner", [(1, 100_003, 1), (7, 5, 1), (64, 4097, 1), (3, 1, 1), (2, 33, 17), (1, 256, 3000), (5, 1, 2)]
)
def test_against_numpy(groups: int, length: int, inner: int, threads: int, dtype: Any) -> None:
    x = (50 + np.random.default_rng(0).standard_normal((groups, length, inner))).astype(dtype)
    mean, scale = found(x, threads)
    exact = x.astype(np.float64)
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(mean, exact.mean(1), rtol=20 * eps)
    np.testing.assert_allclose(scale, 1 / np.sqrt(exact.var(1) + 1e-5), rtol=3000 * eps)


def test_repeats_and_factors() -> None:
    x, factors = np.random.default_rng(0).standard_normal((6, 5000, 1)).astype(np.float32), np.arange(1, 7, dtype=np.float32)
    mean, scale = found(x, 2, repeat=2, factors=factors)
    np.testing.assert_allclose(mean[:, 0], np.repeat(x.mean(1)[:, 0], 2), atol=1e-6)
    np.testing.assert_allclose(scale[:, 0], np.repeat(1 / np.sqrt(x.var(1)[:, 0] + 1e-5), 2) * np.tile(factors, 2), rtol=1e-5)
