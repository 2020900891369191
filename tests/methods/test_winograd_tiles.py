"""Winograd's transforms by their own contract: every lane width, tiles of one row and of several, every edge, nothing read or written
outside."""

from __future__ import annotations

import numpy as np
import pytest
from memory import Guarded
from micro_kernels import Array, at, invoke, numbers, words

from kernels.methods.winograd import dilated
from kernels.methods.winograd import tile_load as tile_patches
from kernels.methods.winograd import tile_store as tile_outputs
from kernels.methods.winograd import transforms as winograd
from kernels.methods.winograd.matrices import matrices

SHAPES = [(2, 3, 2, 3), (4, 3, 6, 3), (1, 1, 4, 5), (6, 3, 1, 1), (3, 2, 5, 2)]


def exact(m: int, r: int) -> tuple[Array, ...]:
    """The matrices of F(m, r) in float64."""
    return tuple(np.array(matrix, np.float64) for matrix in matrices(m, r))


@words
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("rows", "columns", "pad"), [(3, 3, 1), (1, 37, 2), (5, 2, 0), (4, 5, 9)])
def test_input_transform(shape: tuple[int, ...], rows: int, columns: int, pad: int, lanes: int, dtype: str) -> None:
    """Tiles that begin before the plane, lie inside it and reach past it; what lies round the plane is NaN."""
    size = np.dtype(dtype).itemsize
    mh, rh, mw, rw = shape
    th, tw = mh + rh - 1, mw + rw - 1
    h, w = max(1, (rows - 1) * mh + th - 2 * pad), max(1, (columns - 1) * mw + tw - 2 * pad)
    around = np.full(h * w + 2 * tile_patches.WIDEST, np.nan, dtype)
    x = around[tile_patches.WIDEST :][: h * w].reshape(h, w)
    x[...] = numbers(h, w, dtype=dtype)
    padded = np.pad(x.astype(np.float64), ((pad, pad + mh * rows + th), (pad, pad + mw * columns + tw)))

    tiles = rows * columns
    pitch = tiles + lanes
    words = tile_patches.entry_words(th, tw, lanes)
    entries = np.zeros((tiles, words), np.int64)
    tiled = tile_patches.PatchTiles(
        rows=rows, columns=columns, row=-pad, column=-pad, height=h, width=w, mh=mh, mw=mw, first=0, turn=1,
        th=th, tw=tw,
    )  # fmt: skip
    count = tile_patches.write_entries(at(entries), words, tiled, lanes, tile_patches.BLOCK // size)
    v = Guarded((th * tw, pitch), dtype)
    place = at(v.array), pitch, at(x), w, 1, 0, at(entries), count
    invoke(winograd.input_transform(shape, lanes, size), *shape, lanes, size, 0, *place)

    (_, _, down), (_, _, across) = exact(mh, rh), exact(mw, rw)
    for tile in range(tiles):
        top, left = tile // columns * mh, tile % columns * mw
        expected = down @ padded[top : top + th, left : left + tw] @ across.T
        np.testing.assert_allclose(v.array[:, tile], expected.ravel(), atol=1e-4, rtol=1e-4)
    assert v.zones_untouched()


@words
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("rows", "columns", "less"), [(2, 3, 0), (2, 37, 1), (5, 2, 1), (7, 1, 1)])
def test_output_transform(shape: tuple[int, ...], rows: int, columns: int, less: int, lanes: int, dtype: str) -> None:
    """Rows of tiles that share vectors, in a plane that ends inside the last tiles; the second of two blocks of columns."""
    size = np.dtype(dtype).itemsize
    mh, rh, mw, rw = shape
    points, tiles, first = (mh + rh - 1) * (mw + rw - 1), rows * columns, 3
    oh, ow = rows * mh - less * (mh > 1), columns * mw - less * (mw > 1)
    pitch = tiles + lanes
    products, bias = numbers(points, pitch, dtype=dtype), numbers(1, dtype=dtype, seed=3)
    words = tile_outputs.entry_words(mw, lanes, mw)
    entries = np.zeros((tiles, words), np.int64)
    written = tile_outputs.OutputTiles(rows=rows, columns=columns, row=0, pitch=first + ow, height=oh, width=ow, mh=mh, mw=mw, turn=1)
    count = tile_outputs.write_entries(at(entries), words, written, lanes)
    y = Guarded((oh, first + ow), dtype)
    place = at(y.array[:, first:]), first + ow, 0, at(entries), count, at(products), pitch
    invoke(winograd.output_transform(shape, lanes, size), *shape, lanes, size, 0, *place, at(bias), 0, 0, 1, 0)

    (down, _, _), (across, _, _) = exact(mh, rh), exact(mw, rw)
    planes = products[:, :tiles].astype(np.float64).reshape(mh + rh - 1, mw + rw - 1, rows, columns)
    sums = np.einsum("ip,pqrc,jq->ricj", down, planes, across).reshape(rows * mh, columns * mw)[:oh, :ow]
    np.testing.assert_allclose(y.array[:, first:], np.maximum(sums + bias[0], 0), atol=1e-3, rtol=1e-4)
    assert np.isnan(y.array[:, :first]).all()
    assert y.zones_untouched()


@words
@pytest.mark.parametrize("shape", [(2, 3, 2, 3), (4, 3, 6, 3), (1, 1, 4, 5), (6, 3, 1, 1)])
@pytest.mark.parametrize(("down", "across", "first", "pad"), [(1, 2, 0, 1), (3, 5, 2, 4), (2, 17, 1, 0), (4, 16, 3, 9)])
def test_dilated_transforms(
    shape: tuple[int, ...], down: int, across: int, first: int, pad: int, lanes: int, dtype: str
) -> None:  # fmt: skip
    """Patches and outputs of tiles that take turns, from a row of tiles on, in planes that end within them; NaN round what is read."""
    size = np.dtype(dtype).itemsize
    mh, rh, mw, rw = shape
    th, tw, rows, columns = mh + rh - 1, mw + rw - 1, 3, 2 * across
    h, w = down * (mh + th), 2 * across * mw - 1
    around = np.full(h * w + 2 * lanes, np.nan, dtype)
    x = around[lanes:][: h * w].reshape(h, w)
    x[...] = numbers(h, w, dtype=dtype)
    number, pitch = rows * columns, rows * columns + lanes
    places = [
        divmod(row, down)[0] * mh * down + row % down for row in range(first, first + rows)
    ], [column // across * mw * across + column % across for column in range(columns)]  # fmt: skip

    def entries_of(outputs: bool, words: int, before: int, th: int, tw: int) -> Array:
        entries = np.zeros((-(-number // lanes), words), np.int64)
        invoke(
            dilated.write_entries(outputs, lanes, size), outputs, lanes, size, at(entries), words, rows, columns, first, 0, -before,
            -before, h, w, down, across, mh, mw, th, tw,
        )  # fmt: skip
        return entries

    entries = entries_of(False, dilated.entry_words(tw, lanes), pad, th, tw)
    v = Guarded((th * tw, pitch), dtype)
    place = at(v.array), pitch, at(x), w * down, across, 0, at(entries), len(entries)
    invoke(winograd.input_transform(shape, lanes, size, True), *shape, lanes, size, 1, *place)
    (_, _, of_rows), (_, _, of_columns) = exact(mh, rh), exact(mw, rw)
    padded = np.pad(x.astype(np.float64), ((pad, h + th * down), (pad, w + tw * across)))
    for tile in range(number):
        top, left = places[0][tile // columns], places[1][tile % columns]
        patch = padded[top :: down, left :: across][:th, :tw]
        np.testing.assert_allclose(v.array[:, tile], (of_rows @ patch @ of_columns.T).ravel(), atol=1e-4, rtol=1e-4)
    assert v.zones_untouched()

    entries = entries_of(True, tile_outputs.entry_words(mw, lanes, dilated.SHORTEST), 0, mh, mw)
    products, y = numbers(th * tw, pitch, dtype=dtype), Guarded((h, w), dtype)
    place = at(y.array), w * down, 0, at(entries), len(entries), at(products), pitch
    invoke(winograd.output_transform(shape, lanes, size, True), *shape, lanes, size, 1, *place, 0, 0, 0, 0, 0)
    (of_rows, _, _), (of_columns, _, _) = exact(mh, rh), exact(mw, rw)
    expected = np.full((h, w), np.nan)
    for tile in range(number):
        top, left = places[0][tile // columns], places[1][tile % columns]
        sums = of_rows @ products[:, tile].astype(np.float64).reshape(th, tw) @ of_columns.T
        seen = expected[top :: down, left :: across][:mh, :mw]
        seen[...] = sums[: seen.shape[0], : seen.shape[1]]
    np.testing.assert_allclose(y.array, expected, atol=1e-3, rtol=1e-4)
    assert y.zones_untouched()
