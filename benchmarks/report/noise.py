"""How noisy the machine was: by how much the passes of a cell differ, for every cell and for the run.

Passes are minutes apart and do the same work, so what differs between them is the machine: other programs, other guests of the host, the
clock. The spread of a cell is the slowest pass over the fastest, less one; a cell is noisy from NOISY on, a run if half its cells
spread by more than UNQUIET.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from benchmarks.records.results import Cell, Run

NOISY, UNQUIET = 0.3, 0.1
MARK = "≈"  # stands after the time of a noisy cell


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


def of_run(run: Run) -> Noise | None:
    """None where no cell has two passes, so that nothing can be said."""
    found = [value for cell in run.cells if (value := spread(cell)) is not None]
    return Noise(median(found), sum(value > NOISY for value in found), len(found)) if found else None
