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


HEADER = object.__basicsize__  # bytes of CPython's own header, after which NumPy's array structure begins with its data pointer


def handle(array: np.ndarray | None) -> int:
    """Where an array keeps its data pointer, which compiled drivers follow (`vector.pointed`); 0 for None. It serves as long as the array
    lives. A tenth of the 1 to 3 us that asking NumPy for the pointer takes, of which a call has six."""
    return 0 if array is None else id(array) + HEADER


class Pool(Generic[T]):
    """A few equal things that `make` makes. What a call that failed does not give back is dropped: no try and no with, which cost 1 us."""

    KEPT = 4  # things kept for later calls; more concurrent callers than this make and drop

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._free: deque[T] = deque(maxlen=self.KEPT)

    def take(self) -> T:
        """One that no other call holds."""
        try:
            return self._free.pop()
        except IndexError:
            return self._make()

    def give(self, thing: T) -> None:
        """Keep it for later calls."""
        self._free.append(thing)


class Scratch(Pool[np.ndarray]):
    """Equal buffers of `nbytes` uninitialised bytes. Those made inside `with shared():` lend each other's memory."""

    def __init__(self, nbytes: int) -> None:
        super().__init__(lambda: aligned(nbytes))
        self.nbytes = nbytes
        common = _common.get()
        self._whole: dict[int, np.ndarray] | None = None if common is None else {}  # what lent parts belong to
        if common is not None:
            self._free = common

    def take(self) -> np.ndarray:
        """A buffer that no other call holds."""
        kept = super().take()
        if self._whole is None:
            return kept
        if kept.nbytes < self.nbytes:  # it grows, so that after a few calls every buffer serves all
            kept = self._make()
        part = kept[: self.nbytes]
        self._whole[id(part)] = kept
        return part

    def give(self, buffer: np.ndarray) -> None:
        """Keep it for later calls."""
        super().give(buffer if self._whole is None else self._whole.pop(id(buffer)))


@contextlib.contextmanager
def shared() -> Iterator[None]:
    """Scratch made inside lends from one set of buffers: for plans that run one after the other, whose memory then stays in cache."""
    token = _common.set(deque(maxlen=Pool.KEPT))
    try:
        yield
    finally:
        _common.reset(token)
