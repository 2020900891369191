"""Buffers between layers and of results: what is given back is taken again, and what somebody holds is not."""

from __future__ import annotations

import gc
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from kernels.streaming.buffers import LARGEST, LEAST, Buffers, Results

FLOAT = np.dtype("float32")


def test_a_buffer_is_taken_again_in_any_shape() -> None:
    buffers = Buffers()
    first = buffers.take((2, 3, 4), FLOAT)
    address = first.ctypes.data
    buffers.give(first.reshape(6, 4))
    again = buffers.take((4, 3), np.dtype("float64"))
    assert again.ctypes.data == address and again.shape == (4, 3) and address % 64 == 0


def test_arrays_that_are_held_do_not_overlap() -> None:
    buffers = Buffers()
    held = [buffers.take((size,), FLOAT) for size in (5, 0, 100, 7)]
    for i, each in enumerate(held):
        each[:] = i
    assert all((each == i).all() for i, each in enumerate(held))


def test_the_smallest_that_holds_it_else_a_larger_in_its_place() -> None:
    buffers = Buffers()
    small, large = buffers.take((100,), FLOAT), buffers.take((1000,), FLOAT)
    place = small.ctypes.data
    buffers.give(large)
    buffers.give(small)
    taken = buffers.take((90,), FLOAT)
    assert taken.ctypes.data == place
    buffers.give(taken)
    buffers.give(buffers.take((2000,), FLOAT))
    assert buffers.nbytes == 400 + 8000, "the one of 4000 bytes was dropped"


def test_a_copy_converts() -> None:
    np.testing.assert_array_equal(Buffers().copy(np.arange(6).reshape(2, 3)[:, ::2], FLOAT), np.float32([[0, 2], [3, 5]]))


def test_memory_of_results_is_used_again_once_nobody_holds_it() -> None:
    kept = Results(2)
    shape, dtype = (3, LEAST // 4), np.dtype(np.float32)
    x = kept.take(shape, dtype)
    assert x.shape == shape and x.dtype == dtype and x.flags.c_contiguous and x.flags.writeable
    at, view = x.ctypes.data, x[1:, ::7]
    view[:] = 5
    del x
    gc.collect()
    other = kept.take(shape, dtype)
    assert other.ctypes.data != at, "a view holds it"
    other[:] = 0
    assert (view == 5).all()
    raw = memoryview(view[0, :3])
    del view
    gc.collect()
    third = kept.take(shape, dtype)
    assert third.ctypes.data != at and raw[0] == 5, "and so does a buffer of a view"
    del raw
    gc.collect()
    assert kept.take((3, LEAST // 4 - 8), dtype).ctypes.data == at, "a little less fits too"


def test_only_a_few_buffers_of_middling_size_are_kept() -> None:
    kept = Results(2)
    several = [kept.take((LEAST + i,), np.dtype(np.uint8)) for i in range(5)]
    small, large = kept.take((LEAST - 1,), np.dtype(np.uint8)), kept.take((LARGEST + 1,), np.dtype(np.uint8))
    del several, small, large
    gc.collect()
    assert len(kept._free) == 2 and all(LEAST <= len(each) < 2 * LEAST for each in kept._free)
    assert len(kept.take((4 * LEAST,), np.dtype(np.uint8))) == 4 * LEAST, "those are too small"


def test_results_survive_pickling_and_threads() -> None:
    kept = Results(2)

    def work(seed: int) -> bool:
        right = True
        for turn in range(30):
            x = kept.take((LEAST // 4,), np.dtype(np.int32))
            x[:] = 100 * seed + turn
            right &= bool((x == 100 * seed + turn).all())
        return right

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(8)))
    x = kept.take((LEAST,), np.dtype(np.uint8))
    x[:] = 3
    assert (pickle.loads(pickle.dumps(x, protocol=5)) == 3).all()
