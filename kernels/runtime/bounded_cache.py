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
        self._count, self._nbytes = count, nbytes
        self._values: dict[Hashable, Value] = {}
        self._sizes: dict[Hashable, int] = {}
        self._lot, self._lock = random.Random(0), lock()
        self.get = self._values.get

    def put(self, key: Hashable, value: Value, nbytes: int) -> None:
        """Remember a value; one that is too large by itself is not."""
        with self._lock:
            self._drop(key)
            if nbytes > self._nbytes:
                return
            while self._sizes and (len(self._sizes) >= self._count or sum(self._sizes.values()) + nbytes > self._nbytes):
                self._drop(self._lot.choice(list(self._sizes)))
            self._sizes[key], self._values[key] = nbytes, value  # a handler's put in the midst of this one leaves both tables alike

    def forget(self) -> None:
        """Drop all."""
        with self._lock:
            for key in list(self._sizes):
                self._drop(key)

    def _drop(self, key: Hashable) -> None:
        self._sizes.pop(key, None)
        self._values.pop(key, None)
