"""Memory for what lies between the layers of a network and for its results, kept from call to call.

Allocators give large arrays back to the system when they are dropped, and dask's workers (`MALLOC_TRIM_THRESHOLD_`) all above 128 KB: every
layer would fault its pages in anew, which takes as long as computing them.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import numpy as np

from kernels.runtime.scratch import ALIGNMENT, aligned

Array = np.ndarray

LEAST, LARGEST = 1 << 20, 128 << 20  # bytes of a result whose memory is kept: less is quickly had, more is too much to keep


class Buffers:
    """Buffers of one call at a time: arrays are taken, and given back when nothing needs them."""

    def __init__(self) -> None:
        self._free: list[Array] = []
        self._taken: dict[int, Array] = {}  # by the address where they begin

    def take(self, shape: tuple[int, ...], dtype: np.dtype) -> Array:
        """An uninitialised array in the smallest buffer that holds it. One that is too small gives way to a larger."""
        nbytes = math.prod(shape) * dtype.itemsize
        self._free.sort(key=len)
        large = next((i for i, each in enumerate(self._free) if len(each) >= nbytes), None)
        if large is None:
            if self._free:
                self._free.pop()
            buffer = aligned(max(nbytes, ALIGNMENT))
        else:
            buffer = self._free.pop(large)
        self._taken[buffer.ctypes.data] = buffer
        return buffer[:nbytes].view(dtype).reshape(shape)

    def give(self, x: Array) -> None:
        """Take back an array, of whatever shape it is by now."""
        self._free.append(self._taken.pop(x.ctypes.data))

    def copy(self, x: Array, dtype: np.dtype | None = None) -> Array:
        """The same numbers in an array of these buffers."""
        y = self.take(x.shape, dtype or x.dtype)
        np.copyto(y, x, casting="unsafe")
        return y

    @property
    def nbytes(self) -> int:
        """Bytes that it holds."""
        return sum(map(len, (*self._free, *self._taken.values())))


class Results:
    """Arrays to be given away, whose memory is used again once nobody holds them, nor views of them; several threads may take at once."""

    def __init__(self, most: int) -> None:
        self._free: deque[Array] = deque(maxlen=most)  # which threads change without a lock

    def take(self, shape: tuple[int, ...], dtype: np.dtype) -> Array:
        """An uninitialised array."""
        nbytes = math.prod(shape) * dtype.itemsize
        if not LEAST <= nbytes <= LARGEST:
            return np.empty(shape, dtype)
        return np.asarray(_Lease(self._free, self._kept(nbytes), shape, dtype))

    def _kept(self, nbytes: int) -> Array:
        """A buffer for so many bytes that is not much larger, a new one where none is free."""
        for _ in range(len(self._free)):
            try:
                buffer = self._free.popleft()
            except IndexError:  # other threads took the rest
                break
            if nbytes <= len(buffer) <= 2 * nbytes:
                return buffer
            self._free.append(buffer)
        return aligned(nbytes)


class _Lease:
    """What an array of borrowed memory has as its base, and so has every view of it: the last of them gives the memory back."""

    def __init__(self, free: deque[Array], buffer: Array, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self._free, self._buffer = free, buffer
        found = buffer[: math.prod(shape) * dtype.itemsize].view(dtype).reshape(shape)
        self.__array_interface__: dict[str, Any] = found.__array_interface__

    def __del__(self) -> None:
        self._free.append(self._buffer)
