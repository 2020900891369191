"""Scratch memory that a plan keeps between calls: no page is faulted in twice, and each concurrent call has its own."""

from __future__ import annotations

from collections import deque

import numpy as np

ALIGNMENT = 64  # a cache line and an AVX-512 vector


def whole(nbytes: int) -> int:
    """`nbytes` rounded up to a multiple of ALIGNMENT."""
    return nbytes + -nbytes % ALIGNMENT


def aligned(nbytes: int) -> np.ndarray:
    """Uninitialised bytes whose address is a multiple of ALIGNMENT."""
    raw = np.empty(nbytes + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + nbytes]


HEADER = object.__basicsize__  # bytes of CPython's own header, after which NumPy's array structure begins with its data pointer


def handle(array: np.ndarray | None) -> int:
    """Where an array keeps its data pointer, which compiled drivers follow (`addresses.pointed`); 0 for None. It serves while the array
    lives. A tenth of the 1 to 3 us that asking NumPy for the pointer takes, of which a call has six."""
    return 0 if array is None else id(array) + HEADER


class Scratch:
    """A few equal buffers of `nbytes`. What a call that failed does not give back is dropped: no try and no with, which cost 1 us."""

    KEPT = 4  # buffers kept for later calls; more concurrent callers than this allocate and drop

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes
        self._free: deque[np.ndarray] = deque(maxlen=self.KEPT)

    def take(self) -> np.ndarray:
        """A buffer of uninitialised bytes that no other call holds."""
        try:
            return self._free.pop()
        except IndexError:
            return aligned(self.nbytes)

    def give(self, buffer: np.ndarray) -> None:
        """Keep a buffer for later calls."""
        self._free.append(buffer)
