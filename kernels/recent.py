"""Tables of what was used most recently, bounded in number and in bytes, which several Python threads may use."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Recent(Generic[Value]):
    """Up to `count` values whose sizes, as `put` is told them, are at most `nbytes` together; the longest unused leave first."""

    def __init__(self, count: int, nbytes: int) -> None:
        self._count, self._nbytes, self._held = count, nbytes, 0
        self._values: OrderedDict[Hashable, tuple[Value, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> Value | None:
        """The value, which counts as used now, or None."""
        with self._lock:
            found = self._values.get(key)
            if found is None:
                return None
            self._values.move_to_end(key)
            return found[0]

    def put(self, key: Hashable, value: Value, nbytes: int) -> None:
        """Remember a value; one that is too large by itself is not."""
        with self._lock:
            self._drop(key)
            self._values[key] = value, nbytes
            self._held += nbytes
            while self._values and (len(self._values) > self._count or self._held > self._nbytes):
                self._drop(next(iter(self._values)))

    def forget(self) -> None:
        """Drop all."""
        with self._lock:
            self._values.clear()
            self._held = 0

    def __len__(self) -> int:
        return len(self._values)

    def _drop(self, key: Hashable) -> None:
        _, nbytes = self._values.pop(key, (None, 0))
        self._held -= nbytes
