"""Phases of a stride interleaved into a row and picked out of one: every lane width, strides in registers and beyond, every edge."""

from __future__ import annotations

import numpy as np
import pytest
from memory import Guarded, given
from micro_kernels import at, invoke, numbers, words

from kernels.primitives import deinterleave as deinterleave
from kernels.primitives import interleave as interleave


@words
@pytest.mark.parametrize("stride", [1, 2, 3, 5, 16, 17])
@pytest.mark.parametrize("width", [1, 4, 37, 100])
def test_interleave(stride: int, width: int, lanes: int, dtype: str) -> None:
    """Lines that begin before the row and end past it, one that is too short, one that is not there; the second of several channels; a
    row without lines between two others."""
    size, few = np.dtype(dtype).itemsize, stride if stride <= interleave.WIDEST else 0
    count, channel = width // stride + 4, 1
    y = given(numbers(3 * stride * count, dtype=dtype))
    lines = np.array([[r * count, stride * count, -(r % 3), count] for r in range(stride)])
    lines[-1, interleave.COUNT] = 0 if stride > 2 else count
    lines[0, interleave.COUNT] = min(count, 3)
    lines = np.stack([lines, lines * [1, 1, 1, 0], lines[::-1].copy()])
    missing, out = given(numbers(1, dtype=dtype, seed=1)), Guarded((len(lines), width), dtype)
    place = at(out.array), len(lines), width, stride, at(y.array), at(lines), channel, at(missing.array)
    invoke(interleave.interleave(few, lanes, size), few, lanes, size, *place)
    expected = np.full((len(lines), width), missing.array[0])
    for row, phases in zip(expected, lines.tolist()):
        for r, (offset, each, shift, numbers_of) in enumerate(phases):
            for q in range(numbers_of):
                if 0 <= (column := (shift + q) * stride + r) < width:
                    row[column] = y.array[offset + channel * each + q]
    np.testing.assert_array_equal(out.array, expected)
    assert out.zones_untouched()


@words
@pytest.mark.parametrize("stride", [1, 2, 3, 5, 16, 17])
@pytest.mark.parametrize(("width", "columns"), [(1, 1), (0, 3), (37, 9), (100, 40), (100, 2)])
def test_deinterleave(stride: int, width: int, columns: int, lanes: int, dtype: str) -> None:
    """Rows that begin after the first column, end before the last and after it, a phase that is not wanted, a row that is not there."""
    before = stride // 2
    size, few = np.dtype(dtype).itemsize, stride if stride <= interleave.WIDEST else 0
    row, out = given(numbers(max(width, 1), dtype=dtype)), Guarded((stride, columns), dtype)
    targets = np.arange(stride) * columns
    targets[-1] = -1 if stride > 2 else targets[-1]
    place = at(out.array), columns, at(targets), at(row.array), before, width, stride
    invoke(deinterleave.deinterleave(few, lanes, size), few, lanes, size, *place)
    padded = np.concatenate([np.zeros(before, dtype), row.array[:width], np.zeros(stride * columns, dtype)])
    expected = padded[: stride * columns].reshape(columns, stride).T
    wanted = targets >= 0
    np.testing.assert_array_equal(out.array[wanted], expected[wanted])
    assert np.isnan(out.array[~wanted]).all()
    assert out.zones_untouched()
