"""The micro-kernels of depthwise layers by their own contracts, as in `test_microkernels`."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from memory import Guarded, given
from micro_kernels import at, invoke, numbers, words

from kernels.methods.depthwise import channel_tile as depthwise
from kernels.methods.depthwise import row_tile as row
from kernels.primitives import gemm_tile as outer
from kernels.primitives.register_post_ops import ACTIVATIONS


@words
@pytest.mark.parametrize("stream", [False, True])
def test_depthwise_row(stream: bool, lanes: int, dtype: str) -> None:
    """Two lines from one number to several turns, at every alignment of the output."""
    size = np.dtype(dtype).itemsize
    address = row.row(stream, lanes, size)
    k = 3
    offsets = np.append(np.array([0, 2, 5]), np.zeros(outer.AHEAD)).astype(np.int64)
    a, bias = numbers(k, dtype=dtype, seed=1), numbers(1, dtype=dtype, seed=2)
    counts = 1, lanes - 1, lanes, lanes + 1, row.UNROLL * lanes, 3 * row.UNROLL * lanes + 7
    for count, start in itertools.product(counts, (0, 1, lanes - 1)):
        x = numbers(count + 5 + (row.UNROLL + 1) * lanes, dtype=dtype)
        y = Guarded((start + 2 * count,), dtype)
        entries = np.array([(0, start, count), (1, start + count, count)], np.int64)
        place = at(a), at(x), at(offsets), at(y.array), 0, at(entries), 3
        invoke(address, stream, 1, lanes, size, k, k, *place, at(bias), 0, 0, 1, 0, 2, 0, 0, entries[0].nbytes)
        expected = bias[0] + np.array([sum(a[t] * x[i + offsets[t] :][:count] for t in range(k)) for i in (0, 1)])
        np.testing.assert_array_equal(y.array[start:], np.maximum(expected, 0).ravel())
        assert np.isnan(y.array[:start]).all()
        assert y.zones_untouched()


@words
def test_beds_of_stacks(lanes: int, dtype: str) -> None:
    """Planes one a lane with zeros around them, from channels first and last, some lanes without a plane."""
    size = np.dtype(dtype).itemsize
    h, w, above, before, high, wide = 5, 7, 2, 1, 8, 9
    places = (np.add.outer(np.arange(h) * wide, np.arange(w)).ravel() * lanes).astype(np.int64)
    for live, more in itertools.product((1, lanes - 1, lanes), (0, 3)):
        planes = given(numbers(live, h, w, dtype=dtype))
        expected = np.zeros((high, wide, lanes), dtype)
        expected[above : above + h, before : before + w, :live] = np.moveaxis(planes.array, 0, -1)
        turned = given(np.moveaxis(np.pad(planes.array, ((0, more), (0, 0), (0, 0)), constant_values=np.nan), 0, -1).copy())
        for last in (False, True):
            bed = Guarded((high, wide, lanes), dtype)
            first = at(bed.array) + (above * wide + before) * lanes * size
            invoke(depthwise.border(lanes, size), lanes, size, at(bed.array), high, wide, above, h, before, w)
            if last:
                source = at(turned.array), w * (live + more), live + more, live, h, w
                invoke(depthwise.spread(lanes, size), lanes, size, first, wide, *source)
            else:
                invoke(depthwise.fill(lanes, size), lanes, size, first, at(places), at(planes.array), h * w, live, h * w)
            np.testing.assert_array_equal(bed.array[..., :live], expected[..., :live])
            assert bed.zones_untouched()


@words
@pytest.mark.parametrize(("run", "step", "columns"), [(8, 1, 3), (4, 2, 3), (2, 1, 5), (1, 1, 1), (8, 2, 1)])
def test_sums_of_stacks(run: int, step: int, columns: int, lanes: int, dtype: str) -> None:
    """A few runs and several turns of them, lanes side by side and apart, some not written."""
    size = np.dtype(dtype).itemsize
    sums, k = depthwise.sums(run, step, columns, lanes, size), 2
    a, each = numbers(k, columns, lanes, dtype=dtype, seed=1), (numbers(lanes, dtype=dtype, seed=seed) for seed in (2, 3, 4))
    bias, scale, shift = each
    for count, spacing, live in itertools.product((1, 8 // run, 2 * (8 // run) + 1), (1, 2), (1, lanes)):
        x = given(numbers(count * 3 + (run - 1) * step + columns + 4, lanes, dtype=dtype))
        starts, rows = np.arange(count) * 3, np.array([0, 4])
        offsets = (rows * lanes).astype(np.int64)
        y = Guarded((count, run, lanes * spacing + 1), dtype)
        table = np.stack([starts * lanes, np.arange(count) * y.array[0].size], 1).astype(np.int64)
        place = at(x.array), at(offsets), at(y.array), y.array.shape[2], spacing, at(table), count, live
        finish = at(bias), at(scale), at(shift), ACTIVATIONS["relu"], 0
        invoke(sums, run, step, columns, lanes, size, k, at(a), *place, *finish)
        at_run = starts[:, None] + np.arange(run) * step
        total = bias + sum(a[r, c] * x.array[at_run + rows[r] + c] for r in range(k) for c in range(columns))
        written = y.array[:, :, : live * spacing : spacing]
        np.testing.assert_array_equal(written, np.maximum(total * scale + shift, 0)[..., :live])
        written[...] = np.nan
        assert np.isnan(y.array).all(), "something was written between or after the lanes"
        assert y.zones_untouched()
