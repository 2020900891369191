"""Emptying the caches between samples, for `--cold-cache`: every thread streams through an array larger than what caches hold.

The first call of a layer after others ran, rather than the hundredth of the same, is what a model with many layers sees. Code, tables of
pages and branch predictors stay warm.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from kernels.runtime.machine import machine


class Flush:
    """A call writes twice as many bytes as the last cache holds, and per thread at least twice its second level."""

    def __init__(self, threads: int) -> None:
        caches = machine()
        each = max(2 * caches.l3 // threads, 2 * caches.l2)
        self._arrays = [np.zeros(each, np.uint8) for _ in range(threads)]
        self._pool = ThreadPoolExecutor(threads)

    def __call__(self) -> None:
        for _ in self._pool.map(lambda array: np.add(array, 1, out=array), self._arrays):
            pass
