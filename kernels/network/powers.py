"""Where a chain of operations begins with the power of two inputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

from kernels.primitives.vector_program import Operation


class Power(NamedTuple):
    """a^2 + b^2 of the inputs in slots `parts`, or its root; the rest of the chain reads it in slot 0, other inputs behind it."""

    parts: tuple[int, int]
    root: bool
    rest: list[Operation]


def power(operations: Sequence[Operation], inputs: int) -> Power | None:
    """The power with which operations on so many inputs begin; None where they begin with something else, or read more of its parts."""
    squares = {each.to: each.slots[0] for each in operations if each.name == "mul" and each.slots[0] == each.slots[1] < inputs}
    sums = [each for each in operations if each.name == "add" and set(each.slots) <= set(squares) and len(set(each.slots)) == 2]
    if len(sums) != 1:
        return None
    first, second = sorted(squares[slot] for slot in sums[0].slots)
    done, made, used = {*sums[0].slots, sums[0].to}, sums[0].to, (first, second)
    readers = [each for each in operations if made in each.slots]
    root = len(readers) == 1 and readers[0].name == "sqrt"
    if root:
        made = readers[0].to
        done.add(made)
    left = [each for each in operations if each.to not in done]
    gone = (done | {first, second}) - {made}
    if first == second or any(gone & set(each.slots) for each in left):
        return None
    kept = [made, *(slot for slot in range(inputs) if slot not in used), *(each.to for each in left)]
    slots = {old: new for new, old in enumerate(kept)}
    rest = [dataclasses.replace(each, to=slots[each.to], slots=tuple(slots[slot] for slot in each.slots)) for each in left]
    return Power(used, root, rest)
