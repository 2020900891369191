"""Arrays that stay lie one after another in large pages: a model's packed weights, which each call reads from the first to the last.

Those of a mobile network are 16 to 500 KB each, too short for large pages of their own. From small ones they come at two thirds of the
speed, as the hardware asks for nothing ahead across the end of a page, and finds each page through two systems' tables. A page becomes a
large one when it is full, so that a model of 100 KB does not hold 2 MB.
"""

from __future__ import annotations

import math
import weakref

import numpy as np

from kernels.runtime.locks import lock
from kernels.runtime.pages import LARGE, become_large, pages
from kernels.runtime.scratch import whole

Array = np.ndarray

LEAST = 4096  # bytes: what is shorter is read from one page anyway
REGION = 4 * LARGE  # bytes that are asked of the system at once, and held by the last array in them


class Lasting:
    """Where the next array will lie. Regions are held by the arrays in them alone."""

    def __init__(self) -> None:
        self._lock = lock()
        self._region: weakref.ref[Array] | None = None
        self._used = self._large = 0  # bytes of it, and of its pages that are large

    def empty(self, shape: tuple[int, ...], dtype: np.dtype) -> Array:
        """An uninitialised array, to be filled and then left as it is."""
        nbytes = math.prod(shape) * dtype.itemsize
        if nbytes < LEAST:
            return np.empty(shape, dtype)
        region, start = self._place(nbytes)
        return np.asarray(_Part(region[start : start + nbytes].view(dtype).reshape(shape)))

    def put(self, array: Array) -> Array:
        """A copy of the array; itself where it is short."""
        if array.nbytes < LEAST:
            return array
        found = self.empty(array.shape, array.dtype)
        found[...] = array
        return found

    def _place(self, nbytes: int) -> tuple[Array, int]:
        if nbytes > REGION // 4:  # which would leave much of a region empty
            return pages(nbytes), 0
        with self._lock:
            region = self._region() if self._region else None
            if region is not None:  # what was given out before is filled by now
                full = self._used // LARGE * LARGE
                become_large(region, self._large, full)
                self._large = full
            if region is None or self._used + nbytes > REGION:
                region = pages(REGION, large=False)
                self._region, self._used, self._large = weakref.ref(region), 0, 0
            start = self._used
            self._used += whole(nbytes)
        return region, start


class _Part:
    """What an array has as its base, and holds its region. Views of an array that is none itself hold it, as `constants.made` wants."""

    def __init__(self, found: Array) -> None:
        self._found = found
        self.__array_interface__ = found.__array_interface__


lasting = Lasting()
