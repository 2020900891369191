"""What changed between two runs: per cell, how many times as fast the second is as the first, and how sure that is.

Cells of one run stand next to each other in time, cells of two runs do not: on a shared machine the same code is up to a fifth faster
or slower an hour later, which neither samples nor passes of one run can show. Peers of the same version in both runs cannot have
changed, so what they did tells how much the machine did (the drift). A cell's speed is divided by the drift's median, and its interval
(`standing.ratio`: bootstrapped medians and the extremes of passes) is widened by the range of nine tenths of the peers. With fewer than
EIGHT such peer cells there is no drift to speak of, and the intervals hold only what the runs themselves show.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.records.results import Cell, Run
from benchmarks.report.standing import Ratio, geometric_mean, ratio

EIGHT = 8
OVER = 2.0  # predictions of cells over budget are good to this factor
MACHINE = ("cpu", "logical_cores", "usable_cores", "caches")


@dataclass(frozen=True)
class Drift:
    """How many times as fast unchanged peers ran in the second run: 5 %, median and 95 % of `count` cells."""

    low: float = 1.0
    middle: float = 1.0
    high: float = 1.0
    count: int = 0


@dataclass(frozen=True)
class Change:
    """One cell in both runs. `speed` is second against first without the drift; None where either has no time."""

    before: Cell
    after: Cell
    speed: Ratio | None

    def regressed(self, fail_above: float) -> bool:
        """Slower by more than the share `fail_above` with an interval that excludes 1; wrong, failed or far over budget all the same."""
        if self.speed:
            return self.speed.verdict == "slower" and self.speed.value < 1 / (1 + fail_above)
        if not self.before.median_s:
            return False
        over = self.after.status == "over_budget" and (self.after.predicted_s or 0.0) > OVER * self.before.median_s
        return over or self.after.status in ("wrong", "failed")

    def word(self, fail_above: float) -> str:
        """Says "regression", "slower", "faster", "even", "unsure", or what the cell is now that has no time."""
        if self.regressed(fail_above):
            return "regression" if self.speed else f"now {self.after.status.replace('_', ' ')}"
        return self.speed.verdict if self.speed else "no time"


@dataclass(frozen=True)
class Comparison:
    """Two runs and every cell that both have and that may have changed."""

    first: Run
    second: Run
    drift: Drift
    changes: tuple[Change, ...]
    unpaired: int  # cells that only one of the runs has
    redefined: int  # cells of the same name with another amount of work

    def regressions(self, fail_above: float) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if change.regressed(fail_above))

    def means(self) -> Iterator[tuple[str, float, int]]:
        """Each contender's geometric mean speed over the cells that have a time in both."""
        for name in dict.fromkeys(change.after.contender for change in self.changes):
            speeds = [change.speed.value for change in self.changes if change.speed and change.after.contender == name]
            if speeds:
                yield name, geometric_mean(speeds), len(speeds)


def compare(first: Run, second: Run, other_machine: bool = False) -> Comparison:
    """Pair the cells of two runs; ValueError if they have none in common, or ran on different machines and that was not asked for."""
    if not other_machine and (parts := list(different_machine(first, second))):
        raise ValueError(f"the runs come from different machines ({'; '.join(parts)}); --other-machine compares them all the same")
    same, redefined = pair(first, second)
    if not same:
        raise ValueError(f"the runs have no cell in common: {'; '.join(nothing_common(first, second))}")
    versions = [run.environment.get("contenders", {}) for run in (first, second)]
    unchanged = {
        cell.contender for cell in second.cells
        if not cell.is_ours
        and all(cell.contender in names for names in versions) and len({names[cell.contender] for names in versions}) == 1
    }  # fmt: skip
    drift = _drift([pair for pair in same if pair[1].contender in unchanged])
    judged = [pair for pair in same if pair[1].contender not in unchanged] or same
    alone = len(first.cells) + len(second.cells) - 2 * (len(same) + redefined)
    changes = tuple(Change(before, after, _speed(before, after, drift)) for before, after in judged)
    return Comparison(first, second, drift, changes, alone, redefined)


def pair(first: Run, second: Run) -> tuple[list[tuple[Cell, Cell]], int]:
    """Cells that measured the same, in the second's order, and how many have one name in both runs but are not the same.

    Names come first: a model may have equal layers. What was renamed, as a model's file is, is known by its problem and input.
    """
    named: dict[tuple[str, str, int, int], list[Cell]] = {}
    for cell in first.cells:
        named.setdefault(cell.key, []).append(cell)
    pairs: dict[int, Cell] = {}
    taken: set[int] = set()
    for place, cell in enumerate(second.cells):
        for other in named.get(cell.key, ()):
            if id(other) not in taken and cell.same_thing(other):
                pairs[place] = other
                taken.add(id(other))
                break
    left = [cell for cell in first.cells if id(cell) not in taken and cell.key not in {each.key for each in second.cells}]
    for place, cell in enumerate(second.cells):
        if place in pairs or cell.key in named:
            continue
        like = (other for other in left if (other.contender, other.threads) == (cell.contender, cell.threads) and cell.same_thing(other))
        if other := next(like, None):
            pairs[place] = other
            left.remove(other)
    redefined = sum(place not in pairs and cell.key in named for place, cell in enumerate(second.cells))
    return [(pairs[place], second.cells[place]) for place in sorted(pairs)], redefined


def nothing_common(first: Run, second: Run) -> Iterator[str]:
    """Why two runs cannot be compared, and what would help: which of what names a cell differs in all of them."""
    if empty := [run.id for run in (first, second) if not run.cells]:
        yield f"{' and '.join(empty)} has none that can be read"
        return
    helps = {"workload": "--workload", "contender": "--contender", "threads": "--threads", "batch": "--batch"}
    found = False
    for name, option in helps.items():
        one, other = (list(dict.fromkeys(getattr(cell, name) for cell in run.cells)) for run in (first, second))
        if not set(one) & set(other):
            found = True
            yield f"{name} {_some(one)} in {first.id}, {_some(other)} in {second.id}; measure one of them with the other's {option}"
    if not found:
        yield "where workload, contender, threads and batch are the same, the layers or their inputs are not"


def _some(values: list[Any]) -> str:
    return ", ".join(map(str, values[:4])) + (f" and {len(values) - 4} more" if len(values) > 4 else "")


def _drift(pairs: list[tuple[Cell, Cell]]) -> Drift:
    speeds = [before.median_s / after.median_s for before, after in pairs if before.median_s and after.median_s]
    if len(speeds) < EIGHT:
        return Drift()
    low, middle, high = np.quantile(speeds, (0.05, 0.5, 0.95))
    return Drift(float(low), float(middle), float(high), len(speeds))


def _speed(before: Cell, after: Cell, drift: Drift) -> Ratio | None:
    found = ratio(after, before)
    if found is None or found.low is None or found.high is None:
        return found and Ratio(found.value / drift.middle)
    return Ratio(found.value / drift.middle, found.low / drift.high, found.high / drift.low)


def different_machine(first: Run, second: Run) -> Iterator[str]:
    """What of the hardware differs, as in "cpu: A, B"."""
    for name in MACHINE:
        one, other = first.environment.get(name), second.environment.get(name)
        if one != other:
            yield f"{name.replace('_', ' ')}: {one}, {other}"


def different_settings(first: Run, second: Run) -> Iterator[tuple[str, Any, Any]]:
    """Versions, thread settings and inputs that differ: what may explain a change that the code does not."""
    for name in sorted(set(first.options) | set(second.options)):
        if first.options.get(name) != second.options.get(name):
            yield name.replace("_", " "), first.options.get(name), second.options.get(name)
    if first.audio != second.audio:
        yield "input", first.audio, second.audio
    if first.threads != second.threads:
        yield "threads", first.threads, second.threads
    for name in ("python", "os", "versions", "blas", "threads", "thread_variables", "tuning", "governor", "dirty"):
        one, other = first.environment.get(name), second.environment.get(name)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            for key in sorted(set(one) | set(other)):
                if one.get(key) != other.get(key):
                    yield key, one.get(key), other.get(key)
        elif one != other:
            yield name.replace("_", " "), one, other
