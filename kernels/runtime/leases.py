"""Arrays whose memory is used again once nobody holds them, nor views of them: PyTorch's results, weights that are packed for one call.

Allocators give large arrays back to the system when they are dropped, and each page of the next one is faulted in anew: to pack the weights
of 2048 to 2048 channels took a fifth longer for it. An array takes the beginning of the shortest free piece that will do; what is left of
the piece stays free, and free neighbours become one again. So arrays of all lengths that are held by turns, as activations and packed
weights of a training step are, lie in the memory of those that are held at once.
"""

from __future__ import annotations

import dataclasses
import math
import weakref
from collections import deque
from typing import Any

import numpy as np

from kernels.runtime.locks import in_children, lock
from kernels.runtime.pages import give_back, pages
from kernels.runtime.scratch import aligned, roomy

Array = np.ndarray

LEAST = 1 << 20  # bytes of an array whose memory is kept: less is quickly had
UNIT = LEAST >> 4  # pieces are as many of these
SPARE = 1.25  # times as many bytes as were held at once lately may be kept in all
LATELY = 256  # arrays given away


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Piece:
    """Bytes of a memory from the system. resident: how many of them somebody has touched since the system had them, as far as is known."""

    memory: Array
    start: int
    stop: int
    resident: int

    @property
    def length(self) -> int:
        """Bytes."""
        return self.stop - self.start


class Leases:
    """Arrays to be given away. Where too much is free, what was free the longest goes back to the system. Several threads may take at once;
    what is given back waits for the next who takes, since the collector may do so anywhere."""

    def __init__(self) -> None:
        self._lock = lock()
        self._begin()
        _all.add(self)

    def _begin(self) -> None:
        self._inside = False  # whether somebody takes
        self._given: deque[Piece] = deque()  # back, and not yet among the free
        self._free: list[Piece] = []  # the longest free first
        self._held = 0  # bytes
        self._most = 0, 0  # bytes held at once, before and among the last arrays
        self._taken = 0  # of those

    def take(self, shape: tuple[int, ...], dtype: np.dtype) -> Array:
        """An uninitialised array."""
        nbytes = math.prod(shape) * dtype.itemsize
        if nbytes < LEAST:
            return aligned(nbytes).view(dtype).reshape(shape)
        with self._lock:
            if self._inside:  # in the midst of another call, as a finaliser or a handler of a signal may be: memory that is not kept
                return pages(nbytes)[:nbytes].view(dtype).reshape(shape)
            try:
                self._inside = True
                lease = _Lease(self, self._piece(-(-nbytes // UNIT) * UNIT), shape, dtype)
            finally:
                self._inside = False
        return np.asarray(lease)

    def give(self, piece: Piece) -> None:
        """A piece that nobody holds any more."""
        self._given.append(piece)

    def forget(self) -> None:
        """Give back what is free."""
        with self._lock:
            if not self._inside:
                try:
                    self._inside = True
                    self._shrink(0)
                finally:
                    self._inside = False

    def after_fork(self) -> None:
        """Begin anew in a child whose parent had another thread inside, which is not there to end what it began."""
        if self._inside and not self._lock._is_owned():
            self._begin()

    def _piece(self, nbytes: int) -> Piece:
        self._join()
        found = min((p for p in self._free if p.length >= nbytes), key=lambda p: (p.resident < nbytes, p.length), default=None)
        if found is not None:
            self._free.remove(found)
        piece = self._anew(nbytes) if found is None else found
        end = piece.start + nbytes
        if end < piece.stop:
            self._free.append(Piece(piece.memory, end, piece.stop, max(piece.resident - nbytes, 0)))
        self._held += nbytes
        before, most = self._most
        self._most, self._taken = (before, max(most, self._held)), self._taken + 1
        if self._taken >= LATELY:
            self._most, self._taken = (self._most[1], self._held), 0
        if piece.resident < nbytes or self._taken == 0:
            self._shrink(int(SPARE * max(self._most)) - self._held)
        return Piece(piece.memory, piece.start, end, nbytes)

    def _join(self) -> None:
        """What was given back becomes free, one piece with free neighbours."""
        while self._given:
            piece = self._given.popleft()
            self._held = max(self._held - piece.length, 0)
            for each in [each for each in self._free if each.memory is piece.memory]:
                if each.stop == piece.start or each.start == piece.stop:
                    self._free.remove(each)
                    ends = min(each.start, piece.start), max(each.stop, piece.stop)
                    piece = Piece(piece.memory, *ends, each.resident + piece.resident)
            self._free.append(piece)

    def _anew(self, nbytes: int) -> Piece:
        room = -(-roomy(nbytes) // UNIT) * UNIT  # somewhat longer arrays will fit; what nobody touches is no memory
        try:
            return Piece(pages(room), 0, room, 0)
        except MemoryError:
            self._shrink(0)
            return Piece(pages(nbytes), 0, nbytes, 0)

    def _shrink(self, room: int) -> None:
        """Give back memory, the longest free first, until no more than `room` bytes are free; all for 0."""
        self._join()
        excess = sum(piece.resident for piece in self._free) - room
        kept = []
        for piece in self._free:
            if room <= 0 or (excess > 0 and piece.resident):
                if piece.length == len(piece.memory):  # nobody holds any of it
                    excess -= piece.resident
                    continue
                given = min(give_back(piece.memory, piece.start, piece.stop), piece.resident)
                excess -= given
                piece = Piece(piece.memory, piece.start, piece.stop, piece.resident - given)
            kept.append(piece)
        self._free = kept


class _Lease:
    """What an array of borrowed memory has as its base, and so has every view of it: the last of them gives the memory back."""

    def __init__(self, leases: Leases, piece: Piece, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self._leases, self._piece = leases, piece
        found = piece.memory[piece.start : piece.start + math.prod(shape) * dtype.itemsize].view(dtype).reshape(shape)
        self.__array_interface__: dict[str, Any] = found.__array_interface__

    def __del__(self) -> None:
        self._leases.give(self._piece)


_all: weakref.WeakSet[Leases] = weakref.WeakSet()


def _after_fork() -> None:
    for each in list(_all):
        each.after_fork()


in_children(_after_fork)
packed_weights = Leases()  # of calls that bring their weights, as every step of a training does
