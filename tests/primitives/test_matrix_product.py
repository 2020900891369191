"""Products of changing matrices against NumPy: edges of tiles, deep sums, strides of all kinds, one thread and two."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kernels.primitives.matrix_product import MatrixProduct, MatrixStrides

CASES = [(3, 109, 64, 109), (1, 1, 1, 1), (2, 9, 1100, 50), (1, 700, 33, 1), (5, 3, 7, 300)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("turned", [False, True, None])
@pytest.mark.parametrize("count, rows, depth, columns", CASES)
def test_against_numpy(count: int, rows: int, depth: int, columns: int, turned: bool | None, threads: int, dtype: Any) -> None:
    """turned: b's columns are contiguous; None: neither rows nor columns."""
    rng = np.random.default_rng(0)
    a = rng.standard_normal((count, rows, depth + 3)).astype(dtype)[..., :depth]
    if turned is None:
        b = rng.standard_normal((count, depth, columns, 2)).astype(dtype)[..., 0]
    else:
        b = rng.standard_normal((count, columns, depth) if turned else (count, depth, columns)).astype(dtype)
        b = b.swapaxes(1, 2) if turned else b
    y = np.full((count, rows, columns + 1), np.nan, dtype)
    size = y.itemsize
    strides = MatrixStrides(a.strides[1] // size, b.strides[1] // size, b.strides[2] // size, columns + 1)
    places = [tuple(i * each.strides[0] // size for each in (a, b, y)) for i in range(count)]
    found = MatrixProduct(np.dtype(dtype), rows, depth, columns, strides, places, threads)
    scratch = np.full(found.scratch_bytes, 255, np.uint8)
    found.bind(a, b, y, scratch)()
    wanted = a.astype(np.float64) @ b.astype(np.float64)
    np.testing.assert_allclose(y[..., :columns], wanted, atol=4 * depth * np.finfo(dtype).eps * np.abs(wanted).max())
    assert np.isnan(y[..., columns]).all()
