"""Arrays whose memory is used again once nobody holds them, nor views of them: PyTorch's results, weights that are packed for one call.

Allocators give large arrays back to the system when they are dropped, and each page of the next one is faulted in anew: to pack the weights
of 2048 to 2048 channels took a fifth longer for it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kernels.runtime.pages import pages
from kernels.runtime.scratch import aligned, roomy, shortest

Array = np.ndarray

LEAST = 1 << 20  # bytes of an array whose memory is kept: less is quickly had
SPARE = 1.25  # times as many bytes as were held at once lately may be kept in all
LATELY = 256  # arrays given away
LONGER = 2  # times as much memory as it needs may an array take: what somebody keeps must not hold the memory of something far longer


class Leases:
    """Arrays to be given away. An array takes the shortest free memory that will do, else new memory. Where too much is free then, what
    was free the longest is dropped. Several threads may take at once: single operations on a dict are whole."""

    def __init__(self) -> None:
        self._free: dict[int, Array] = {}  # the longest free first
        self._held: dict[int, int] = {}  # bytes
        self._most = 0, 0  # bytes held at once, before and among the last arrays
        self._taken = 0  # of those

    def take(self, shape: tuple[int, ...], dtype: np.dtype) -> Array:
        """An uninitialised array."""
        nbytes = math.prod(shape) * dtype.itemsize
        if nbytes < LEAST:
            return aligned(nbytes).view(dtype).reshape(shape)
        buffer = shortest(self._free, nbytes, LONGER * nbytes)
        new = buffer is None
        if buffer is None:
            buffer = self._anew(roomy(nbytes))
        self._held[id(buffer)] = len(buffer)
        held = sum(list(self._held.values()))
        before, most = self._most
        self._most, self._taken = (before, max(most, held)), self._taken + 1
        if self._taken >= LATELY:
            self._most, self._taken = (self._most[1], held), 0
        if new or self._taken == 0:
            self._shrink(int(SPARE * max(self._most)) - held)
        return np.asarray(_Lease(self, buffer, shape, dtype))

    def give(self, buffer: Array) -> None:
        """Memory that nobody holds any more."""
        self._held.pop(id(buffer), None)  # before another thread takes it
        self._free[id(buffer)] = buffer

    def forget(self) -> None:
        """Drop what is free."""
        self._free.clear()

    def _anew(self, nbytes: int) -> Array:
        try:
            return pages(nbytes)
        except MemoryError:
            self.forget()
            return pages(nbytes)

    def _shrink(self, room: int) -> None:
        """Drop memory, the longest free first, until no more than `room` bytes are free."""
        lying = self._free.copy()
        excess = sum(map(len, lying.values())) - room
        for key, each in lying.items():
            if excess <= 0:
                break
            excess -= len(each)
            self._free.pop(key, None)


class _Lease:
    """What an array of borrowed memory has as its base, and so has every view of it: the last of them gives the memory back."""

    def __init__(self, leases: Leases, buffer: Array, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self._leases, self._buffer = leases, buffer
        found = buffer[: math.prod(shape) * dtype.itemsize].view(dtype).reshape(shape)
        self.__array_interface__: dict[str, Any] = found.__array_interface__

    def __del__(self) -> None:
        self._leases.give(self._buffer)


packed_weights = Leases()  # of calls that bring their weights, as every step of a training does
