"""What ships with the suite, as workloads: layers of published music models (catalogue.json) and long filters (long_filters.json)."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from benchmarks.workloads.layer import Workload, from_row

CATALOGUE = Path(__file__).with_name("catalogue.json")
LONG_FILTERS = CATALOGUE.with_name("long_filters.json")


@cache
def catalogue() -> tuple[Workload, ...]:
    """Every layer of a model, in the catalogue's order: models one after the other, each from its input to its output."""
    return tuple(from_row(row) for row in json.loads(CATALOGUE.read_text(encoding="utf-8")))


@cache
def long_filters() -> tuple[Workload, ...]:
    """Long filters over signals."""
    return tuple(from_row(row) for row in json.loads(LONG_FILTERS.read_text(encoding="utf-8")))
