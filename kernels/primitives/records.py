"""Records: what compiled drivers are told, declared once, a line a field.

    class Blocks(Record):
        rows = integer("output rows of a task")
        pack = address("of the micro-kernel that packs input; takes a PackInput")

    g = Blocks.packed(rows=4, pack=…)      an array of one; drivers read g[0].rows

A record may be composed of others by inheritance. Everything is an int64: sizes, addresses, the bits of a float64.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np

from kernels.problem.operands import Array


@dataclasses.dataclass(frozen=True)
class Field:
    """What a field means; whether it is an address."""

    meaning: str
    address: bool = False


def integer(meaning: str) -> Any:
    """A size, a count, a flag."""
    return Field(meaning)


def address(meaning: str) -> Any:
    """An address, or an offset in bytes from one; 0: there is none. Who packs the record keeps what it points into alive."""
    return Field(meaning, address=True)


class Record:
    """See the module."""

    @classmethod
    @functools.cache
    def fields(cls) -> dict[str, Field]:
        """All fields by name, those of what it is composed of first."""
        return {name: value for base in reversed(cls.__mro__) for name, value in vars(base).items() if isinstance(value, Field)}

    @classmethod
    def packed(cls, **values: int) -> Array:
        """The record as compiled code reads it. Raises TypeError for a field that is missing or that it does not have."""
        names, kind = _layout(cls)  # type: ignore[arg-type]  # classes are hashable
        if values.keys() != set(names):
            missing, unknown = set(names) - set(values), set(values) - set(names)
            text = [f"lacks {', '.join(sorted(missing))}"] * bool(missing) + [f"has no {', '.join(sorted(unknown))}"] * bool(unknown)
            raise TypeError(f"{cls.__name__} {' and '.join(text)}")
        found = np.empty(1, kind)
        found.view(np.int64)[:] = [int(values[name]) for name in names]
        return found


@functools.cache
def _layout(record: type[Record]) -> tuple[tuple[str, ...], np.dtype]:
    """Names of a record's fields, and its dtype: one object, which look-ups by type find sooner than an equal one."""
    names = tuple(record.fields())
    return names, np.dtype([(name, np.int64) for name in names])
