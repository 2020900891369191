"""Resampling along an axis against NumPy: behind it many numbers, few, none; one tap and several; threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kernels.primitives.resample import resample

CASES = [
    (1, 3, 7, 1), (50, 16, 33, 1), (1000, 64, 128, 1), (9, 5, 3, 1), (20, 5000, 7000, 1), (3, 5, 4, 2), (4, 9, 20, 300), (1, 1, 6, 17),
    (30, 11, 23, 9), (1, 400, 700, 130),
]  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("taps", [1, 2, 4])
@pytest.mark.parametrize("outer, n, m, inner", CASES)
def test_against_numpy(outer: int, n: int, m: int, inner: int, taps: int, dtype: Any) -> None:
    rng = np.random.default_rng(0)
    inputs, weights = rng.integers(0, n, (m, taps)), rng.standard_normal((m, taps))
    x, y = rng.standard_normal((outer, n, inner)).astype(dtype), np.full((outer, m, inner), np.nan, dtype)
    resample(np.dtype(dtype), outer, n, inner, inputs, weights, 2)(x, y)
    wanted = sum(x[:, inputs[:, k]].astype(np.float64) * weights[:, k, None] for k in range(taps))
    np.testing.assert_allclose(y, wanted, atol=20 * np.finfo(dtype).eps)


@pytest.mark.parametrize("outer, n, m", [(33, 3000, 6000), (17, 9000, 5001), (64, 2500, 2501)])
def test_pieces_of_long_rows(outer: int, n: int, m: int) -> None:
    """As a Resize has them: inputs in order, so that a piece of the outputs needs a piece of the inputs."""
    rng, places = np.random.default_rng(0), np.arange(m) * (n - 1) / m
    inputs, weights = np.floor(places).astype(int)[:, None] + np.arange(2), rng.standard_normal((m, 2))
    x, y = rng.standard_normal((outer, n, 1)).astype(np.float32), np.full((outer, m, 1), np.nan, np.float32)
    resample(x.dtype, outer, n, 1, inputs, weights, 2)(x, y)
    np.testing.assert_allclose(y, x[:, inputs[:, 0]] * weights[:, :1] + x[:, inputs[:, 1]] * weights[:, 1:], atol=1e-5)
