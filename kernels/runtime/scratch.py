"""Scratch memory that plans keep between calls: no page is faulted in twice, and each concurrent call has its own.

Plans use the same buffers by turns: a network that trains has three plans a layer, of which one runs at a time.
"""

from __future__ import annotations

import math
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from kernels.runtime.pages import ALIGNMENT, pages

LONG = 1 << 20  # bytes of a buffer that any plan may use, and that a call may take a microsecond to look for


def whole(nbytes: int) -> int:
    """`nbytes` rounded up to a multiple of ALIGNMENT."""
    return nbytes + -nbytes % ALIGNMENT


def aligned(nbytes: int) -> np.ndarray:
    """Uninitialised bytes whose address is a multiple of ALIGNMENT."""
    return _begun(bytes_of(nbytes + ALIGNMENT), nbytes)


def _begun(raw: np.ndarray, nbytes: int) -> np.ndarray:
    """`nbytes` of raw from its first multiple of ALIGNMENT on."""
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + nbytes]


def bytes_of(nbytes: int) -> np.ndarray:
    """Uninitialised bytes."""
    return np.empty(nbytes, np.uint8)


HEADER = object.__basicsize__  # bytes of CPython's own header, after which NumPy's array structure begins with its data pointer


def handle(array: np.ndarray | None) -> int:
    """Where an array keeps its data pointer, which compiled drivers follow (`addresses.pointed`); 0 for None. It serves while the array
    lives. A tenth of the 1 to 3 us that getting the pointer from NumPy takes, of which a call has six."""
    return 0 if array is None else id(array) + HEADER


class Scratch:
    """A few buffers of `nbytes`. What a call that failed does not give back is dropped: no try and no with, which cost 1 us.

    Short buffers have room for a power of two, and all plans that need the same power share them. Long ones are shared by all plans that
    need any (`Long`), so that a training step, whose layers need 40 MB each in turns, goes through the caches with one. They go with the
    last of these plans.
    """

    KEPT = 4  # short buffers kept for later calls; more concurrent callers than this allocate and drop

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes
        self._room = (1 << max(nbytes - 1, 1).bit_length()) + ALIGNMENT
        self._free: deque[np.ndarray]
        if nbytes < LONG:
            self._free = _shared.setdefault(self._room, deque(maxlen=self.KEPT))
        else:
            self._long = _long.setdefault(0, Long(pages))
            self._long.join(self)

    def take(self) -> np.ndarray:
        """A buffer of uninitialised bytes that no other call holds."""
        if self.nbytes >= LONG:
            return _begun(self._long.take(self.nbytes + ALIGNMENT), self.nbytes)
        try:
            buffer = self._free.pop()
        except IndexError:
            return _begun(bytes_of(self._room), self.nbytes)
        if len(buffer) == self.nbytes:
            return buffer
        raw = buffer.base  # another plan took fewer or more of it
        assert isinstance(raw, np.ndarray)
        return _begun(raw, self.nbytes)

    def give(self, buffer: np.ndarray) -> None:
        """Keep a buffer for later calls."""
        if self.nbytes >= LONG:
            raw = buffer.base
            assert isinstance(raw, np.ndarray)
            self._long.give(raw)
        else:
            self._free.append(buffer)


class Sized(Protocol):
    """What takes so much memory."""

    @property
    def nbytes(self) -> int:
        """Bytes of it."""


Item = TypeVar("Item", bound=Sized)


def roomy(nbytes: int) -> int:
    """Rounded up to the next quarter of a power of two: plans for somewhat longer inputs find room. Pages that nobody touches are none."""
    unit = 1 << max(nbytes.bit_length() - 3, 0)
    return -(-nbytes // unit) * unit


def shortest(free: dict[int, Item], least: int, most: float = math.inf) -> Item | None:
    """Take the shortest of free items of `least` to `most` bytes, by their ids; None where there is none. Other threads may take too."""
    while True:
        lying = free.copy()  # which holds what it lists, so that no id is used again
        fitting = [(item.nbytes, key) for key, item in lying.items() if least <= item.nbytes <= most]
        if not fitting:
            return None
        found = free.pop(min(fitting)[1], None)
        if found is not None:  # else another thread had it sooner
            return found


class Long(Generic[Item]):
    """Free memory of any length, as `make` gives it. A call takes the shortest that will do; where none does, a new one takes the place of
    the longest, so that there come to be as many as are needed at once. As many stay free as calls ever held at once, up to KEPT, the
    longest ones. Several threads may take and give: single operations on a dict are whole."""

    KEPT = 16  # that stay free: more concurrent callers than this allocate and drop
    SPARE = 2  # times as many bytes as calls ever wanted at once may stay free

    def __init__(self, make: Callable[[int], Item]) -> None:
        self.free: dict[int, Item] = {}
        self._make = make
        self._out: dict[int, tuple[weakref.ref[Item], int]] = {}  # what calls hold, and wanted; what failed ones held leaves by itself
        self._at_once = self._wanted = 0  # the most that they held, and bytes that they wanted
        self._needs: dict[int, tuple[weakref.ref[Any], int]] = {}  # of each plan that lives
        self._state = object()  # of the needs: another with each change
        self._most: tuple[object, int] = self._state, 0  # in which state, bytes that any of them needs

    def join(self, plan: Sized) -> None:
        """Count a plan's need, as long as it lives."""

        key, own = id(plan), weakref.ref(self)

        def gone(_: object) -> None:
            pool = own()
            if pool is not None:
                pool._needs.pop(key, None)
                pool._state = object()
                room = pool._room() if pool.free else 0
                for number, item in pool.free.copy().items():
                    if item.nbytes > room:
                        pool.free.pop(number, None)

        self._needs[key] = weakref.ref(plan, gone), plan.nbytes
        self._state = object()

    def take(self, nbytes: int) -> Item:
        """One of at least so many bytes."""
        item, out = self._free_or_new(nbytes), self._out
        key = id(item)
        out[key] = weakref.ref(item, lambda _: out.pop(key, None)), nbytes
        self._at_once = max(self._at_once, len(out))
        self._wanted = max(self._wanted, sum(wanted for _, wanted in out.copy().values()))
        return item

    def _free_or_new(self, nbytes: int) -> Item:
        found = shortest(self.free, nbytes)
        if found is None:
            lengths = [(item.nbytes, key) for key, item in self.free.copy().items()]
            if lengths:
                self.free.pop(max(lengths)[1], None)
            found = self._make(roomy(nbytes))
        return found

    def give(self, item: Item) -> None:
        """Keep one, unless the plans that needed so long a one are gone; the shortest makes room where enough are kept."""
        self._out.pop(id(item), None)
        if item.nbytes > self._room():
            return
        self.free[id(item)] = item
        lengths = sorted((each.nbytes, key) for key, each in self.free.copy().items())
        if len(lengths) > min(self._at_once, self.KEPT):
            self.free.pop(lengths[0][1], None)
        elif sum(length for length, _ in lengths) > self.SPARE * self._wanted:  # short calls were given long ones
            self.free.pop(lengths[-1][1], None)

    def _room(self) -> int:
        """Bytes of the longest that is kept."""
        state, most = self._most
        if state is not self._state:
            state = self._state  # before the needs are read: a plan that joins meanwhile makes another
            most = max((nbytes for _, nbytes in list(self._needs.values())), default=0)
            self._most = state, most
        return roomy(most + ALIGNMENT)


_shared: weakref.WeakValueDictionary[int, deque[np.ndarray]] = weakref.WeakValueDictionary()  # free short buffers, by their room
_long: weakref.WeakValueDictionary[int, Long[np.ndarray]] = weakref.WeakValueDictionary()  # the one of this process, while a plan needs it
