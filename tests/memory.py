"""Arrays that lie between guard zones, to see what reads or writes past their ends."""

from __future__ import annotations

import math

import numpy as np

Array = np.ndarray

ZONE = 4096  # bytes on either side: more than any tile reaches
MARK = 0xA5


class Guarded:
    """`array` (C-contiguous) with ZONE bytes before and after it; filled with NaN unless given values.

    The zones hold a mark where only writing is watched, NaN where a value read from them would spoil the result.
    """

    def __init__(self, shape: tuple[int, ...], dtype: str, values: Array | None = None) -> None:
        itemsize = np.dtype(dtype).itemsize
        length = math.prod(shape) * itemsize
        self._raw = np.full(ZONE + length + ZONE, 0xFF if values is not None else MARK, np.uint8)
        self.array = self._raw[ZONE : ZONE + length].view(dtype).reshape(shape)
        self.array[...] = np.nan if values is None else values
        self._before = self._raw.copy()
        if values is not None:
            self._raw.flags.writeable = False
            self.array.flags.writeable = False

    def zones_untouched(self) -> bool:
        """Whether both guard zones hold what they held."""
        inside = slice(ZONE, len(self._raw) - ZONE)
        now, before = self._raw.copy(), self._before.copy()
        now[inside] = before[inside] = 0
        return bool((now == before).all())

    def unchanged(self) -> bool:
        """Whether array and zones hold what they held at first."""
        return bool((self._raw == self._before).all())


def given(values: Array) -> Guarded:
    """`values` in read-only memory between zones of NaN."""
    return Guarded(values.shape, values.dtype.name, values)
