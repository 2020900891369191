"""Arrays that stay: each keeps what was put there, none shares a byte with another, and regions go with their last array."""

from __future__ import annotations

import gc
import itertools
import threading
import weakref

import numpy as np
import pytest

from kernels.runtime.constants import hold, made
from kernels.runtime.lasting import LEAST, REGION, Lasting
from kernels.runtime.pages import ALIGNMENT, LARGE, become_large, pages


def _numbers(i: int, count: int) -> np.ndarray:
    return np.random.default_rng(i).standard_normal(count).astype(np.float32)


def test_every_array_keeps_its_numbers() -> None:
    """Of lengths that fill several regions, with one that is longer than any."""
    put, counts = Lasting().put, [1025, 70_001, REGION // 4 // 4, 3 * REGION // 4, *range(100_000, 500_000, 33_333)] * 2
    arrays = [put(_numbers(i, count)) for i, count in enumerate(counts)]
    for i, array in enumerate(arrays):
        assert np.array_equal(array, _numbers(i, len(array))) and array.ctypes.data % ALIGNMENT == 0
    ends = sorted((each.ctypes.data, each.ctypes.data + each.nbytes) for each in arrays)
    assert all(stop <= start for (_, stop), (start, _) in itertools.pairwise(ends))


def test_shape_and_dtype_stay_and_short_arrays_are_themselves() -> None:
    put = Lasting().put
    given = np.arange(3 * LEAST, dtype=np.int16).reshape(3, -1, 2).transpose(1, 0, 2)
    found = put(given)
    assert found.dtype == given.dtype and found.shape == given.shape and (found == given).all() and found.flags.c_contiguous
    short = np.zeros(LEAST - 1, np.uint8)
    assert put(short) is short


def test_a_region_goes_with_its_last_array() -> None:
    lasting = Lasting()
    one, other = (lasting.put(_numbers(i, 10_000)) for i in range(2))
    assert lasting._region is not None
    region = lasting._region
    del one
    gc.collect()
    assert region() is not None and np.array_equal(other, _numbers(1, 10_000))
    del other
    gc.collect()
    assert region() is None
    assert np.array_equal(lasting.put(_numbers(2, 10_000)), _numbers(2, 10_000))


def test_threads_put_at_once() -> None:
    lasting, found = Lasting(), {}

    def some(first: int) -> None:
        for i in range(first, first + 40):
            found[i] = lasting.put(_numbers(i, 20_000 + i))

    threads = [threading.Thread(target=some, args=(100 * i,)) for i in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert all(np.array_equal(array, _numbers(i, 20_000 + i)) for i, array in found.items()) and len(found) == 160


@pytest.mark.parametrize("large", [True, False])
def test_pages_become_large_with_what_they_hold(large: bool) -> None:
    memory = pages(3 * LARGE, large)
    memory[:] = np.arange(len(memory), dtype=np.uint8)
    assert become_large(memory, 1, 3 * LARGE - 1) in (0, LARGE)
    assert (memory == np.arange(len(memory), dtype=np.uint8)).all()


def test_what_is_made_of_held_arrays_lies_there_and_leaves() -> None:
    weight = hold(_numbers(0, 5000))
    first = made("twice", lambda given: given * 2, weight)
    assert made("twice", lambda given: given * 3, weight) is first and np.array_equal(first, 2 * weight)
    assert first.base is not None  # it is a part of a region
    gone = weakref.ref(first)
    del first
    gc.collect()
    assert gone() is None and np.array_equal(made("twice", lambda given: given * 3, weight), 3 * weight)


def test_a_view_holds_what_was_made() -> None:
    """Plans keep some other shape of it: the next one finds it all the same."""
    weight = hold(_numbers(1, 6000))
    view = made("thrice", lambda given: given * 3, weight).reshape(2, 3000)[1:]
    gc.collect()
    again = made("thrice", lambda given: given * 5, weight)
    assert np.shares_memory(view, again) and np.array_equal(again, 3 * weight)
