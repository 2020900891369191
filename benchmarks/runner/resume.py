"""Going on with a run that stopped: which run, whether this is still the same machine and code, and which cells it has.

A finished cell is a line of cells.jsonl, on the disk before the next cell begins, so whatever ends a run (Ctrl-C, a crash, the end of its
time) costs at most the cell at work. A cell that takes the process with it twice is given up, or resuming would never get past it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.records import archive
from benchmarks.records.results import Run
from benchmarks.runner.cell import Bench, Spec

SAME = ("cpu", "usable_cores", "commit", "python", "versions")  # of the environment; times under others belong into a run of their own
DEATHS = 2


def unfinished(out: Path) -> Run:
    """The newest run under `out` that stopped early; ValueError if there is none."""
    for _, run, _ in reversed(list(archive.runs(out))):
        if run and run.stopped:
            return run
    raise ValueError(f"--resume: no unfinished run under {out}")


def check_same(run: Run, environment: dict[str, Any]) -> None:
    """ValueError if the run began somewhere else, or with other code."""
    for name in SAME:
        before, now = run.environment.get(name), environment.get(name)
        if before != now:
            raise ValueError(f"--resume: {run.id} began with {name} {before}, this is {now}; a run has one, so start a new one")


def check_cells(folder: Path, bench: Bench, matrix: Sequence[Spec]) -> None:
    """ValueError if a name of this run now stands for another problem or input than when the run began: a changed file of layers, say."""
    begun = {line.key: line for line in archive.lines(folder) if line.identity}
    for spec in matrix:
        line = begun.get(spec.key)
        now = bench.blank(spec, 1) if line else None
        if line and now and line.identity != now.identity:
            changed = f"was {line.problem} and is {now.problem}" if line.problem != now.problem else "has another input"
            raise ValueError(f"--resume: {line.workload} {changed} since the run began; a run has one, so start a new one")


def finished(folder: Path) -> frozenset[tuple[str, str, int, int, int]]:
    """(workload, contender, threads, batch, pass) of every cell that a run has."""
    return frozenset((*line.key, line.pass_) for line in archive.lines(folder))


@dataclass
class AtWork:
    """The cell at work, as a small file: left behind only by a process that died in it."""

    folder: Path

    @property
    def _file(self) -> Path:
        return self.folder / "at-work.json"

    def deaths(self, cell: str) -> int:
        """How often a process died in this cell."""
        try:
            found = json.loads(self._file.read_text(encoding="utf-8"))
            return int(found["times"]) if found["cell"] == cell else 0
        except (OSError, ValueError, KeyError, TypeError):  # missing, or half written when the power went
            return 0

    def begin(self, cell: str) -> None:
        self._file.write_text(json.dumps({"cell": cell, "times": self.deaths(cell) + 1}), encoding="utf-8")

    def end(self) -> None:
        self._file.unlink(missing_ok=True)
