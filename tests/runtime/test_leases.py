"""Arrays that are given away: their memory is used again once nobody holds it."""

from __future__ import annotations

import gc
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from kernels.runtime.leases import LARGEST, LEAST, Leases


def test_memory_is_used_again_once_nobody_holds_it() -> None:
    kept = Leases(2)
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
    assert kept.take((2, LEAST // 4 + 8), dtype).ctypes.data == at, "less of the same power of two fits too"


def test_only_a_few_buffers_of_middling_size_are_kept() -> None:
    kept = Leases(2)
    several = [kept.take((LEAST + i,), np.dtype(np.uint8)) for i in range(5)]
    small, large = kept.take((LEAST - 1,), np.dtype(np.uint8)), kept.take((LARGEST + 1,), np.dtype(np.uint8))
    del several, small, large
    gc.collect()
    assert len(kept._free) == 2 and all(len(each) in (LEAST, 2 * LEAST) for each in kept._free)
    assert len(kept.take((4 * LEAST,), np.dtype(np.uint8))) == 4 * LEAST, "those are too small"


def test_arrays_survive_pickling_and_threads() -> None:
    kept = Leases(2)

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
