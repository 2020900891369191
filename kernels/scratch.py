"""Scratch memory that a plan keeps between calls: no page is faulted in twice, and each concurrent call has its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

import numpy as np

T = TypeVar("T")

ALIGNMENT = 64  # a cache line and an AVX-512 vector


def whole(nbytes: int) -> int:
    """`nbytes` rounded up to a multiple of ALIGNMENT."""
    return nbytes + -nbytes % ALIGNMENT


def aligned(nbytes: int) -> np.ndarray:
    """Uninitialised bytes whose address is a multiple of ALIGNMENT."""
    raw = np.empty(nbytes + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + nbytes]


def raw(array: np.ndarray) -> np.ndarray:
    """The same memory as bytes: compiled drivers take addresses from arrays of one type, which costs a fifth of asking here."""
    return array.view(np.uint8)


class Pool(Generic[T]):
    """A few equal things that `make` makes; `take()` lends one for the length of a with block."""

    KEPT = 4  # things kept for later calls; more concurrent callers than this make and drop

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._free: deque[T] = deque(maxlen=self.KEPT)

    def take(self) -> _Loan[T]:
        """One that no other call holds."""
        try:
            return _Loan(self._free, self._free.pop())
        except IndexError:
            return _Loan(self._free, self._make())


class Scratch(Pool[np.ndarray]):
    """Equal buffers of `nbytes` uninitialised bytes."""

    def __init__(self, nbytes: int) -> None:
        super().__init__(lambda: aligned(nbytes))
        self.nbytes = nbytes


class _Loan(Generic[T]):
    """One of a pool until the end of a with block; a class, because a generator's context manager costs 2 us a call."""

    __slots__ = ("_free", "_lent")

    def __init__(self, free: deque[T], lent: T) -> None:
        self._free, self._lent = free, lent

    def __enter__(self) -> T:
        return self._lent

    def __exit__(self, *error: object) -> None:
        self._free.append(self._lent)
