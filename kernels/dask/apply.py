"""A network on a dask array: a graph with a task for every chunk of outputs, and one for every halo that a neighbour cuts off for it.

Outputs are shared out where their contemporaries lie, so that result and input are chunked alike; halo arithmetic says which inputs each
chunk of outputs needs, of as many neighbours as that takes. What a recording's chunk needs, its task reads itself.
"""

from __future__ import annotations

import bisect
import contextlib
import gc
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import dask.array
import numpy as np
from dask._task_spec import DataNode, Task, TaskRef
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

from kernels.api.call import input_dtype
from kernels.dask import worker
from kernels.dask.recordings import Recording, recording_of
from kernels.network.layers import Layer
from kernels.network.model import Model
from kernels.problem import halo
from kernels.problem.errors import ProblemError
from kernels.problem.options import per_axis
from kernels.streaming.lines import lines_of
from kernels.streaming.models import check_batch, lines_of_model
from kernels.streaming.refusals import check
from kernels.streaming.sections import Network, Sections

Array = Any  # dask.array.Array
Graph = dict[Any, Any]


def apply(layers: Sequence[Layer] | Model, x: Array, *, axis: int = -1, implementation: str = "auto") -> Array:
    """A stack of layers on a dask array (N, C, *spatial), lazy: chunked like x along batch and along time, which is `axis`.

    layers: as `kernels.stream` takes them, or a model without recurrences; "same" padding of strides is allowed, since the length is known.
    Channels and other axes are one chunk each. Every chunk of outputs is computed from the inputs that it needs and no more; the signal is
    padded at its ends only. With direct sums (`implementation="direct"`, averages by "jit") the result is that of the unchunked call to the
    bit; with "auto" every chunk takes what is fastest for it, within the error bound. Chunks too short for the layers' context are joined,
    which the graph's annotation "spectroconv" says. Raises ProblemError for signals too short or of unknown length, RefusedError for layers
    that need the whole signal.

    >>> import dask.array
    >>> from kernels import layer
    >>> x = dask.array.ones((1, 1, 1000), chunks=(1, 1, 300), dtype="float32")
    >>> y = apply([layer("conv1d", np.ones((4, 1, 9), np.float32), stride=2, padding=4)], x)
    >>> y.chunks
    ((1,), (4,), (150, 150, 150, 50))
    """
    along = _checked(x, axis, 1 if isinstance(layers, Model) else 2)
    shape = tuple(None if i == x.ndim + along else max(length, 1) for i, length in enumerate(x.shape))
    if not isinstance(layers, Model | Sequence) or isinstance(layers, str):
        raise ProblemError(f"dask.apply: layers is a {type(layers).__name__}, must be a list of kernels.layer(...) or a model")
    if not x.shape[0]:  # shaped and chunked as a batch of one would be
        one = dask.array.zeros((1, *x.shape[1:]), chunks=((1,), *x.chunks[1:]), dtype=x.dtype)
        y = apply(layers, one, axis=axis, implementation=implementation)
        return dask.array.empty((0, *y.shape[1:]), chunks=((0,), *y.chunks[1:]), dtype=y.dtype)
    recording = recording_of(x)
    if any(0 in sizes for sizes in x.chunks):  # dask allows empty chunks, which have no outputs
        x = x.rechunk(tuple(tuple(filter(None, sizes)) for sizes in x.chunks))
    if isinstance(layers, Model) and len(x.chunks[0]) > 1:
        check_batch(layers, shape)
    n = x.shape[along]
    dtype = input_dtype("dask.apply", x.dtype).name

    def network_of(size: int) -> Network:
        taken = (size, *shape[1:])
        lines = lines_of_model(layers, taken) if isinstance(layers, Model) else lines_of(layers, along)
        check(lines, x.ndim, endless=False)
        return Network(lines, taken, along, implementation, dtype, 0, 1)

    found = Sections.of(network_of(x.chunks[0][0]), n)
    network = found.network
    outputs = found.net.length(n)
    if outputs < 1:
        least = bisect.bisect_left(range(found.net.needs(0, 1)[1]), 1, key=found.net.length)
        raise ProblemError(f"dask.apply: x has {n} inputs along time, its first output needs {least}; pass more")
    x, edges, note = _chunked(x, along, found, outputs)
    sizes = tuple(end - first for first, end in itertools.pairwise(edges))
    token = tokenize(network, x.name, edges)
    name = f"spectroconv-{token}"
    graph = _graph(x, along, name, found, edges) if recording is None else _reading(recording, name, x.shape[along], edges)
    networks = {size: network if size == x.chunks[0][0] else network_of(size).like(network) for size in dict.fromkeys(x.chunks[0])}
    # a key for each length of chunks along the batch: a worker unpickles weights once, not with every task
    keys = {(f"{name}-network", size): DataNode((f"{name}-network", size), each) for size, each in networks.items()}
    layer = MaterializedLayer({**graph, **keys}, annotations={"spectroconv": note} if note else None)
    chunks = tuple(
        x.chunks[0] if i == 0 else sizes if i == len(found.out_shape(0)) + found.out_axis else (length,)
        for i, length in enumerate(found.out_shape(0))
    )  # fmt: skip
    meta = np.empty((0,) * len(chunks), found.returned)
    whole = HighLevelGraph.from_collections(name, layer, dependencies=[] if recording else [x])
    return dask.array.Array(whole, name, chunks, meta=meta)


def _checked(x: Any, axis: int, least: int) -> int:
    """The axis of time, counted from the end; least: the first that may be it. Raises ProblemError for anything but a dask array of known
    shape."""
    if not isinstance(x, dask.array.Array):
        raise ProblemError(f"dask.apply: x is a {type(x).__name__}, must be a dask array; dask.array.from_array(x, chunks=...) makes one")
    if x.ndim <= least:
        raise ProblemError(f"dask.apply: x has shape {x.shape}; must be (N, C, *spatial)")
    along = per_axis("dask.apply", "axis", axis, 1)[0]
    if not -x.ndim <= along < x.ndim or along % x.ndim < least:
        axes = "spatial axes" if least == 2 else "axes behind the batch"
        raise ProblemError(f"dask.apply: axis is {axis}, must be one of the {axes} of shape {x.shape}: {least} to {x.ndim - 1}")
    if any(math.isnan(length) for length in x.shape):
        raise ProblemError(f"dask.apply: x has shape {x.shape}; call x.compute_chunk_sizes() first")
    if 0 in x.shape[1:]:
        raise ProblemError(f"dask.apply: x has shape {x.shape}, nothing to compute; only the batch may be 0")
    return along % x.ndim - x.ndim


def _edges(lengths: Sequence[int], found: Sections, outputs: int) -> list[int]:
    """Where chunks of outputs end, for chunks of inputs of these lengths: where their contemporaries do."""
    ratio = found.net.ratio
    ends = [min(outputs, math.ceil(end * ratio)) for end in itertools.accumulate(lengths)]
    return [0, *ends[:-1], outputs]


def _chunked(x: Array, axis: int, found: Sections, outputs: int) -> tuple[Array, tuple[int, ...], str]:
    """(x, edges of the outputs' chunks, note): channels and other axes in one chunk, chunks along time none of which is too short."""
    notes = []
    whole = {i: -1 for i in range(1, x.ndim) if i != x.ndim + axis and len(x.chunks[i]) > 1}
    if whole:
        notes.append(f"axes {sorted(whole)} joined to one chunk each: only batch and time are shared out")
        x = x.rechunk(whole)
    left, right = halo.context(found.net)
    least = max(found.net.grid, left + right + 1)
    lengths = x.chunks[axis]
    if len(lengths) > 1 and min(lengths[:-1]) < least:
        size = max(least, *lengths)
        notes.append(f"chunks of {min(lengths[:-1])} along time joined to {size}: the layers' context is {left} before and {right} after")
        x = x.rechunk({x.ndim + axis: size})
        lengths = x.chunks[axis]
    edges = _edges(lengths, found, outputs)
    empty = sum(first >= end for first, end in itertools.pairwise(edges))
    if empty:  # at the end, where outputs are cut short
        notes.append(f"the last {empty + 1} chunks along time joined: they have {edges[-1] - edges[-2 - empty]} outputs in all")
        x = x.rechunk({x.ndim + axis: (*lengths[: -1 - empty], sum(lengths[-1 - empty :]))})
        edges = _edges(x.chunks[axis], found, outputs)
    return x, tuple(edges), "; ".join(notes)


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """No garbage collection while many objects that stay are made: of 100,000 chunks it takes 6 of 7.5 seconds."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@_uncollected()
def _graph(x: Array, axis: int, name: str, found: Sections, edges: tuple[int, ...]) -> Graph:
    n, lengths, rank = x.shape[axis], x.chunks[axis], x.ndim + axis
    starts = [0, *itertools.accumulate(lengths)]
    out_rank = len(found.out_shape(0)) + found.out_axis
    zeros, out_zeros = [0] * x.ndim, [0] * len(found.out_shape(0))
    halos = f"{name}-halo"
    shared = {size: TaskRef((f"{name}-network", size)) for size in x.chunks[0]}
    needs, graph = _far(found, n), Graph()
    for t, (first, end) in enumerate(itertools.pairwise(edges)):
        low, high = needs(first, end)
        inside = range(bisect.bisect_right(starts, low) - 1, bisect.bisect_left(starts, high))
        cuts = [(max(low - starts[j], 0), min(high - starts[j], lengths[j])) for j in inside]
        own = max(range(len(cuts)), key=lambda i: cuts[i][1] - cuts[i][0])
        slices = tuple(
            slice(*cut) if i == own and cut != (0, lengths[j]) else None for i, (j, cut) in enumerate(zip(inside, cuts))
        )  # fmt: skip
        for i, size in enumerate(x.chunks[0]):
            zeros[0] = out_zeros[0] = i
            keys: list[Any] = []
            for place, (j, cut) in enumerate(zip(inside, cuts)):
                zeros[rank] = j
                key = (x.name, *zeros)
                if place != own and cut != (0, lengths[j]):
                    halo_key = (halos, i, j, *cut)
                    graph[halo_key] = Task(halo_key, worker.cut, TaskRef(key), axis, *cut)
                    key = halo_key
                keys.append(TaskRef(key))
            out_zeros[out_rank] = t
            out = (name, *out_zeros)
            graph[out] = Task(out, worker.compute, f"{name}-{size}", shared[size], (first, end, n), slices, *keys)
    return graph


@_uncollected()
def _reading(recording: Recording, name: str, n: int, edges: tuple[int, ...]) -> Graph:
    """A task a chunk of outputs, which reads what it needs."""
    source, graph = f"{name}-recording", Graph()
    graph[source] = DataNode(source, recording)
    network, samples = TaskRef((f"{name}-network", 1)), TaskRef(source)
    for t, (first, end) in enumerate(itertools.pairwise(edges)):
        key = (name, 0, 0, t)
        graph[key] = Task(key, worker.compute_recording, f"{name}-1", network, (first, end, n), samples)
    return graph


def _far(found: Sections, n: int) -> Callable[[int, int], tuple[int, int]]:
    """`found.needs` of a signal of n inputs, which away from both ends is the same for all chunks but for where they lie."""
    grid, steps = found.net.grid, int(found.net.grid * found.net.ratio)
    margin = 2 * (sum(halo.context(found.net)) + 1) + grid  # inputs beyond which no layer meets an end
    known: dict[tuple[int, int], tuple[int, int]] = {}

    def needs(first: int, end: int) -> tuple[int, int]:
        turn, rest = divmod(first, steps)
        low, high = known.get((rest, end - first), (0, 0))
        low, high = low + turn * grid, high + turn * grid
        if low < margin or high > n - margin or high <= low or (rest, end - first) not in known:
            low, high = found.needs(first, end, n)
            if low >= margin and high <= n - margin:
                known[rest, end - first] = low - turn * grid, high - turn * grid
        return low, high

    return needs
