"""Blockings of many at once: a record whose fields are arrays where the blockings differ, estimated as fast as a few."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

import numpy as np

Record = TypeVar("Record")


def picked(table: Record, which: Any) -> Record:
    """The rows of an index array, in a record of many."""
    return dataclasses.replace(table, **{name: value[which] for name, value in _arrays(table)})  # type: ignore[type-var]


def joined(tables: list[Record]) -> Record:
    """The rows of several tables, one behind the other."""
    rows = {name: np.concatenate([getattr(table, name) for table in tables]) for name, _ in _arrays(tables[0])}
    return dataclasses.replace(tables[0], **rows)  # type: ignore[type-var]


def row(table: Record, i: int) -> Record:
    """One row, its fields Python's own numbers."""
    return dataclasses.replace(table, **{name: value[i].item() for name, value in _arrays(table)})  # type: ignore[type-var]


def _arrays(table: Any) -> list[tuple[str, np.ndarray]]:
    return [(name, value) for name, value in vars(table).items() if isinstance(value, np.ndarray)]
