"""Memory for what lies between the layers of a network, kept from call to call.

Allocators give large arrays back to the system when they are dropped, and dask's workers (`MALLOC_TRIM_THRESHOLD_`) all above 128 KB: every
layer would fault its pages in anew, which takes as long as computing them.
"""

from __future__ import annotations

import math

import numpy as np

from kernels.runtime.pages import ALIGNMENT
from kernels.runtime.scratch import aligned

Array = np.ndarray


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
