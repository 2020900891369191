"""How long threads share out tasks: an average of two schedules, each played through."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.cost.rounds import COUNTED, SLOWER, rounds


def played(tasks: int, speeds: list[float]) -> float:
    """When the last is done, of tasks each taken by who is free first, in proportion to what all do together."""
    free = [0.0] * len(speeds)
    for _ in range(tasks):
        first = free.index(min(free))
        free[first] += 1 / speeds[first]
    done = [at for at in free if at]
    return max(done) * sum(speeds) / len(speeds)


@pytest.mark.parametrize("threads", [2, 3, 8])
def test_rounds(threads: int) -> None:
    counts = np.arange(1, 40)
    found = rounds(counts, threads)
    for tasks, each in zip(counts.tolist(), found.tolist()):
        alike, slower = played(tasks, [1.0] * threads), played(tasks, [1.0] * (threads - 1) + [SLOWER])
        assert each == rounds(tasks, threads) == pytest.approx((alike + slower) / 2)


def test_many_tasks_are_shared_evenly_and_one_thread_does_all() -> None:
    assert rounds(7, 1) == 7
    many = np.array([COUNTED, 2 * COUNTED, 5 * COUNTED])
    assert np.all((rounds(many, 2) / many >= 0.5) & (rounds(many, 2) / many <= 0.505))
    assert rounds(8, 2) / 8 < 0.92 * rounds(2, 2) / 2  # what the slower of two cores makes of half the work
