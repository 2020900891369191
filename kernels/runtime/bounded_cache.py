"""A table of what was made recently, bounded in number and in bytes, which several Python threads may use."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Recent(Generic[Value]):
    """Up to `count` values whose sizes, as `put` is told them, are at most `nbytes` together; the oldest leave first.

    `get` is one look-up in a dict, without a lock: keeping track of what was used last would cost a function call 1 us.
    """

    def __init__(self, count: int, nbytes: int) -> None:
        self._count, self._nbytes = count, nbytes
        self._values: dict[Hashable, Value] = {}
        self._sizes: dict[Hashable, int] = {}
        self._lock = threading.Lock()
        self.get = self._values.get

    def put(self, key: Hashable, value: Value, nbytes: int) -> None:
        """Remember a value; one that is too large by itself is not."""
        with self._lock:
            self._drop(key)
            self._values[key], self._sizes[key] = value, nbytes
            while len(self._sizes) > self._count or sum(self._sizes.values()) > self._nbytes:
                self._drop(next(iter(self._sizes)))

    def forget(self) -> None:
        """Drop all."""
        with self._lock:
            self._values.clear()
            self._sizes.clear()

    def _drop(self, key: Hashable) -> None:
        self._values.pop(key, None)
        self._sizes.pop(key, None)
