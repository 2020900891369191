"""The pytest plugin of the cells: which there are, and what happens as each begins and ends.

The suite's command registers one with its own cells and a folder; under plain `pytest benchmarks` conftest.py makes one from options.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from benchmarks.records.archive import append_cell
from benchmarks.records.results import Line
from benchmarks.runner.cell import Bench, Spec, Timer
from benchmarks.runner.resume import DEATHS, AtWork

NAME = "spectroconv-suite"


@dataclass(eq=False)
class Suite:
    """Cells in running order, and where their lines go."""

    bench: Bench
    cells: Sequence[Spec]
    pass_: int = 1
    folder: Path | None = None
    begin: Callable[[Spec], None] = lambda spec: None
    end: Callable[[Spec, Line], None] = lambda spec, line: None
    over: Callable[[], bool] = lambda: False  # whether the time is up, so that no further cell begins
    unfinished: bool = False
    problems: list[str] = field(default_factory=list)  # what went wrong with pytest itself

    def measure(self, spec: Spec, timer: Timer) -> Line:
        """Measure a cell and keep its line at once: whatever ends the process later cannot take it back."""
        self.unfinished = True
        self.begin(spec)
        line = self._guarded(spec, timer) if self.folder else self.bench.measure(spec, timer, self.pass_)
        self.end(spec, line)
        self.unfinished = False
        return line

    def _guarded(self, spec: Spec, timer: Timer) -> Line:
        """Measured and kept, unless it ended the process too often."""
        assert self.folder is not None
        name, at_work = f"{spec.id} in pass {self.pass_}", AtWork(self.folder)
        if at_work.deaths(name) >= DEATHS:
            reason = f"the process ended {DEATHS} times while this cell ran"
            line = replace(self.bench.blank(spec, self.pass_), status="failed", reason=reason)
        else:
            at_work.begin(name)
            line = self.bench.measure(spec, timer, self.pass_)
        append_cell(self.folder, line)
        at_work.end()
        return line

    def pytest_internalerror(self, excrepr: object) -> None:
        self.problems.append(str(excrepr))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.problems.append(str(report.longrepr))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and (report.when != "call" or self.unfinished):  # a cell's own failure is a line; this is the harness's
            self.problems.append(str(report.longrepr))
