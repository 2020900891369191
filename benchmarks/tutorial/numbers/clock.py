"""How long a plan takes: the median of several calls, its weights packed beforehand."""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np

import kernels


def milliseconds(plan: Any, x: np.ndarray, *, samples: int = 7, budget: float = 0.08) -> float:
    """The median time of a call after a warming one, in milliseconds; a slow call is timed fewer times, within `budget` seconds."""
    out = plan(x)
    times: list[float] = []
    end = time.perf_counter() + budget
    while len(times) < samples and (len(times) < 2 or time.perf_counter() < end):
        start = time.perf_counter()
        plan(x, out=out)
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


def planned(op: str, x: np.ndarray, *operands: Any, **options: Any) -> float:
    """The time of one layer as the library would run it, in milliseconds."""
    return milliseconds(kernels.plan(op, x.shape, *operands, dtype="float32", **options), x)
