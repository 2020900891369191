"""A table of what was made recently, bounded in number and in bytes, which several Python threads may use."""

from __future__ import annotations

import random
from collections.abc import Hashable
from typing import Generic, TypeVar

from kernels.runtime.locks import lock

Value = TypeVar("Value")


class Recent(Generic[Value]):
    """Up to `count` values whose sizes, as `put` is told them, are at most `nbytes` together; those that leave are drawn by lot.

    `get` is one look-up in a dict, without a lock: keeping track of what was used last would cost a function call 1 us. By lot, going round
    through a few values more than there is room for still finds most of them; leaving in order, oldest or least used first, finds none.
    """

    def __init__(self, count: int, nbytes: int) -> None:
        self._count, self._nbytes, self._held = count, nbytes, 0
        self._values: dict[Hashable, Value] = {}
        self._sizes: dict[Hashable, int] = {}
        self._keys: list[Hashable] = []  # in any order, and where each stands
        self._places: dict[Hashable, int] = {}
        self._lot, self._lock = random.Random(0), lock()
        self.get = self._values.get

    def put(self, key: Hashable, value: Value, nbytes: int) -> None:
        """Remember a value; one that is too large by itself is not."""
        with self._lock:
            self._drop(key)
            if nbytes > self._nbytes:
                return
            while self._keys and (len(self._keys) >= self._count or self._held + nbytes > self._nbytes):
                self._drop(self._keys[self._lot.randrange(len(self._keys))])
            self._values[key], self._sizes[key], self._places[key] = value, nbytes, len(self._keys)
            self._keys.append(key)
            self._held += nbytes

    def forget(self) -> None:
        """Drop all."""
        with self._lock:
            for key in list(self._keys):
                self._drop(key)

    def _drop(self, key: Hashable) -> None:
        place = self._places.pop(key, None)
        if place is None:
            return
        last = self._keys.pop()
        if last is not key and last != key:
            self._keys[place], self._places[last] = last, place
        self._held -= self._sizes.pop(key)
        self._values.pop(key, None)
