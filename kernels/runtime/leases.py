"""Arrays whose memory is used again once nobody holds them, nor views of them.

Allocators give large arrays back to the system when they are dropped, and each page of the next one is faulted in anew: to pack the weights
of 2048 to 2048 channels took a fifth longer for it.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import numpy as np

from kernels.runtime.scratch import aligned

Array = np.ndarray

LEAST, LARGEST = 1 << 20, 128 << 20  # bytes of an array whose memory is kept: less is quickly had, more is too much to keep


class Leases:
    """Arrays to be given away, up to `most` of whose memories wait for the next; several threads may take at once."""

    def __init__(self, most: int, largest: int = LARGEST) -> None:
        self._largest = largest
        self._free: deque[Array] = deque(maxlen=most)  # which threads change without a lock

    def take(self, shape: tuple[int, ...], dtype: np.dtype) -> Array:
        """An uninitialised array."""
        nbytes = math.prod(shape) * dtype.itemsize
        if not LEAST <= nbytes <= self._largest:
            return aligned(nbytes).view(dtype).reshape(shape)
        return np.asarray(_Lease(self._free, self._kept(nbytes), shape, dtype))

    def _kept(self, nbytes: int) -> Array:
        """A buffer with room for the next power of two, a new one where none is free: its pages beyond `nbytes` stay untouched."""
        room = 1 << (nbytes - 1).bit_length()
        for _ in range(len(self._free)):
            try:
                buffer = self._free.popleft()
            except IndexError:  # other threads took the rest
                break
            if len(buffer) == room:
                return buffer
            self._free.append(buffer)
        return aligned(room)


class _Lease:
    """What an array of borrowed memory has as its base, and so has every view of it: the last of them gives the memory back."""

    def __init__(self, free: deque[Array], buffer: Array, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self._free, self._buffer = free, buffer
        found = buffer[: math.prod(shape) * dtype.itemsize].view(dtype).reshape(shape)
        self.__array_interface__: dict[str, Any] = found.__array_interface__

    def __del__(self) -> None:
        self._free.append(self._buffer)


packed_weights = Leases(8, 512 << 20)  # of calls that bring their weights, as every step of a training does: one for each size
