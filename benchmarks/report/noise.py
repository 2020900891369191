"""How noisy the machine was: by how much the passes of a cell differ, for every cell and for the run.

Two things beside that say that a cell's time is not the contender's: samples that disagree by more than DISAGREE (a twentieth of them
left out at each end), and a method that by its own name took more than DISAGREE times what it took as what "auto" chose, or less.

Passes are minutes apart and do the same work, so what differs between them is the machine: other programs, other guests of the host, the
clock. The spread of a cell is the slowest pass over the fastest, less one; a cell is noisy from NOISY on, a run if half its cells
spread by more than UNQUIET.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

import numpy as np

from benchmarks.records.results import Cell, Run

NOISY, UNQUIET = 0.3, 0.1
DISAGREE = 3.0  # times: what waits for a core takes a scheduler's tick, 4 ms, or several
MARK = "≈"  # stands after the time of a noisy cell
DOUBT = "!"  # stands after a time that samples or another cell contradict; a character that every console has


@dataclass(frozen=True)
class Noise:
    """Over `count` cells with two passes or more: the median spread, and how many are noisy."""

    middle: float
    noisy: int
    count: int

    @property
    def unquiet(self) -> bool:
        return self.middle > UNQUIET


def spread(cell: Cell) -> float | None:
    """Slowest pass over fastest, less one; None with fewer than two passes."""
    return max(cell.pass_medians) / min(cell.pass_medians) - 1 if len(cell.samples) > 1 else None


def is_noisy(cell: Cell) -> bool:
    return (spread(cell) or 0.0) > NOISY


def disagrees(cell: Cell) -> bool:
    """Whether samples of one cell differ by more than DISAGREE times."""
    samples = [second for seconds in cell.samples for second in seconds]
    if len(samples) < 2:
        return False
    low, high = np.quantile(samples, (0.05, 0.95))
    return bool(high > DISAGREE * low)


def after(cell: Cell, doubtful: frozenset[tuple[str, str, int, int]]) -> str:
    """What stands after a cell's time."""
    return (f" {MARK}" if is_noisy(cell) else "") + (f" {DOUBT}" if cell.key in doubtful else "")


def doubted(run: Run) -> frozenset[tuple[str, str, int, int]]:
    """Keys of cells whose own samples disagree, or which contradict the same method by another name."""
    cells = {cell.key: cell for cell in run.cells if cell.median_s}
    found = {key for key, cell in cells.items() if disagrees(cell)}
    for key, cell in cells.items():
        method = cells.get((cell.workload, cell.chose.partition(":")[0], cell.threads, cell.batch)) if cell.chose else None
        if method and method.median_s and cell.median_s and not 1 / DISAGREE <= method.median_s / cell.median_s <= DISAGREE:
            found |= {key, method.key}
    return frozenset(found)


def of_run(run: Run) -> Noise | None:
    """None where no cell has two passes, so that nothing can be said."""
    found = [value for cell in run.cells if (value := spread(cell)) is not None]
    return Noise(median(found), sum(value > NOISY for value in found), len(found)) if found else None
