"""Order, time left and the budget of a run, on a clock that the test winds."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import pytest

from benchmarks import workloads
from benchmarks.contenders import everyone
from benchmarks.runner import schedule
from benchmarks.runner.cell import Clock


@dataclass
class FakeClock(Clock):
    time: float = 0.0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


MATRIX = schedule.specs([workloads.by_id("yamnet.pw8"), workloads.by_id("vggish.conv1")], everyone()[:3], [1, 2])


def play(progress: schedule.Progress, clock: FakeClock, seconds: float, once: float = 0.0) -> None:
    progress.begin_pass()
    for spec in schedule.ordered(MATRIX, progress.pass_):
        progress.begin(spec)
        clock.time += seconds
        progress.end(spec, once)


def test_contenders_of_a_workload_are_neighbours_in_every_pass() -> None:
    for pass_ in (1, 2, 3):
        runs = [(spec.workload.id, spec.threads) for spec in schedule.ordered(MATRIX, pass_)]
        changes = sum(one != two for one, two in pairwise(runs))
        assert changes == len(set(runs)) - 1


def test_every_other_pass_runs_backwards() -> None:
    forwards, backwards, again = (schedule.ordered(MATRIX, pass_) for pass_ in (1, 2, 3))
    assert forwards == again == MATRIX
    assert backwards == MATRIX[::-1]


def test_cell_names_are_unique() -> None:
    assert len({spec.id for spec in MATRIX}) == len(MATRIX) == 12


def test_time_left_comes_from_what_cells_took() -> None:
    clock = FakeClock()
    progress = schedule.Progress(MATRIX, 2, clock)
    progress.begin_pass()
    assert progress.remaining() is None
    progress.begin(MATRIX[0])
    clock.time += 3.0
    progress.end(MATRIX[0])
    assert progress.remaining() == pytest.approx(3.0 * 11 + 3.0 * 12), "nothing better than the mean is known"
    progress.begin(MATRIX[1])
    clock.time += 1.0
    progress.end(MATRIX[1])
    assert progress.remaining() == pytest.approx(2.0 * 10 + 3.0 + 1.0 + 2.0 * 10), "known cells count as what they took"


def test_what_happens_once_is_not_expected_again() -> None:
    clock = FakeClock()
    progress = schedule.Progress(MATRIX, 2, clock)
    play(progress, clock, seconds=5.0, once=4.0)
    assert progress.one_pass(2) == pytest.approx(12.0)


def test_the_first_pass_always_runs_and_later_ones_only_if_they_fit() -> None:
    clock = FakeClock()
    progress = schedule.Progress(MATRIX, 3, clock)
    assert progress.another(total_s=1.0)
    play(progress, clock, seconds=1.0)
    assert progress.another(total_s=24.0)
    assert not progress.another(total_s=23.0)
    play(progress, clock, seconds=1.0)
    play(progress, clock, seconds=1.0)
    assert not progress.another(total_s=1000.0), "three were asked for"


def test_presets_give_time_to_each_kind() -> None:
    assert set(schedule.PRESETS) == set(workloads.PRESETS)
    assert schedule.PRESETS["quick"].total_s < 300, "five minutes in all, the page included"
