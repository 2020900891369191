"""Who is faster than whom on one workload, how sure that is, and the mean over many.

A ratio of two cells comes with an interval that covers both kinds of noise. Between passes: the slowest pass of one against the fastest
pass of the other, both ways; two equal contenders then differ by chance in 33 % of comparisons of 2 passes, 10 % of 3, 0.8 % of 5.
Within a pass: a 95 % interval of the ratio of medians from their samples, needed because with one pass there is nothing between passes.
The interval is the union. "faster" and "slower" are said only where it excludes 1.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import exp, log

import numpy as np

from benchmarks.records.results import Cell, Run

RESAMPLES = 2000  # the ends of a 95 % interval then rest on 50 draws each


@dataclass(frozen=True)
class Ratio:
    """How many times as fast; `low` and `high` are None where there are too few samples for an interval."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def verdict(self) -> str:
        """Says "faster", "slower", "even" (the interval holds 1) or "unsure" (no interval)."""
        if self.low is None or self.high is None:
            return "unsure"
        return "faster" if self.low > 1 else "slower" if self.high < 1 else "even"


@lru_cache(maxsize=4096)
def _drawn_medians(cell: Cell, salt: int) -> np.ndarray:
    """Draws of a cell's median over passes. Seeded, so that a page is the same each time it is written.

    The rank of the true median among n samples follows Beta((n+1)/2, (n+1)/2), as in Harrell and Davis' estimator; drawing ranks costs
    the same for 5 samples and for 50,000, where resampling the samples themselves would not.
    """
    random = np.random.default_rng([20, salt])
    draws = []
    for seconds in cell.samples:
        half = (len(seconds) + 1) / 2
        draws.append(np.quantile(seconds, random.beta(half, half, size=RESAMPLES)))
    return np.median(draws, axis=0)


def ratio(cell: Cell, other: Cell) -> Ratio | None:
    """How many times as fast `cell` is as `other`; None unless both have a time."""
    if not cell.median_s or not other.median_s:
        return None
    value = other.median_s / cell.median_s
    if cell == other:
        return Ratio(1.0, 1.0, 1.0)
    if min(sum(map(len, cell.samples)), sum(map(len, other.samples))) < 2:
        return Ratio(value)
    drawn = _drawn_medians(other, 1) / _drawn_medians(cell, 0)
    low, high = np.quantile(drawn, (0.025, 0.975))
    low = min(value, low, min(other.pass_medians) / max(cell.pass_medians))
    high = max(value, high, max(other.pass_medians) / min(cell.pass_medians))
    return Ratio(value, float(low), float(high))


@dataclass(frozen=True)
class Row:
    """The cells of one workload at one number of threads and one batch: what can be compared with each other."""

    workload: str
    threads: int
    batch: int
    cells: tuple[Cell, ...]

    def get(self, contender: str) -> Cell | None:
        return next((cell for cell in self.cells if cell.contender == contender), None)

    @cached_property
    def best_peer(self) -> Cell | None:
        return _fastest(cell for cell in self.cells if cell.is_peer)

    @cached_property
    def best_ours(self) -> Cell | None:
        """The fastest of ours, "auto" among them: it is what users get, and may be faster than each method by itself."""
        return _fastest(cell for cell in self.cells if cell.is_ours)

    @cached_property
    def baseline(self) -> Cell | None:
        return _fastest(cell for cell in self.cells if not cell.is_ours and not cell.is_peer)

    @cached_property
    def lead(self) -> Cell | None:
        """Who speaks for us: "auto", which is what users get; where it has no time, the fastest of ours."""
        auto = self.get("auto")
        return auto if auto and auto.median_s else self.best_ours

    @property
    def speedup(self) -> Ratio | None:
        """Of `lead` against the best peer."""
        return self.against_best_peer(self.lead)

    def against_best_peer(self, cell: Cell | None) -> Ratio | None:
        return self.against(cell, self.best_peer)

    @staticmethod
    def against(cell: Cell | None, other: Cell | None) -> Ratio | None:
        """How many times as fast; None where either is missing."""
        return ratio(cell, other) if cell and other else None

    def against_naive(self, cell: Cell) -> Ratio | None:
        naive = self.get("naive")
        return ratio(cell, naive) if naive else None

    def is_compute(self, run: Run) -> bool:
        """Whether arithmetic, not memory, sets this machine's limit (a convolution, where the run measured no limit)."""
        cell, machine = self.cells[0], run.limits.get(str(self.threads))
        if machine is None:
            return cell.op.startswith("conv")
        return cell.flops / machine["fma_gflops"] > cell.bytes / machine["bandwidth_gbs"]


def _fastest(cells: Iterable[Cell]) -> Cell | None:
    return min((cell for cell in cells if cell.median_s), key=lambda cell: cell.median_s or 0.0, default=None)


def rows(run: Run) -> tuple[Row, ...]:
    """One row per workload, threads and batch, in the order of the run."""
    groups: dict[tuple[str, int, int], list[Cell]] = {}
    for cell in run.cells:
        groups.setdefault((cell.workload, cell.threads, cell.batch), []).append(cell)
    return tuple(Row(*key, tuple(cells)) for key, cells in groups.items())


def label(row: Row, run: Run) -> str:
    """The workload's name, with batch and threads where the run has more than one of them."""
    several_threads = len({cell.threads for cell in run.cells}) > 1
    several_batches = len({cell.batch for cell in run.cells}) > 1
    threads = f" {row.threads} thread{'s' if row.threads > 1 else ''}" if several_threads else ""
    return row.workload + (f" batch {row.batch}" if several_batches else "") + threads


@dataclass(frozen=True)
class Mean:
    """Geometric mean over `count` workloads of the speed against the best peer, with its smallest and largest value over passes."""

    value: float
    count: int
    low: float | None = None
    high: float | None = None


def mean_speedup(run: Run, contender: str | None = None, compute_only: bool = True) -> Mean | None:
    """Of `contender`, or of the best of ours, over rows where both it and a peer have a time; None if there is no such row."""
    pairs: list[tuple[Cell, Cell]] = []
    for row in rows(run):
        ours, peer = row.get(contender) if contender else row.best_ours, row.best_peer
        if ours and ours.median_s and peer and (row.is_compute(run) or not compute_only):
            pairs.append((ours, peer))
    if not pairs:
        return None
    value = geometric_mean(peer.median_s / ours.median_s for ours, peer in pairs if ours.median_s and peer.median_s)
    counts = {len(cell.samples) for pair in pairs for cell in pair}
    if len(counts) != 1 or counts == {1}:  # passes that do not match each other, or only one: no interval
        return Mean(value, len(pairs))
    by_pass = [geometric_mean(peer.pass_medians[i] / ours.pass_medians[i] for ours, peer in pairs) for i in range(counts.pop())]
    return Mean(value, len(pairs), min(value, *by_pass), max(value, *by_pass))


def geometric_mean(values: Iterable[float]) -> float:
    logs = [log(value) for value in values]
    return exp(sum(logs) / len(logs))


def contender_order(run: Run) -> tuple[str, ...]:
    """Ours with "auto" first, since it is what users get; then the peers."""
    names = run.contenders()
    return tuple(sorted(names, key=lambda name: (name not in run.ours(), name != "auto", names.index(name))))
