"""Contenders of other packages, found by entry point: whoever declares one in the group `spectroconv.contenders` takes part.

An entry point names a Contender, its class, or a function without arguments that returns several. What cannot be loaded, is none or has
a name that is taken becomes an absent contender with the reason, which `list` shows: one package's mistake must not keep the others from
running.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from benchmarks.contenders.base import Contender, Prepared
from benchmarks.inputs.tensors import Tensors
from benchmarks.workloads.layer import Workload

GROUP = "spectroconv.contenders"
NAME = re.compile(r"\w[\w.-]*")


class Absent(Contender):
    """Stands for an entry point that gave no contender."""

    inside_timer = "Nothing, it could not be loaded."

    def __init__(self, name: str, reason: str) -> None:
        self.name, self.reason = name, reason

    def available(self) -> str | None:
        return self.reason

    def refuse(self, workload: Workload) -> str | None:
        return self.reason

    def prepare(self, workload: Workload, given: Tensors, threads: int) -> Prepared:
        raise RuntimeError(self.reason)


def found(taken: Collection[str]) -> tuple[Contender, ...]:
    """Every contender of the group, in the order of the entry points' names; `taken` are the names of the suite's own."""
    names, result = set(taken), []
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        for each in _load(entry, names):
            names.add(each.name)
            result.append(each)
    return tuple(result)


def _load(entry: EntryPoint, taken: Collection[str]) -> Iterator[Contender]:
    origin = f"{entry.dist.name} {entry.dist.version}" if entry.dist else "a package"
    spare = next(name for count in range(1, 1000) if (name := entry.name if count == 1 else f"{entry.name}-{count}") not in taken)
    try:
        for each in _contenders(entry.load()):
            reason = _fault(each, taken)
            yield Absent(spare, f"{origin}: {entry.value}: {reason}") if reason else each
    except Exception as error:  # whatever another package raises is its own affair
        yield Absent(spare, f"{origin}: {entry.value} cannot be loaded: {type(error).__name__}: {error}")


def _contenders(loaded: Any) -> Iterable[Any]:
    if isinstance(loaded, Contender):
        return (loaded,)
    made = loaded()
    return (made,) if isinstance(made, Contender) else made


def _fault(each: Any, taken: Collection[str]) -> str | None:
    if not isinstance(each, Contender):
        return f"{each!r} is no Contender"
    if not NAME.fullmatch(getattr(each, "name", "")):
        return f"the name {getattr(each, 'name', None)!r} is not one word"
    if not getattr(each, "inside_timer", ""):
        return f"{each.name} does not say what is inside the timer"
    return f"the name {each.name} is taken" if each.name in taken else None
