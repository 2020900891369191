"""On which cores workers are woken: not on the one of who wakes them."""

from __future__ import annotations

import os
import sys
import threading

import numpy as np
import pytest
from marks import python

from kernels.runtime.atomics import keep_off
from kernels.runtime.jit import njit
from kernels.runtime.machine import cores

pytestmark = pytest.mark.skipif(sys.platform != "linux" or cores() < 2, reason="cores of single threads, where there are several")


@njit
def spread(threads, count):
    keep_off(threads, count)


def test_threads_are_kept_off_the_core_of_who_wakes_them() -> None:
    """And on the cores that the waker may use; nothing changes where it has no second one, or for a number 0."""
    end, allowed = threading.Event(), os.sched_getaffinity(0)
    others = [threading.Thread(target=end.wait) for _ in range(2)]
    for each in others:
        each.start()
    numbers = np.array([others[0].native_id, 0, others[1].native_id])
    try:
        spread(numbers.ctypes.data, 3)
        for each in others:
            found = os.sched_getaffinity(each.native_id)
            assert found < allowed and len(found) == len(allowed) - 1
        assert os.sched_getaffinity(0) == allowed
        os.sched_setaffinity(0, {min(allowed)})
        spread(numbers.ctypes.data, 3)
        assert os.sched_getaffinity(others[0].native_id) == found
        os.sched_setaffinity(others[0].native_id, allowed)
        os.sched_setaffinity(0, {max(allowed), min(allowed)})
        spread(numbers.ctypes.data, 1)
        assert os.sched_getaffinity(others[0].native_id) < {max(allowed), min(allowed)}
    finally:
        os.sched_setaffinity(0, allowed)
        end.set()
        for each in others:
            each.join()


def test_a_worker_that_slept_is_woken_on_another_core() -> None:
    python("""
        done, others = np.zeros(50, np.int64), set(os.listdir("/proc/self/task"))
        mark(2, 50, done)
        until(lambda: pool.read(pool.SLEEPING))
        number, = map(int, set(os.listdir("/proc/self/task")) - others)
        assert pool.read(pool.SLEEPING) == number
        os.sched_setaffinity(number, os.sched_getaffinity(0))
        mark(2, 50, done)
        assert len(os.sched_getaffinity(number)) == len(os.sched_getaffinity(0)) - 1
    """)
