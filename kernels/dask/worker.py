"""What runs on a worker: one chunk. Plans are made once a process and problem; threads are the worker's own.

A worker of n threads computes n chunks at a time, each on one thread, so that it never runs more than n. Only where nothing else runs at
once, in a process's main thread, all cores serve one chunk.
"""

from __future__ import annotations

import itertools
import multiprocessing
import threading
from typing import Any

import numpy as np

from kernels.dask.recordings import Recording
from kernels.runtime.locks import lock
from kernels.runtime.machine import cores
from kernels.streaming.buffers import Buffers
from kernels.streaming.sections import Network, Sections

Array = np.ndarray

KEPT = 8  # networks that a process keeps plans for
_known: dict[tuple[str, int], Sections] = {}
_making = lock()
_reading = threading.local()  # .buffers: of this thread, for what it reads


def threads_here() -> int:
    """Threads for one chunk, where this is called."""
    alone = threading.current_thread() is threading.main_thread() and multiprocessing.parent_process() is None
    return cores() if alone else 1


def sections_of(token: str, network: Network) -> Sections:
    """The network's sections with the plans that this process has made."""
    key = token, threads_here()
    found = _known.get(key)
    if found is None:
        with _making:
            found = _known.get(key)
            if found is None:
                while len(_known) >= KEPT:
                    _known.pop(next(iter(_known)))
                found = _known[key] = Sections(network, key[1])
    return found


def compute(token: str, network: Network, span: tuple[int, int, int], cuts: tuple[slice | None, ...], *pieces: Array) -> Array:
    """Outputs first to end of a signal of n inputs, `span`; pieces: neighbouring chunks that hold what they need, each cut to its part.

    No chunk is copied: tiles inside of one piece are views of it, only those that meet another are joined.
    """
    axis, sections = network.axis, sections_of(token, network)
    parts = [piece if cut is None else piece[_along(axis, piece.ndim, cut)] for cut, piece in zip(cuts, pieces)]
    start = sections.needs(*span)[0]
    edges = [*itertools.accumulate((part.shape[axis] for part in parts), initial=start)]

    def source(low: int, high: int) -> Array:
        found = [
            part if begin >= low and end <= high else part[_along(axis, part.ndim, slice(max(low - begin, 0), high - begin))]
            for part, (begin, end) in zip(parts, itertools.pairwise(edges)) if begin < high and end > low
        ]  # fmt: skip
        return found[0] if len(found) == 1 else np.concatenate(found, axis)

    return sections.of_source(source, *span)


def compute_recording(token: str, network: Network, span: tuple[int, int, int], recording: Recording) -> Array:
    """The same of a recording, of which this reads what it needs."""
    sections = sections_of(token, network)
    if not hasattr(_reading, "buffers"):
        _reading.buffers = Buffers()
    with recording.opened(_reading.buffers) as read:
        return sections.of_source(lambda low, high: read(low, high)[None], *span)


def cut(piece: Array, axis: int, first: int, end: int) -> Array:
    """A copy of positions first to end along time: what a neighbour needs of a chunk, without the chunk."""
    return piece[_along(axis, piece.ndim, slice(first, end))].copy()


def _along(axis: int, ndim: int, place: slice) -> Any:
    return (*(slice(None),) * (ndim + axis), place)
