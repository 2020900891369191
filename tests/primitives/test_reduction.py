"""Reductions against NumPy: along and across lines, tails, NaN, infinities, factors, threads."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.primitives.reduction import reduction


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["sum", "max", "min"])
@pytest.mark.parametrize(
    "outer, length, inner", [(1, 1, 1), (3, 7, 1), (5, 1000, 1), (1, 65, 1), (40, 3, 50), (2, 100, 7), (1, 9, 5000), (700, 65, 1)]
)
def test_against_numpy(outer: int, length: int, inner: int, kind: str, dtype: type) -> None:
    x = np.random.default_rng(0).standard_normal((outer, length, inner)).astype(dtype)
    y = np.full((outer, inner), np.nan, dtype)
    reduction(kind, np.dtype(dtype), outer, length, inner, 0.25, 2)(x, y)
    wanted = getattr(np, kind)(x.astype(np.float64), 1) * 0.25
    np.testing.assert_allclose(y, wanted, rtol=0, atol=np.finfo(dtype).eps * length)


@pytest.mark.parametrize("inner", [1, 3])
@pytest.mark.parametrize("kind", ["sum", "max", "min"])
@pytest.mark.parametrize("place", [0, 50, 100])
def test_nan_and_infinity(kind: str, inner: int, place: int) -> None:
    x = np.zeros((2, 101, inner), np.float32)
    x[0, place], x[1, place] = np.nan, -np.inf
    y = np.empty((2, inner), np.float32)
    reduction(kind, np.dtype(np.float32), 2, 101, inner, 1.0, 1)(x, y)
    assert np.isnan(y[0]).all()
    np.testing.assert_array_equal(y[1], 0 if kind == "max" else -np.inf)
