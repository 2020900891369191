"""Tasks of contiguous rows, each of which is computed by itself: how many a task has, and what binds arrays to a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kernels.runtime.regions import Region
from kernels.runtime.scratch import handle

Array = np.ndarray
Bind = Callable[[Array, Array], Callable[[], None]]

SHARES = 4  # tasks a thread, so that one that is held up does fewer


def rows_of_a_task(rows: int, threads: int) -> int:
    """All for one thread, which has nobody to share with."""
    return rows if threads == 1 else max(1, rows // (SHARES * threads))


def by_rows(region: Region, geometry: Any, threads: int, keep_alive: tuple[Any, ...] = ()) -> Bind:
    """What binds x and y (rows, length), perhaps one and the same, to a run of region(x, y, geometry), whose x and y are handles. geometry:
    a record with `rows` and `at_once`, those of a task. keep_alive: what it points into."""
    launch, tasks = region.ready(0, 0, geometry), -(-int(geometry[0]["rows"]) // int(geometry[0]["at_once"]))

    def bind(x: Array, y: Array) -> Callable[[], None]:
        source, to = handle(x), handle(y)

        def run(keep_alive: tuple[Any, ...] = (x, y, keep_alive)) -> None:
            launch(threads, tasks, source, to, geometry)

        return run

    return bind
