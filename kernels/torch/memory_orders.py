"""In which order the axes of a tensor lie in memory, as a trace knows it: channels last, transposed, or as they are counted.

Tensors come and go through a region as they lie, so that what a trace calls a view costs no copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

Order = tuple[int, ...]


def _hint(number: Any) -> int | None:
    """A length as it was when it was traced; asks for no guard."""
    if isinstance(number, torch.SymInt):
        return int(number.node.hint) if number.node.has_hint() else None
    return int(number)


def order_of(tensor: torch.Tensor) -> Order | None:
    """The axes, the slowest first, where they lie dense in another order than they are counted; else None."""
    sizes, strides = list(map(_hint, tensor.shape)), list(map(_hint, tensor.stride()))
    known = [(size, stride) for size, stride in zip(sizes, strides) if size is not None and stride is not None]
    if len(known) < len(sizes) or any(size == 0 for size, _ in known):
        return None
    order = tuple(sorted(range(len(known)), key=lambda axis: -known[axis][1] if known[axis][0] != 1 else -_after(known, axis)))
    wanted = 1
    for axis in reversed(order):
        size, stride = known[axis]
        if size != 1 and stride != wanted:
            return None
        wanted *= size
    return None if order == tuple(range(len(order))) else order


def _after(known: Sequence[tuple[int, int]], axis: int) -> int:
    """A stride for an axis of one element, whose own says nothing: it stays beside the axis after it."""
    rest = [(size, stride) for size, stride in known[axis + 1 :] if size != 1]
    return rest[0][0] * rest[0][1] if rest else 1


def inverse(order: Order) -> Order:
    """The order that undoes this one."""
    return tuple(order.index(axis) for axis in range(len(order)))
