"""Products of changing matrices against NumPy: edges of tiles, deep sums, strides of all kinds, one thread and two."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kernels.primitives.matrix_product import After, MatrixProduct, MatrixStrides, _shares

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


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("activation", [None, ("relu", 0.0), ("leaky_relu", 0.2), ("relu6", 0.0), ("tanh", 0.0)])
@pytest.mark.parametrize("rows, depth, columns", [(109, 192, 100), (3, 1200, 77), (1000, 5, 16)])
def test_constant_matrices(rows: int, depth: int, columns: int, activation: tuple[str, float] | None, dtype: Any) -> None:
    rng = np.random.default_rng(0)
    x, w, bias = (rng.standard_normal(shape).astype(dtype) for shape in ((rows, depth), (depth, columns), columns))
    wanted = x.astype(np.float64) @ w.astype(np.float64) + bias
    largest = np.abs(wanted).max()
    if activation:
        name, slope = activation
        limited = {"relu": (0, None), "relu6": (0, 6)}
        if name in limited:
            wanted = wanted.clip(*limited[name])
        else:
            wanted = np.tanh(wanted) if name == "tanh" else np.maximum(wanted, slope * wanted)
    y = np.full((rows, columns), np.nan, dtype)
    found = MatrixProduct(y.dtype, rows, depth, columns, MatrixStrides(depth, 1, 1, columns), [(0, 0, 0)], 2, After(w, bias, activation))
    assert found.scratch_bytes == 0
    found.bind(x, None, y, np.empty(0, np.uint8))()
    np.testing.assert_allclose(y, wanted, atol=4 * depth * np.finfo(dtype).eps * largest)


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("rows, depth, columns", [(21, 40, 100), (10, 1100, 50)])
def test_with_a_matrix_that_is_added(rows: int, depth: int, columns: int, own: bool) -> None:
    """own: what is added lies where y will; a bias is added too, once where sums are taken in pieces."""
    rng = np.random.default_rng(0)
    x, w, bias, r = (rng.standard_normal(shape).astype(np.float32) for shape in ((rows, depth), (depth, columns), columns, (rows, columns)))
    wanted = x.astype(np.float64) @ w.astype(np.float64) + bias + r
    y = r if own else np.full((rows, columns), np.nan, np.float32)
    strides = MatrixStrides(depth, 1, 1, columns, columns)
    found = MatrixProduct(y.dtype, rows, depth, columns, strides, [(0, 0, 0)], 2, After(w, bias, ("relu", 0.0)))
    found.bind(x, None, y, np.empty(0, np.uint8), r)()
    np.testing.assert_allclose(y, wanted.clip(0), atol=4 * depth * np.finfo(np.float32).eps * np.abs(wanted).max())


@pytest.mark.parametrize("taps, stride, dilation, channels", [(3, 2, 1, 20), (2, 1, 7, 5), (4, 3, 2, 700)])
def test_rows_that_overlap(taps: int, stride: int, dilation: int, channels: int) -> None:
    """A convolution over channels last: pieces are taps."""
    rng, columns, rows = np.random.default_rng(0), 33, 50
    x = rng.standard_normal((stride * (rows - 1) + dilation * (taps - 1) + 1, channels)).astype(np.float32)
    w = rng.standard_normal((taps, channels, columns)).astype(np.float32)
    wanted = sum(x[k * dilation :][: stride * (rows - 1) + 1 : stride].astype(np.float64) @ w[k] for k in range(taps))
    after = After(w.reshape(-1, columns), pieces=[(k * dilation * channels, channels) for k in range(taps)])
    y = np.full((rows, columns), np.nan, np.float32)
    strides = MatrixStrides(stride * channels, 1, 1, columns)
    MatrixProduct(y.dtype, rows, taps * channels, columns, strides, [(0, 0, 0)], 2, after).bind(x, None, y, np.empty(0, np.uint8))()
    np.testing.assert_allclose(y, wanted, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.parametrize(
    "tiles, panels, most, count", [(63, 32, 3, 1), (32, 22, 5, 1), (1, 1, 1, 1), (14, 3, 3, 3), (2000, 1, 1, 1), (1, 300, 40, 1)]
)
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_shares_leave_no_thread_waiting(tiles: int, panels: int, most: int, count: int, threads: int) -> None:
    at_once, high = _shares(tiles, panels, most, count, threads, 2000.0, 0.0)
    assert 1 <= at_once <= most and 1 <= high <= tiles
    tasks = count * -(-panels // at_once) * -(-tiles // high)
    if threads > 1 and count * tiles * panels >= 100 * threads:  # where there is enough to share out
        assert -(-tasks // threads) * at_once * high * threads <= 1.1 * count * tiles * panels
