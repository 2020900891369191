"""What every method's estimate counts alike, in cycles of one core: what comes from further away, and what hides behind what."""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.runtime.machine import Machine

TASK_COST = 800  # cycles to take a task; 512 planes of 6x4 took 1400 each, all told
L2_BYTES, MEMORY_BYTES = 10.0, 3.5  # bytes per cycle and core; there and back for the second level
L3_BYTES = {False: 12.0, True: 7.5}  # by whether a mesh is between: 28 GB/s a core of Granite Rapids
# weights from memory, only read: 20 GB/s of two cores that do 119 GFLOP/s each, 52 of two of 280; over a mesh 18 to 27 of two of 230
STREAMED = {False: 6.0, True: 3.0}
STREAMS = {False: 6.0, True: 4.5}  # the same where a tile reads several streams at once: 33 to 45 GB/s
# cycles for 64 bytes that lie changed in another core's second-level cache; 20 to 130 on Granite Rapids, fewer where they are many
HANDED = 50.0
# cycles a channel for the line of a plane in which one thread's outputs end and another's begin, which goes from cache to cache; without a
# mesh not measured
SHARED_PLANE = {False: 30.0, True: 100.0}
SMALL_PLANE = 100  # outputs of a plane from which other work hides more and more of that; see methods/direct/README.md
HIDDEN = 0.15  # of the shorter of arithmetic and reading, what the longer does not hide


def stream_cycles(total: float, share: float, spec: Machine, several: bool = False) -> float:
    """Cycles to read `share` bytes once, of weights that are `total` bytes, in several streams or one; none where they stay in the
    second-level cache."""
    if total <= spec.l2 / 4:
        return 0.0
    return share * far_cycles(total, (STREAMS if several else STREAMED)[spec.mesh], spec)


def far_cycles(total: Any, memory: float, spec: Machine) -> Any:
    """Cycles a byte of `total` bytes, or of many such, gone through again and again: from the last cache up to half of it, from memory, at
    `memory` bytes a cycle, from one and a half of it on. Between, 131 MB came from a cache of 128 at 18 GB/s a core, where 64 took 26 and
    262 took 15."""
    missed = total / spec.l3 - 0.5
    missed = missed.clip(0.0, 1.0) if isinstance(missed, np.ndarray) else min(1.0, max(0.0, missed))
    return (1 - missed) / L3_BYTES[spec.mesh] + missed / memory


def shared_plane_cycles(planes: int, outputs: int, threads: int, spec: Machine) -> float:
    """Cycles a channel of a thread that writes some of a plane of so many outputs and another thread the rest, as they may where there
    are fewer planes, of all images and groups, than threads."""
    return SHARED_PLANE[spec.mesh] * min(1.0, SMALL_PLANE / outputs) if planes < threads else 0.0


def handed_cycles(nbytes: Any, threads: int, spec: Machine) -> Any:
    """Cycles of a thread for `nbytes` that all threads wrote and each reads: the part that others wrote and that has not left their
    second-level caches."""
    there = np.clip(threads * spec.l2 - nbytes, 0, nbytes)
    return there * (1 - 1 / threads) / 64 * HANDED


def task_cycles(compute: Any, stream: Any, rest: Any, passes: Any = 1) -> Any:
    """Cycles of one task, or of many where these are arrays: arithmetic and what comes from further away hide most of the shorter; `rest`
    comes before and after. Of several passes over each micro-panel of weights only the first has something to wait for."""
    first = compute / passes
    longer, shorter = (np.maximum, np.minimum) if isinstance(first, np.ndarray) else (max, min)
    return longer(first, stream) + HIDDEN * shorter(first, stream) + compute - first + rest + TASK_COST
