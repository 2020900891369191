"""The cells as pytest-benchmark tests: `pytest benchmarks` runs the quick preset, `--preset`, `--workload` and `--contender` choose others.

The suite's command runs this same file, once a pass, and adds order, progress and records; the timer is pytest-benchmark's in both.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from benchmarks.runner.cell import Spec
from benchmarks.runner.pytest_plugin import Suite


def test_cell(spec: Spec, benchmark: Any, suite: Suite) -> None:
    """One cell: refused and over-budget ones skip with their sentence, wrong answers fail untimed."""
    if suite.over():
        pytest.skip("the time of the run is over")
    benchmark.group = spec.workload.id

    def timer(run: Any, rounds: int) -> list[float]:
        # one call a round: a mean of many would hide the spread
        benchmark.pedantic(run, setup=suite.bench.flush, rounds=rounds, iterations=1)
        return [] if benchmark.stats is None else list(benchmark.stats.stats.data)

    line = suite.measure(spec, timer)
    benchmark.extra_info.update({name: value for name, value in asdict(line).items() if name != "seconds"})
    if line.status in ("refused", "over_budget"):
        pytest.skip(f"{line.status}: {line.reason}")
    if line.status != "ok":
        pytest.fail(f"{line.status}: {line.reason}", pytrace=False)
