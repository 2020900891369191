"""Scratch memory that plans keep between calls: no page is faulted in twice, and each concurrent call has its own.

Plans of about the same need use the same buffers by turns: a network that trains has three plans a layer, of which one runs at a time.
"""

from __future__ import annotations

import weakref
from collections import deque

import numpy as np

ALIGNMENT = 64  # a cache line and an AVX-512 vector


def whole(nbytes: int) -> int:
    """`nbytes` rounded up to a multiple of ALIGNMENT."""
    return nbytes + -nbytes % ALIGNMENT


def aligned(nbytes: int) -> np.ndarray:
    """Uninitialised bytes whose address is a multiple of ALIGNMENT."""
    return _begun(np.empty(nbytes + ALIGNMENT, np.uint8), nbytes)


def _begun(raw: np.ndarray, nbytes: int) -> np.ndarray:
    """`nbytes` of raw from its first multiple of ALIGNMENT on."""
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + nbytes]


HEADER = object.__basicsize__  # bytes of CPython's own header, after which NumPy's array structure begins with its data pointer


def handle(array: np.ndarray | None) -> int:
    """Where an array keeps its data pointer, which compiled drivers follow (`addresses.pointed`); 0 for None. It serves while the array
    lives. A tenth of the 1 to 3 us that asking NumPy for the pointer takes, of which a call has six."""
    return 0 if array is None else id(array) + HEADER


class Scratch:
    """A few buffers of `nbytes`. What a call that failed does not give back is dropped: no try and no with, which cost 1 us.

    Buffers have room for a power of two, pages beyond `nbytes` stay untouched, and all plans that need the same power share them. They go
    with the last of these plans.
    """

    KEPT = 4  # buffers kept for later calls; more concurrent callers than this allocate and drop

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes
        self._room = (1 << max(nbytes - 1, 1).bit_length()) + ALIGNMENT
        self._free: deque[np.ndarray] = _shared.setdefault(self._room, deque(maxlen=self.KEPT))

    def take(self) -> np.ndarray:
        """A buffer of uninitialised bytes that no other call holds."""
        try:
            buffer = self._free.pop()
        except IndexError:
            return _begun(np.empty(self._room, np.uint8), self.nbytes)
        if len(buffer) == self.nbytes:
            return buffer
        raw = buffer.base  # another plan took fewer or more of it
        assert isinstance(raw, np.ndarray)
        return _begun(raw, self.nbytes)

    def give(self, buffer: np.ndarray) -> None:
        """Keep a buffer for later calls."""
        self._free.append(buffer)


_shared: weakref.WeakValueDictionary[int, deque[np.ndarray]] = weakref.WeakValueDictionary()  # free buffers, by their room
