"""Every micro-kernel by its own contract: lanes 4, 8 and 16, each edge a mask can take, nothing written outside."""

from __future__ import annotations

import itertools
import struct

import numpy as np
import pytest
from memory import Guarded, given
from micro_kernels import Array, at, invoke, numbers, words

from kernels.methods.direct import pack_input
from kernels.methods.fft import codelets, complex_gemm_tile
from kernels.methods.fft.passes import pairs, pass_tables
from kernels.methods.pooling import planes_in_lanes, strips
from kernels.primitives import gemm_tile, gemm_tile_oc, lines, pool_window, transpose
from kernels.primitives.packed_layout import ONE_BY_ONE, TRANSPOSED
from kernels.primitives.register_post_ops import ACTIVATIONS
from kernels.problem.window import dilated
from kernels.runtime.machine import pretend


@words
@pytest.mark.parametrize(("m", "n", "of_rows"), [(1, 8, False), (6, 4, False), (14, 2, False), (1, 1, True), (8, 3, True)])
def test_gemm_tile(m: int, n: int, of_rows: bool, lanes: int, dtype: str) -> None:
    """Two rows of outputs in one tile, their last vectors full or short; taps in turns of three and the rest; sums begun and resumed;
    all taps at once or two by two;
    weights packed, or as given, where the other weights of a row follow."""
    size = np.dtype(dtype).itemsize
    address = (gemm_tile.tile_of_rows if of_rows else gemm_tile.tile)(m, n, lanes, size)
    y_row = n * lanes + 5
    for (k, kc), last, resumed in itertools.product(((1, 1), (3, 3), (7, 7), (7, 2)), (1, lanes - 1, lanes), (False, True)):
        x = given(numbers(k * 3 + n * lanes, dtype=dtype))
        a, bias, scale, shift = (numbers(*shape, dtype=dtype, seed=seed) for seed, shape in enumerate(((k, m), (m,), (m,), (m,)), 1))
        offsets = np.append(np.arange(k) * 3, np.zeros(gemm_tile.AHEAD)).astype(np.int64)
        counts = [last if q == n - 1 else lanes for q in range(n)]
        entries = np.array([(q * lanes, q * lanes, count) for q, count in enumerate(counts)], np.int64)
        y = Guarded((m, y_row), dtype)
        before = numbers(m, y_row, dtype=dtype, seed=9)
        y.array[...] = before if resumed else np.nan
        stage = gemm_tile.LAST + (0 if resumed else gemm_tile.FROM_BIAS)
        slope = struct.unpack("q", struct.pack("d", 0.5))[0]
        finish = at(bias), at(scale), at(shift), ACTIVATIONS["leaky_relu"], slope
        rows = np.ascontiguousarray(np.pad(a.T, ((0, 0), (0, 2)), constant_values=np.nan))
        weights, step = (rows, rows.strides[0]) if of_rows else (a, 0)
        place = at(weights), at(x.array), at(offsets), at(y.array), y_row, at(entries), stage
        invoke(address, m, n, lanes, size, k, kc, *place, *finish, 1, 0, 0, 0, step)

        columns = (n - 1) * lanes + last
        windows = np.stack([x.array[t * 3 : t * 3 + columns] for t in range(k)])
        sums = (before[:, :columns] if resumed else bias[:, None]) + a.T @ windows
        scaled = sums * scale[:, None] + shift[:, None]
        np.testing.assert_array_equal(y.array[:, :columns], np.where(scaled < 0, 0.5 * scaled, scaled))
        untouched = y.array[:, columns:]
        np.testing.assert_array_equal(untouched, before[:, columns:] if resumed else np.full_like(untouched, np.nan))
        assert y.zones_untouched()
        assert x.unchanged()


@words
@pytest.mark.parametrize("along", ["channels", "rows", "vectors"])
def test_gemm_tiles_in_one_call(along: str, lanes: int, dtype: str) -> None:
    """Three tiles one after the other: each with weights (packed, or rows as given) and rows of outputs of its own, or with vectors."""
    size, m, n, k, times = np.dtype(dtype).itemsize, 3, 2, 4, 3
    a, x = numbers(times, k, m, dtype=dtype), numbers(k, times * n * lanes, dtype=dtype, seed=1)
    offsets = np.append(np.arange(k) * x.shape[1], np.zeros(gemm_tile.AHEAD)).astype(np.int64)
    entries = np.array([(q * lanes, q * lanes, lanes) for q in range(times * n)], np.int64)
    weights, address = a, gemm_tile.tile(m, n, lanes, size)
    if along == "vectors":
        y, steps = Guarded((m, times * n * lanes), dtype), (0, 0, n * entries[0].nbytes, 0)
        expected = a[0].T @ x
    else:
        y, steps = Guarded((times * m, n * lanes), dtype), (a[0].nbytes, m * n * lanes * size, 0, 0)
        expected = np.concatenate([part.T @ x[:, : n * lanes] for part in a])
    if along == "rows":
        rows = a.swapaxes(1, 2).reshape(times * m, k)
        weights = np.ascontiguousarray(np.pad(rows, ((0, 0), (0, 2)), constant_values=np.nan))
        address, steps = gemm_tile.tile_of_rows(m, n, lanes, size), (m * weights.strides[0], *steps[1:3], weights.strides[0])
    place = at(weights), at(x), at(offsets), at(y.array), y.array.shape[1], at(entries), gemm_tile.FROM_BIAS + gemm_tile.LAST
    invoke(address, m, n, lanes, size, k, k, *place, 0, 0, 0, 0, 0, times, *steps)
    np.testing.assert_array_equal(y.array, expected)
    assert y.zones_untouched()


@words
@pytest.mark.parametrize(("packed", "blocked"), [(True, False), (True, True), (False, False)])
@pytest.mark.parametrize(("m", "n"), [(6, 4), (18, 1)])
def test_gemm_tile_oc(m: int, n: int, packed: bool, blocked: bool, lanes: int, dtype: str) -> None:
    """Lanes along output channels: the last vector of channels full or short, the output turned on its way out, or not; all taps
    at once or two by two; weights vector by vector, or tap by tap as users have them."""
    size = np.dtype(dtype).itemsize
    address = gemm_tile_oc.tile(m, n, lanes, size, packed=packed, blocked=blocked)
    y_row = m + 3
    kc = 2 if blocked else 7
    for k, last, positions in itertools.product((1, 3, 7), (1, lanes - 1, lanes), {1, m}):
        x = given(numbers(k * 2 + m, dtype=dtype))
        a, bias, scale, shift = (numbers(*shape, dtype=dtype, seed=s) for s, shape in enumerate(((n, k, lanes), *[(n * lanes,)] * 3), 1))
        offsets = np.append(np.arange(k) * 2, np.zeros(gemm_tile.AHEAD)).astype(np.int64)
        channels = (n - 1) * lanes + last
        y = Guarded((channels, y_row), dtype)
        finish = at(bias), at(scale), at(shift), ACTIVATIONS["relu"], 0
        rows = np.ascontiguousarray(a.transpose(1, 0, 2))
        weights = (at(a), 0, k * lanes) if packed else (at(rows), n * lanes, lanes)
        read = m, n, lanes, size, packed, blocked, k, kc, *weights, at(x.array), at(offsets)
        invoke(address, *read, at(y.array), y_row, positions, channels, 0, *finish)
        windows = np.stack([x.array[t * 2 : t * 2 + m] for t in range(k)])
        sums = (bias[:, None] + a.transpose(0, 2, 1).reshape(n * lanes, k) @ windows) * scale[:, None] + shift[:, None]
        np.testing.assert_array_equal(y.array[:, :positions], np.maximum(sums[:channels], 0)[:, :positions])
        assert np.isnan(y.array[:, positions:]).all()
        assert y.zones_untouched()
        last = Guarded((positions, channels + 2), dtype)  # channels last: the same sums, stored as they lie
        place = at(last.array), channels + 2, positions, channels, 1
        invoke(address, *read, *place, *finish)
        np.testing.assert_array_equal(last.array[:, :channels], y.array[:, :positions].T)
        assert np.isnan(last.array[:, channels:]).all()
        assert last.zones_untouched()


@words
@pytest.mark.parametrize("step,picking", [(1, 1), (2, 2), (6, 6), (11, ONE_BY_ONE), (2, TRANSPOSED), (11, TRANSPOSED)])
@pytest.mark.parametrize("width,positions", [(37, 4), (5, 5), (5, 2)])
def test_packing(step: int, picking: int, width: int, positions: int, lanes: int, dtype: str) -> None:
    """Lines that begin before the plane and end past it or on it, where they need no zeros; rows above and below it, planes of several
    columns and phases; lines that begin at whole vectors, and such as follow one another."""
    size = np.dtype(dtype).itemsize
    address = pack_input.pack(picking, lanes, size)
    height, phases, row_step = 5, 2, 2
    plane = given(numbers(height, width, dtype=dtype))
    starts_of = ([0], [0, 1, 2], list(range(lanes + 3))) if picking == TRANSPOSED else ([0], [0, 1, 3])
    ends = (4, -8) if width > 8 else (4,)
    for columns, first_column, first_row, gapless, end in itertools.product(starts_of, (-2, 0, 4), (-3, 0, 2), (False, True), ends):
        count = (width + end) // step + 1
        span = (count - 1) * step + 1 + columns[-1]
        pitch = count if gapless else -(-count // lanes) * lanes
        phase_stride = positions * pitch + lanes
        out = Guarded((len(columns), phases, phase_stride), dtype)
        reach = pack_input.row_numbers(picking, step, span, lanes)
        line = Guarded((reach,), dtype)
        starts = np.array(columns, np.int64)
        invoke(
            address, picking, lanes, size, at(out.array), at(line.array), at(starts), len(columns), phases * phase_stride, phases,
            phase_stride, positions, pitch, count, span, reach, at(plane.array), first_row, row_step, first_column, step, height, width,
            9, 1, 0,
        )  # fmt: skip
        for u, v, p, j in np.ndindex(len(columns), phases, positions, count):
            y, x = first_row + v + p * row_step, first_column + columns[u] + j * step
            expected = plane.array[y, x] if 0 <= y < height and 0 <= x < width else 0.0
            assert out.array[u, v, p * pitch + j] == expected, (columns, first_column, first_row, gapless, u, v, p, j)
        assert out.zones_untouched()
        assert line.zones_untouched()


@words
@pytest.mark.parametrize("width", [1, 2, 3, 7, 15, 16, 17, 40])
def test_packing_lines_as_long_as_rows(width: int, lanes: int, dtype: str) -> None:
    """Two planes moved by some columns and rows, before, inside and past the plane; lines lie one behind the other."""
    size = np.dtype(dtype).itemsize
    address = pack_input.pack(1, lanes, size)
    height, positions = 5, 6
    planes = given(numbers(2, height, width, dtype=dtype))
    for columns, first_column, first_row in itertools.product(([0], [0, 1, 2], [0, 3]), (-3, -1, 0, 1), (-7, -2, 0, 3, 6)):
        total = positions * width
        stride = -(-total // lanes) * lanes
        out = Guarded((2, len(columns), stride), dtype)
        line = Guarded((width + columns[-1] + 2 * lanes + 1,), dtype)
        starts = np.array(columns, np.int64)
        invoke(
            address, 1, lanes, size, at(out.array), at(line.array), at(starts), len(columns), stride, 1, 0, positions, width, width,
            width + columns[-1], len(line.array), at(planes.array), first_row, 1, first_column, 1, height, width, 9, 2,
            len(columns) * stride,
        )  # fmt: skip
        for c, u, p, j in np.ndindex(2, len(columns), positions, width):
            y, x = first_row + p, first_column + columns[u] + j
            expected = planes.array[c, y, x] if 0 <= y < height and 0 <= x < width else 0.0
            assert out.array[c, u, p * width + j] == expected, (c, columns, first_column, first_row, u, p, j)
        assert out.zones_untouched()
        assert line.zones_untouched()


def reduced(kind: int, values: Array, axis: tuple[int, ...]) -> Array:
    """The windows' maximum or average."""
    return values.max(axis) if kind == pool_window.MAXIMUM else values.sum(axis) / np.prod([values.shape[i] for i in axis])


@words
@pytest.mark.parametrize("kind", [pool_window.MAXIMUM, pool_window.SUM])
@pytest.mark.parametrize(
    ("kernel", "stride", "dilation"),
    [((2, 2), (2, 2), (1, 1)), ((5, 3), (3, 3), (1, 1)), ((1, 8), (1, 8), (1, 1)), ((3, 3), (1, 1), (2, 2)), ((2, 4), (2, 3), (1, 1)),
     ((2, 11), (2, 9), (1, 1)), ((2, 40), (1, 9), (1, 1))],
)  # fmt: skip
def test_window(kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int], kind: int, lanes: int, dtype: str) -> None:
    """The three kinds of windows: side by side in registers, lanes of outputs, lanes of taps; every width of the last vector."""
    size = np.dtype(dtype).itemsize
    shape = pool_window.window(kernel, stride, dilation, (True, True))
    address = pool_window.plane(kind, shape, lanes, size)
    kh, kw = dilated(kernel[0], dilation[0]), dilated(kernel[1], dilation[1])
    for ow in (1, 2, lanes - 1, lanes, lanes + 1, 2 * lanes + 3):
        oh = 3
        h, w = (oh - 1) * stride[0] + kh, (ow - 1) * stride[1] + kw + 1
        x = given(numbers(h, w, dtype=dtype))
        y = Guarded((oh, ow), dtype)
        scratch = np.zeros((ow + lanes) * stride[1] + kw + w + 2 * lanes, dtype)
        down, along = np.full(oh, kernel[0], dtype), np.full(ow + lanes, kernel[1], dtype)
        literals = kind, shape.stride, shape.window_rows, lanes, size
        sizes = oh, ow, h, w, *kernel, *stride, 0, 0, *dilation
        invoke(address, *literals, at(y.array), at(x.array), at(scratch), at(down), at(along), *sizes)
        windows = np.lib.stride_tricks.sliding_window_view(x.array, (kh, kw))[:: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]
        np.testing.assert_allclose(y.array, reduced(kind, windows[:oh, :ow], (2, 3)), rtol=1e-6)
        assert y.zones_untouched()


@words
@pytest.mark.parametrize("kind", [pool_window.MAXIMUM, pool_window.SUM])
@pytest.mark.parametrize("length", [1, 3, 17, 64, pool_window.MERGED + 1])
def test_lines(length: int, kind: int, lanes: int, dtype: str) -> None:
    size = np.dtype(dtype).itemsize
    for count in (1, lanes, 2 * lanes + 1):
        x = given(numbers(count, length, dtype=dtype))
        y = Guarded((count,), dtype)
        one = np.ones(1, dtype)
        divisor = np.full(1, length, dtype)
        invoke(pool_window.line(kind, lanes, size), kind, lanes, size, at(y.array), at(x.array), at(one), at(divisor), count, length)
        np.testing.assert_allclose(y.array, reduced(kind, x.array, (1,)), rtol=1e-6)
        assert y.zones_untouched()


@words
@pytest.mark.parametrize("n", [6, 20, 24])
def test_transform_there_and_back(n: int, lanes: int, dtype: str) -> None:
    """Passes of every radix, the step to the spectrum and the way back, against NumPy's transforms of real lines of 2n numbers."""
    size = np.dtype(dtype).itemsize
    length, radices, rounding = 2 * n, codelets.factors(n), 100 * np.finfo(dtype).eps
    with pretend(vector_bytes=lanes * size):
        passes, back, held = pass_tables(length, size)
    order, halves = np.array(codelets.digit_reversed(radices)), pairs(np.arange(n // 2 + 1), length, dtype)
    real = np.random.default_rng(n).standard_normal((length, lanes)).astype(dtype)
    x = Guarded(real.shape, dtype)
    x.array[...] = real
    for radix, turn, m, blocks, roots, kernel in passes.tolist():
        invoke(kernel, radix, turn, lanes, size, at(x.array), blocks, m, roots)
    result = Guarded((n + 1, 2, lanes + 3), dtype)
    step = 2 * (lanes + 3), lanes + 3, at(halves), at(order)
    invoke(codelets.spectrum(lanes, size), 0, lanes, size, at(result.array), at(x.array), n, *step)
    expected = 2 * np.fft.rfft(real.astype(np.float64), axis=0)
    np.testing.assert_allclose(result.array[:, 0, :lanes], expected.real, rtol=0, atol=rounding * length)
    np.testing.assert_allclose(result.array[:, 1, :lanes], expected.imag, rtol=0, atol=rounding * length)
    assert np.isnan(result.array[..., lanes:]).all()
    x.array[...] = np.nan
    invoke(codelets.line(lanes, size), 1, lanes, size, at(result.array), at(x.array), n, *step)
    for radix, turn, m, blocks, roots, kernel in back.tolist():
        invoke(kernel, radix, turn, lanes, size, at(x.array), blocks, m, roots)
    np.testing.assert_allclose(x.array[np.arange(length) ^ 1] / (2 * length), real, rtol=0, atol=rounding * 10)
    assert x.zones_untouched()
    assert result.zones_untouched()
    assert held


@words
@pytest.mark.parametrize(("m", "n", "ahead"), [(1, 1, (0, 0)), (4, 2, (40, 0)), (13, 1, (0, 70))])
def test_product_of_spectra(m: int, n: int, ahead: tuple[int, int], lanes: int, dtype: str) -> None:
    """Two tiles of rows at three frequencies, against NumPy's complex product of small whole numbers."""
    size = np.dtype(dtype).itemsize
    frequencies, tiles, k, width = 3, 2, 5, n * lanes
    a = numbers(frequencies, tiles, k, m, 2, dtype=dtype, seed=1)
    x = given(numbers(frequencies, k, 2, width + 1, dtype=dtype, seed=2))
    offsets = np.append(np.arange(k) * 2 * (width + 1) + 1, np.zeros(gemm_tile.AHEAD)).astype(np.int64)
    y = Guarded((frequencies, tiles * m, 2, width + 2), dtype)
    place = at(a), tiles * k * m * 2, k * m * 2, 2 * m, 2, 1, at(x.array), k * 2 * (width + 1), at(offsets), width + 1
    out = at(y.array), tiles * m * 2 * (width + 2), 2 * (width + 2), width + 2
    invoke(complex_gemm_tile.product(m, n, lanes, size), m, n, lanes, size, frequencies, tiles, k, *place, *out, *ahead)
    weights, inputs = a[..., 0] + 1j * a[..., 1], x.array[:, :, 0, 1:] + 1j * x.array[:, :, 1, 1:]
    expected = np.einsum("ftki,fkq->ftiq", weights, inputs).reshape(frequencies, tiles * m, width)
    np.testing.assert_array_equal(y.array[:, :, 0, :width], expected.real)
    np.testing.assert_array_equal(y.array[:, :, 1, :width], expected.imag)
    assert np.isnan(y.array[..., width:]).all()
    assert y.zones_untouched()


@words
@pytest.mark.parametrize("way", [lines.NEIGHBOURS, lines.ALONG, lines.APART])
def test_lines_in_and_out(way: int, lanes: int, dtype: str) -> None:
    """Lines with zeros before and after them, lanes without a line; on the way out bias, scale, shift, activation and short lines."""
    size = np.dtype(dtype).itemsize
    length, count = 11, 2 * lanes + 3
    pitch, step = (1, lanes) if way == lines.NEIGHBOURS else (length, 1)
    x = given(numbers(lanes * length, dtype=dtype))
    firsts, sizes = np.arange(lanes) % 3 - 4, np.where(np.arange(lanes) == 1, 0, length)
    if way == lines.NEIGHBOURS:
        firsts[:] = -2
    places = np.stack([np.arange(lanes) * pitch + firsts * step, firsts, sizes]).astype(np.int64)
    rows = Guarded((-(-count // lanes) * lanes, lanes), dtype)
    invoke(lines.load_lines(way, lanes, size), way, lanes, size, at(rows.array), count, at(x.array), at(places), step, 0, 1, 1 << 62)
    stored = x.array.reshape(length, lanes).T if way == lines.NEIGHBOURS else x.array.reshape(lanes, length)
    expected = np.zeros((count, lanes), dtype)
    for t, lane in itertools.product(range(count), range(lanes)):
        if sizes[lane] and 0 <= firsts[lane] + t < length:
            expected[t, lane] = stored[lane, firsts[lane] + t]
    np.testing.assert_array_equal(rows.array[:count], expected)
    assert rows.zones_untouched()
    for each in (False, True):
        ends = np.where(np.arange(lanes) == 2, 0, count - np.arange(lanes) % 4)
        out = Guarded((count, lanes) if way == lines.NEIGHBOURS else (lanes, count), dtype)
        pitch, step = (1, lanes) if way == lines.NEIGHBOURS else (count, 1)
        table = np.stack([np.arange(lanes) * pitch, ends]).astype(np.int64)
        sums = numbers(-(-count // lanes) * lanes, lanes, dtype=dtype, seed=5)
        bias, scale, shift = (numbers(lanes if each else 1, dtype=dtype, seed=seed) for seed in (6, 7, 8))
        finish = at(bias), at(scale), at(shift), ACTIVATIONS["relu"], 0
        kernel = lines.store_lines(way, each, lanes, size)
        invoke(kernel, way, each, lanes, size, at(sums), count, at(out.array), at(table), step, *finish)
        wanted = np.maximum((sums[np.arange(len(sums)) ^ 1] + bias) * scale + shift, 0)[:count]
        seen = out.array if way == lines.NEIGHBOURS else out.array.T
        inside = np.arange(count)[:, None] < ends
        np.testing.assert_array_equal(seen[inside], wanted[inside])
        assert np.isnan(seen[~inside]).all()
        assert out.zones_untouched()


@words
@pytest.mark.parametrize("kind", [pool_window.MAXIMUM, pool_window.SUM])
@pytest.mark.parametrize("kernel, width, ow", [((2, 2), 4, 2), ((3, 1), 3, 3), ((1, 4), 5, 1)], ids=str)
def test_strips(kernel: tuple[int, int], width: int, ow: int, kind: int, lanes: int, dtype: str) -> None:
    """Windows side by side, columns left over, rows of outputs that do not divide a vector; runs that end anywhere in one."""
    if ow > lanes:
        pytest.skip("its rows of outputs are wider than this vector")
    (kh, kw), size = kernel, np.dtype(dtype).itemsize
    address = strips.pool_strips(kind, kernel, width, ow, lanes, size)
    divisor = np.array([3], dtype)
    for together in (1, 2, lanes // ow, lanes + 1, 3 * lanes - 1):
        x = numbers(together, kh, width, dtype=dtype)
        source, out = given(x), Guarded((together, ow), dtype)
        count, there = together * ow, x.size
        invoke(address, kind, kh, kw, width, ow, lanes, size, at(out.array), at(source.array), count, there, at(divisor))
        taps = x[:, :, : ow * kw].reshape(together, kh, ow, kw)
        expected = taps.max((1, 3)) if kind == pool_window.MAXIMUM else taps.sum((1, 3)) / 3
        np.testing.assert_allclose(out.array, expected, rtol=1e-5, atol=1e-6)
        assert out.zones_untouched()


@words
@pytest.mark.parametrize("kind", [pool_window.MAXIMUM, pool_window.SUM])
def test_planes_in_lanes(kind: int, lanes: int, dtype: str) -> None:
    """A plane in each lane: padding on every side, steps and dilation; neighbours of the result exchanged."""
    size = np.dtype(dtype).itemsize
    h, w, kh, kw, sh, sw, dh, dw, top, left = 7, 5, 3, 2, 2, 1, 2, 3, 1, 2
    oh, ow = (h + 2 * top - dilated(kh, dh)) // sh + 1, (w + 2 * left - dilated(kw, dw)) // sw + 1
    planes = numbers(h, w, lanes, dtype=dtype)
    down, across = np.arange(1, oh + 1).astype(dtype), np.arange(2, ow + 2).astype(dtype)
    out = Guarded((oh * ow + 1, lanes), dtype)
    place = oh, ow, h, w, kh, kw, sh, sw, top, left, dh, dw
    source = given(planes)
    invoke(planes_in_lanes.pool_planes(kind, lanes, size), kind, lanes, size, at(out.array), at(source.array), at(down), at(across), *place)
    neutral = -np.inf if kind == pool_window.MAXIMUM else 0
    padded = np.pad(planes, ((top, top), (left, left), (0, 0)), constant_values=neutral)
    for y, x in itertools.product(range(oh), range(ow)):
        seen = padded[y * sh : y * sh + dilated(kh, dh) : dh, x * sw : x * sw + dilated(kw, dw) : dw]
        expected = seen.max((0, 1)) if kind == pool_window.MAXIMUM else seen.sum((0, 1)) / (down[y] * across[x])
        np.testing.assert_allclose(out.array[(y * ow + x) ^ 1], expected, rtol=1e-6)
    assert out.zones_untouched()


@words
def test_transposition(lanes: int, dtype: str) -> None:
    """From one number to several blocks either way, pitches wider than the matrix; bits pass through, NaN with a message among them."""
    size = np.dtype(dtype).itemsize
    for rows, columns in itertools.product((1, lanes - 1, lanes, 2 * lanes + 1), (1, lanes, lanes + 3)):
        values = np.random.default_rng(rows * columns).integers(0, 256, (rows, (columns + 2) * size), dtype=np.uint8).view(dtype)
        x, out = given(values), Guarded((columns, rows + 3), dtype)
        invoke(transpose.transpose(lanes, size), lanes, size, at(out.array), rows + 3, at(x.array), columns + 2, rows, columns)
        assert out.array[:, :rows].tobytes() == values[:, :columns].T.tobytes()
        assert np.isnan(out.array[:, rows:]).all()
        assert out.zones_untouched()
        assert x.unchanged()
