"""Where values lie: parts of buffers, in any order of axes.

A view is a buffer, the place of its first number there, a shape and strides, all counted in numbers. Reshape, Transpose, Slice and their
like give other views of the same buffer and cost nothing; whoever needs numbers in one order asks for a copy only where they are not in it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

Array = np.ndarray
Shape = tuple[int, ...]


@dataclasses.dataclass(eq=False)
class Buffer:
    """Memory for some numbers: of a call's arena, of one of its inputs or outputs (`name`), or constant (`data`)."""

    nbytes: int
    kind: str = "arena"  # "arena", "input", "output", "constant"
    name: str = ""
    data: Array | None = None


class View(NamedTuple):
    """Numbers of a buffer; see above."""

    buffer: Buffer
    offset: int
    shape: Shape
    strides: Shape
    dtype: np.dtype

    @property
    def size(self) -> int:
        """How many numbers a reader sees."""
        return math.prod(self.shape)

    def transposed(self, order: Sequence[int]) -> View:
        """The axes in another order."""
        return self._replace(shape=tuple(self.shape[i] for i in order), strides=tuple(self.strides[i] for i in order))

    def swapped(self) -> View:
        """The last two axes changed places."""
        order = list(range(len(self.shape)))
        order[-2:] = order[-1], order[-2]
        return self.transposed(order)

    def order(self) -> tuple[int, ...]:
        """The axes as they lie in memory, the slowest first; of those that step alike the first one first."""
        return tuple(sorted(range(len(self.shape)), key=lambda i: (-abs(self.strides[i]) if self.shape[i] > 1 else -math.inf, i)))

    def contiguous(self, order: Sequence[int] | None = None) -> bool:
        """Whether the numbers lie one behind the other with the axes in this order (their own without)."""
        step = 1
        for i in reversed(range(len(self.shape)) if order is None else order):
            if self.shape[i] != 1:
                if self.strides[i] != step:
                    return False
                step *= self.shape[i]
        return True

    def dense(self) -> bool:
        """Whether the numbers lie one behind the other in some order of axes."""
        return self.contiguous(self.order())

    def equals(self, other: View) -> bool:
        """Whether another is the same numbers in the same shape: steps along axes of length 1 say nothing."""
        alike = self[:3] == other[:3] and self.dtype == other.dtype
        return alike and all(n == 1 or own == step for n, own, step in zip(self.shape, self.strides, other.strides))

    def same(self, other: View) -> bool:
        """Whether another sees the same numbers of the same buffer, where both are contiguous in order."""
        return (self.buffer, self.offset, self.size) == (other.buffer, other.offset, other.size)

    def steps(self) -> list[tuple[int, int]]:
        """Stride and length of each axis that has more than one number."""
        return [(step, n) for n, step in zip(self.shape, self.strides) if n > 1]

    def sees(self, other: View) -> bool:
        """Whether another sees the same numbers of the same buffer, in whatever order of axes."""
        return (self.buffer, self.offset) == (other.buffer, other.offset) and sorted(self.steps()) == sorted(other.steps())

    def reshaped(self, shape: Shape) -> View | None:
        """The same numbers in another shape; None where their order does not allow it without a copy."""
        strides = reshaped_strides(self.shape, self.strides, shape)
        return None if strides is None else self._replace(shape=shape, strides=strides)

    def part(self, axis: int, start: int, length: int, step: int = 1) -> View:
        """Some indices of one axis."""
        shape, strides = list(self.shape), list(self.strides)
        offset = self.offset + start * strides[axis]
        shape[axis], strides[axis] = length, strides[axis] * step
        return View(self.buffer, offset, tuple(shape), tuple(strides), self.dtype)

    def expanded(self, shape: Shape) -> View:
        """Broadcast: axes of length 1 are seen again and again."""
        more = len(shape) - len(self.shape)
        pairs = zip(shape[more:], self.shape, self.strides)
        return self._replace(shape=shape, strides=(0,) * more + tuple(0 if n != own else step for n, own, step in pairs))

    def of(self, base: Array) -> Array:
        """The array, in memory that holds the whole buffer (bytes)."""
        size = self.dtype.itemsize
        if not self.size:
            return np.empty(self.shape, self.dtype)
        return np.ndarray(self.shape, self.dtype, base, self.offset * size, tuple(step * size for step in self.strides))


def fresh(buffer: Buffer, shape: Shape, dtype: np.dtype, order: Sequence[int] | None = None, offset: int = 0) -> View:
    """A contiguous view, with the axes in this order in memory."""
    strides, step = [1] * len(shape), 1
    for i in reversed(range(len(shape)) if order is None else order):
        strides[i] = step
        step *= max(shape[i], 1)
    return View(buffer, offset, shape, tuple(strides), dtype)


def constant_view(array: Array) -> View:
    """Numbers that a model brings, as they lie."""
    shape = array.shape
    array = array[tuple(slice(0, 1) if step == 0 else slice(None) for step in array.strides)]  # what is broadcast is kept once
    array = np.ascontiguousarray(array).reshape(array.shape)
    view = fresh(Buffer(array.nbytes, "constant", data=array), array.shape, array.dtype)
    return view if array.shape == shape else view.expanded(shape)


def reshaped_strides(shape: Shape, strides: Shape, wanted: Shape) -> Shape | None:
    """Strides that give the same numbers in another shape; None where there are none. Runs of axes that lie one behind the other are
    shared out anew.

    >>> reshaped_strides((2, 3, 4), (12, 4, 1), (6, 2, 2))
    (4, 2, 1)
    >>> reshaped_strides((2, 3), (1, 2), (6,)) is None
    True
    """
    old = [(n, step) for n, step in zip(shape, strides) if n != 1]
    found: list[int] = []
    if math.prod(shape) == 0:
        return (1,) * len(wanted)
    i, run, step, left = 0, 1, 1, 1
    for n in wanted:
        if n == 1:
            found.append(1)
            continue
        if left == 1:
            if i == len(old):
                return None
            run, (first, step) = 1, old[i]
            run, i = first, i + 1
            while run < n or run % n:  # as many of the old axes as this one and maybe more take
                if i == len(old) or step != old[i][0] * old[i][1]:
                    break
                run *= old[i][0]
                step = old[i][1]
                i += 1
            left = run
        if left % n:
            # the run goes on in old axes that lie behind it
            while left % n and i < len(old) and step == old[i][0] * old[i][1]:
                left *= old[i][0]
                step = old[i][1]
                i += 1
            if left % n:
                return None
        left //= n
        found.append(left * step)
    return tuple(found) if left == 1 and i == len(old) else None
