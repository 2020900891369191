"""Scratch memory that a plan keeps between calls: no page is faulted in twice, and each concurrent call has its own."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Generic, TypeVar

import numpy as np

T = TypeVar("T")
_common: ContextVar[deque[np.ndarray] | None] = ContextVar("common", default=None)

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
            lent = self._free.pop()
        except IndexError:
            lent = self._make()
        return _Loan(self._free, lent, lent)


class Scratch(Pool[np.ndarray]):
    """Equal buffers of `nbytes` uninitialised bytes. Those made inside `with shared():` lend each other's memory."""

    def __init__(self, nbytes: int) -> None:
        super().__init__(lambda: aligned(nbytes))
        self.nbytes = nbytes
        common = _common.get()
        self._alone = common is None
        if common is not None:
            self._free = common

    def take(self) -> _Loan[np.ndarray]:
        """A buffer that no other call holds."""
        if self._alone:
            return super().take()
        try:
            kept = self._free.pop()
        except IndexError:
            kept = self._make()
        if kept.nbytes < self.nbytes:  # it grows, so that after a few calls every buffer serves all
            kept = self._make()
        return _Loan(self._free, kept, kept[: self.nbytes])


@contextlib.contextmanager
def shared() -> Iterator[None]:
    """Scratch made inside lends from one set of buffers: for plans that run one after the other, whose memory then stays in cache."""
    token = _common.set(deque(maxlen=Pool.KEPT))
    try:
        yield
    finally:
        _common.reset(token)


class _Loan(Generic[T]):
    """One of a pool until the end of a with block; a class, because a generator's context manager costs 2 us a call."""

    __slots__ = ("_free", "_kept", "_lent")

    def __init__(self, free: deque[T], kept: T, lent: T) -> None:
        self._free, self._kept, self._lent = free, kept, lent

    def __enter__(self) -> T:
        return self._lent

    def __exit__(self, *error: object) -> None:
        self._free.append(self._kept)
