"""How long threads take to share out tasks, where one may be slower than the others.

The cores of a virtual machine share their arithmetic with other guests, so that now this one, now that one runs at two thirds of its speed;
so do cores of two kinds, and any that somebody else uses too. Two tasks for two threads then take as long as the slower one needs for
half of the work. With eight and more the faster one does some of the other's (`runtime/tasks.py`).
"""

from __future__ import annotations

import functools
import heapq
from typing import Any

import numpy as np

SLOWER = 0.65  # of a core's speed where another guest computes on it too: 97 of 150 GFLOP/s on Granite Rapids
COUNTED = 64  # tasks a thread up to which rounds are counted; of more they differ little


def rounds(tasks: Any, threads: int) -> Any:
    """How often in a row a thread does a task until all are done; of many numbers of tasks where that is an array. The mean of cores that
    are alike and of such of which one is slower, each in proportion to what they do together.

    >>> [round(float(rounds(tasks, 2)) / tasks, 2) for tasks in (2, 4, 8, 16)]
    [0.57, 0.57, 0.51, 0.51]
    """
    if threads == 1:
        return tasks
    known = _rounds(threads)
    most = len(known) - 1
    if isinstance(tasks, np.ndarray):
        tasks = tasks.astype(np.int64)
        return np.where(tasks <= most, known[np.minimum(tasks, most)], known[most] + (tasks - most) / threads)
    return float(known[int(tasks)]) if tasks <= most else float(known[most]) + float(tasks - most) / threads


@functools.cache
def _rounds(threads: int) -> np.ndarray:
    counts = range(1, COUNTED * threads + 1)
    alike = [-(-tasks // threads) for tasks in counts]
    return np.array([0.0, *((a + b) / 2 for a, b in zip(alike, _one_slower(threads, len(counts))))])


def _one_slower(threads: int, most: int) -> list[float]:
    """For 1, 2, … tasks, each taken by who is free first, when the last is done."""
    takes = [1.0] * (threads - 1) + [1 / SLOWER]
    free = [(0.0, thread) for thread in range(threads)]
    last, found = 0.0, []
    for _ in range(most):
        at, thread = heapq.heappop(free)
        last = max(last, at + takes[thread])
        heapq.heappush(free, (at + takes[thread], thread))
        found.append(last * (threads - 1 + SLOWER) / threads)
    return found
