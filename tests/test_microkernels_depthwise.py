"""The two micro-kernels of depthwise layers by their own contracts, as in `test_microkernels`."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from memory import Guarded, given
from test_microkernels import at, invoke, numbers, words

from kernels.microkernels import depthwise, outer, row


@words
@pytest.mark.parametrize("stream", [False, True])
def test_depthwise_row(stream: bool, lanes: int, dtype: str) -> None:
    """Lines from one number to several turns, at every alignment of the output."""
    size = np.dtype(dtype).itemsize
    address = row.row(stream, lanes, size)
    k = 3
    offsets = np.append(np.array([0, 2, 5]), np.zeros(outer.AHEAD)).astype(np.int64)
    a, bias = numbers(k, dtype=dtype, seed=1), numbers(1, dtype=dtype, seed=2)
    counts = 1, lanes - 1, lanes, lanes + 1, row.UNROLL * lanes, 3 * row.UNROLL * lanes + 7
    for count, start in itertools.product(counts, (0, 1, lanes - 1)):
        x = numbers(count + 5 + (row.UNROLL + 1) * lanes, dtype=dtype)
        y = Guarded((start + count,), dtype)
        entries = np.array([0, start, count], np.int64)
        invoke(address, stream, 1, lanes, size, k, at(a), at(x), at(offsets), at(y.array), 0, at(entries), 3, at(bias), 0, 0, 1, 0)
        expected = bias[0] + sum(a[t] * x[offsets[t] : offsets[t] + count] for t in range(k))
        np.testing.assert_array_equal(y.array[start:], np.maximum(expected, 0))
        assert np.isnan(y.array[:start]).all()
        assert y.zones_untouched()


@words
def test_depthwise_stack(lanes: int, dtype: str) -> None:
    """Planes with their zeros, then sums of one position and of several turns; some lanes dead, lanes side by side or apart."""
    size = np.dtype(dtype).itemsize
    spread, sums = depthwise.spread(lanes, size), depthwise.sums(lanes, size)
    h, w, above, before, high, wide = 5, 6, 2, 1, 8, 9
    for live, pitch in itertools.product((1, lanes - 1, lanes), (lanes, lanes + 3)):
        plane = given(numbers(h, w, pitch, dtype=dtype))
        bed = Guarded((high, wide, lanes), dtype)
        invoke(spread, lanes, size, at(bed.array), high, wide, above, h, before, w, at(plane.array), w * pitch, pitch, live)
        padded = np.zeros((high, wide, lanes), dtype)
        padded[above : above + h, before : before + w, :live] = plane.array[:, :, :live]
        np.testing.assert_array_equal(bed.array, padded)
        assert bed.zones_untouched()
        k, flat = 3, padded.reshape(-1, lanes)
        a, bias, scale, shift = (numbers(*shape, dtype=dtype, seed=seed) for seed, shape in enumerate(((k, lanes), *((lanes,),) * 3), 1))
        taps = np.array([0, 1, wide])
        for count, spacing in itertools.product((1, depthwise.POSITIONS - 1, 3 * depthwise.POSITIONS + 2), (1, 2)):
            starts = np.arange(count) * 2
            y = Guarded((count, lanes * spacing + 1), dtype)
            table = np.stack([starts * lanes, np.arange(count) * y.array.shape[1]], 1).astype(np.int64)
            offsets = (taps * lanes).astype(np.int64)
            place = at(offsets), at(y.array), spacing, at(table), count, live
            invoke(sums, lanes, size, k, at(a), at(bed.array), *place, at(bias), at(scale), at(shift), outer.ACTIVATIONS["relu"], 0)
            expected = (bias + sum(a[t] * flat[starts + taps[t]] for t in range(k))) * scale + shift
            np.testing.assert_array_equal(y.array[:, : live * spacing : spacing], np.maximum(expected, 0)[:, :live])
            y.array[:, : live * spacing : spacing] = np.nan
            assert np.isnan(y.array).all(), "something was written between or after the lanes"
            assert y.zones_untouched()
