"""Blocks along time: how they lie in memory, and in which lengths they are computed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from kernels.runtime.scratch import aligned

Array = np.ndarray
Next = Callable[[Array, int], None]  # takes a block and its length along time

PIECE = 4096  # inputs of a layer at a time, at most: what longer blocks need is bounded
EXACT = 8  # lengths that are not powers of two and get plans of their own
STEPS = 512  # steps that a layer keeps


class Layout(NamedTuple):
    """A block in memory: `rows` of positions along time, each of `inner` numbers. shape(m): as an array of m positions."""

    rows: int
    inner: int
    shape: Callable[[int], tuple[int, ...]]

    def array(self, memory: Array, m: int) -> Array:
        """The first numbers of a memory as a block of m positions."""
        return memory[: self.rows * m * self.inner].reshape(self.shape(m))


def layout(shape: tuple[Any, ...], axis: int) -> Layout:
    """That of arrays of this shape, whose length along `axis` (counted from the end) may be any."""
    before, after = shape[:axis], shape[len(shape) + axis + 1 :]
    return Layout(math.prod(before), math.prod(after), lambda m: (*before, m, *after))


def numbers(count: int, dtype: np.dtype) -> Array:
    """Uninitialised numbers on whole cache lines."""
    return aligned(max(count, 1) * dtype.itemsize).view(dtype)


def pieces(m: int) -> list[int]:
    """A length as few powers of two, none above PIECE.

    >>> pieces(37)
    [32, 4, 1]
    """
    found = [PIECE] * (m // PIECE)
    return found + [1 << bit for bit in range(m.bit_length() - 1, -1, -1) if (m % PIECE) >> bit & 1]


class Lengths:
    """Which lengths of blocks get plans of their own: powers of two, and a few others. Other blocks are cut into pieces."""

    def __init__(self) -> None:
        self._exact: set[int] = set()

    def of(self, m: int) -> list[int]:
        """The lengths of the pieces of a block, itself where it is one."""
        if m <= PIECE and (m in self._exact or not m & (m - 1)):
            return [m]
        if m > PIECE or len(self._exact) >= EXACT:
            return pieces(m)
        self._exact.add(m)
        return [m]
