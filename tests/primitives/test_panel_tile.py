"""The tile of matrix products, by its contract."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from memory import Guarded, given
from micro_kernels import at, invoke, numbers, words

from kernels.primitives import panel_tile


@words
@pytest.mark.parametrize(("m", "n"), [(8, 3), (3, 1)])
def test_panel_tile(m: int, n: int, lanes: int, dtype: str) -> None:
    """Two tiles, one below the other: sums that begin with a bias or nothing, to which a matrix, what y holds, or nothing is added; terms
    in turns and the rest; the last vectors full, short or none of theirs."""
    size, times = np.dtype(dtype).itemsize, 2
    address, wide = panel_tile.panel_tile(m, n, lanes, size), n * lanes
    for k, columns, begun, added in itertools.product((1, 4, 7), (1, wide - 1, wide), (False, True), ("nothing", "y", "another")):
        a, panel, bias = (
            numbers(times * m, k + 2, dtype=dtype),
            given(numbers(k * wide, dtype=dtype)),
            given(numbers(wide, dtype=dtype, seed=1)),
        )
        y, before = Guarded((times * m, wide + 3), dtype), numbers(times * m, wide + 3, dtype=dtype, seed=9)
        y.array[...] = before if added == "y" else np.nan
        r = y.array if added == "y" else before
        rows, width = a.strides[0], y.array.strides[0]
        place = at(a), rows, at(panel.array), at(y.array), width, columns, at(bias.array) if begun else 0
        invoke(address, m, n, lanes, size, k, *place, at(r) if added != "nothing" else 0, width, times, m * rows, m * width, m * width)
        wanted = (a[:, :k] @ panel.array.reshape(k, wide))[:, :columns]
        wanted = wanted + (bias.array[:columns] if begun else 0) + (before[:, :columns] if added != "nothing" else 0)
        np.testing.assert_array_equal(y.array[:, :columns], wanted)
        untouched = y.array[:, columns:]
        np.testing.assert_array_equal(untouched, before[:, columns:] if added == "y" else np.full_like(untouched, np.nan))
        assert y.zones_untouched()
        assert panel.unchanged() and bias.unchanged()
