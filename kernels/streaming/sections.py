"""Some outputs of a network from the inputs that they need, and no others: what tiles of a long signal and chunks on a cluster compute.

From the last layer to the first, halo arithmetic says which of its inputs a layer needs; then every layer runs on just these, padded only
where the signal itself ends. Nothing but the halo is computed twice, and no layer sees zeros that the signal does not have. Long sections
are computed in tiles whose layers stay in cache, so that memory between layers is bounded whatever a section's length.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from kernels.methods import load
from kernels.problem.halo import Interval, context
from kernels.runtime.leases import Leases
from kernels.runtime.machine import cores
from kernels.streaming.buffers import Buffers
from kernels.streaming.lines import Line
from kernels.streaming.parts import Cut, Elements, Joined, Rows, Windows, Wired, wire
from kernels.streaming.reading import read_along
from kernels.streaming.subgraphs import Computed, at_length

Array = np.ndarray
Source = Callable[[int, int], Array]  # inputs [low, high) of the signal
Step = Callable[[list[Array], bool, Buffers], Array]  # takes what it reads, whether it may write into the first, memory for its outputs

TILE_BYTES = 8 << 20  # input and output of the widest layer: 2 to 32 MB take the same time; see kernels/dask/README.md
HALO_SHARE = 16  # a tile is so many times its halo, or larger


@dataclasses.dataclass(frozen=True)
class Network:
    """Lines for signals of a shape whose length along time (`axis`, counted from the end) is None: a value that processes can share."""

    lines: tuple[Line, ...]
    shape: tuple[int | None, ...]
    axis: int
    implementation: str
    dtype: str
    rest: int  # of the signal's length, divided by `step`: what "same" pads depends on it
    step: int

    def like(self, other: Network) -> Network:
        """The same for signals of the other's length."""
        return dataclasses.replace(self, rest=other.rest, step=other.step)

    def of_length(self, length: int, step: int) -> Network:
        """The same for signals of this length, where what is padded repeats every `step`."""
        return dataclasses.replace(self, rest=length % step, step=step)


class Sections:
    """Computes sections of a network's outputs; several threads may call one at once. Raises as `kernels.stream` does."""

    def __init__(self, network: Network, threads: int = 1) -> None:
        load()
        self.network, self.threads, self.axis = network, threads, network.axis
        found = read_along(network.lines, network.shape, network.implementation, np.dtype(network.dtype), (network.rest, network.step))
        self.computed, self.returned, last = found.computed, found.returned, found.out_shape
        self._wired = wire(found.lines, network.axis, found.computed, threads, cut=False)
        self.net, self.out_axis = self._wired.net, self._wired.axes[-1]
        self._before, self._behind = last[: self.out_axis], last[len(last) + self.out_axis + 1 :]
        self._tile = _tile(self._wired, found.computed) if found.lines else 0
        self._kept: deque[Buffers] = deque(maxlen=cores())
        self._results = Leases()

    @classmethod
    def of(cls, network: Network, length: int, threads: int = 1) -> Sections:
        """Of a signal of this length, which "same" padding of strides depends on."""
        found = cls(network, threads)
        step = found.net.grid
        return found if length % step == 0 else cls(network.of_length(length, step), threads)

    def out_shape(self, count: int | float) -> tuple[Any, ...]:
        """The shape of so many outputs."""
        return (*self._before, count, *self._behind)

    def needs(self, first: int, end: int, n: int) -> Interval:
        """The inputs that the outputs [first, end) of a signal of n inputs are computed from."""
        return _spans(self._wired, first, end, self.net.lengths(n))[0]

    def __call__(self, x: Array, first: int, end: int, n: int) -> Array:
        """Outputs [first, end) of a signal of n inputs; x: those that `needs` says."""
        start = self.needs(first, end, n)[0]
        return self.of_source(lambda low, high: x[_along(self.axis, x.ndim, low - start, high - start)], first, end, n)

    def of_source(self, source: Source, first: int, end: int, n: int) -> Array:
        """Outputs [first, end) of a signal of n inputs, which source hands out tile by tile."""
        whole = self._results.take(self.out_shape(end - first), self.returned)
        buffers = self._kept.pop() if self._kept else Buffers()
        for begin, stop in self._tiles(first, end):
            x = source(*self.needs(begin, stop, n))
            copied = x.dtype != self.computed or not x.flags.c_contiguous
            tasks = _prepared(self._wired, begin, stop, n)
            y = _run(tasks, self._wired.axes, buffers.copy(x, self.computed) if copied else x, copied, buffers)
            with np.errstate(over="ignore"):  # float16 overflows to infinity, as its own arithmetic does
                whole[_along(self.out_axis, whole.ndim, begin - first, stop - first)] = y.reshape(self.out_shape(stop - begin))
            buffers.give(y)
        self._kept.append(buffers)
        return whole

    def _tiles(self, first: int, end: int) -> Iterator[Interval]:
        tile = self._tile or max(end - first, 1)
        edges = [*range(first, end - tile // 2, tile), end] if end - first > tile else [first, end]
        return itertools.pairwise(edges)


def _tile(wired: Wired, dtype: np.dtype) -> int:
    """Outputs of a tile: as many as keep the widest layer in TILE_BYTES and the halo a small share, in steps of the common stride."""
    stages, net = [part.stage for part in wired.parts], wired.net
    length = stages[0].x_shape[wired.axes[0]]
    widest = max(math.prod(stage.x_shape) + math.prod(stage.out_shape) for stage in stages) * dtype.itemsize / length
    inputs = max(TILE_BYTES / widest, HALO_SHARE * sum(context(net)))
    return int(max(inputs // net.grid, 1) * net.grid * net.ratio)


def _along(axis: int, ndim: int, low: int, high: int) -> Any:
    return (*(slice(None),) * (ndim + axis), slice(low, high))


class _Task(NamedTuple):
    """One part: what it computes, the places that it reads with the cut of what lies there (None: all), the places that nobody reads behind
    it, and the shape of its outputs."""

    step: Step
    reads: tuple[tuple[int, Interval | None], ...]
    last: tuple[int, ...]
    shape: tuple[int, ...]


def _run(tasks: Sequence[_Task], axes: Sequence[int], x: Array, copied: bool, buffers: Buffers) -> Array:
    """The last task's outputs, in an array of the buffers. copied: whether x is one of them."""
    values, owned = {0: x}, {0} if copied else set()
    for i, task in enumerate(tasks, 1):
        xs, copies = [], []
        for place, cut in task.reads:
            value = values[place]
            if cut:
                value = value[_along(axes[place], value.ndim, *cut)]
                if not value.flags.c_contiguous:
                    value = buffers.copy(value)
                    copies.append(value)
            xs.append(value)
        place, cut = task.reads[0]
        mine = (bool(copies) and copies[0] is xs[0]) or (place in owned and place in task.last and not cut and len(task.reads) == 1)
        y = values[i] = task.step(xs, mine, buffers).reshape(task.shape)
        owned.add(i)
        for each in (*copies, *(values.pop(place) for place in task.last if place in owned)):
            if each.ctypes.data != y.ctypes.data:
                buffers.give(each)
    found = values[len(tasks)]
    return found if len(tasks) in owned else buffers.copy(found)


def _spans(wired: Wired, first: int, end: int, counts: Sequence[int]) -> dict[int, Interval]:
    """What lies at every place, of so many, that the outputs [first, end) are computed from."""
    return wired.net.spans(first, end, lambda i, low, high: _bounds(wired, i, low, high, counts))


def _bounds(wired: Wired, i: int, first: int, end: int, counts: Sequence[int]) -> Interval:
    """What a part's outputs [first, end) are computed from."""
    part = wired.parts[i]
    if isinstance(part, Windows):
        return part.bounds(first, end, counts[wired.net.sources[i][0]])
    return part.halo.needs(first, end) if isinstance(part, Computed) else (first, end)


def _prepared(wired: Wired, first: int, end: int, n: int) -> list[_Task]:
    """What computes the outputs [first, end) of a signal of n inputs, from those that its span says."""
    counts, sources = wired.net.lengths(n), wired.net.sources
    spans = _spans(wired, first, end, counts)
    last = {place: i for i, places in enumerate(sources) for place in places}  # who reads it last
    tasks = []
    for i, (part, places) in enumerate(zip(wired.parts, sources)):
        low, high = spans[i + 1]
        begin, stop = _bounds(wired, i, low, high, counts)
        reads = tuple((place, None if spans[place] == (begin, stop) else _within(spans[place], begin, stop)) for place in places)
        time = len(part.stage.out_shape) + wired.axes[i + 1]
        shape = tuple(high - low if j == time else each for j, each in enumerate(part.stage.out_shape))
        step = _MAKERS[type(part)](part, shape, low, high, counts[places[0]])
        tasks.append(_Task(step, reads, tuple(place for place in dict.fromkeys(places) if last[place] == i), shape))
    return tasks


def _within(span: Interval, begin: int, stop: int) -> Interval:
    return begin - span[0], stop - span[0]


def _windows(part: Windows, shape: tuple[int, ...], first: int, end: int, n: int) -> Step:
    problem = part.section(first, end, n)
    plan = part.plan(problem)

    def step(xs: list[Array], mine: bool, buffers: Buffers) -> Array:
        y = buffers.take(problem.out_shape, xs[0].dtype)
        plan.run(xs[0].reshape(problem.x_shape), y)
        return y

    return step


def _rows(part: Rows, shape: tuple[int, ...], first: int, end: int, n: int) -> Step:
    def step(xs: list[Array], mine: bool, buffers: Buffers) -> Array:
        x = xs[0].reshape(1, 1, -1, part.stage.x_shape[-1])
        y = buffers.take((1, 1, x.shape[2], part.stage.out_shape[-1]), x.dtype)
        part.plan(x.shape[2]).run(x, y)
        return y

    return step


def _elements(part: Elements, shape: tuple[int, ...], first: int, end: int, n: int) -> Step:
    def step(xs: list[Array], mine: bool, buffers: Buffers) -> Array:
        y = xs[0] if mine else buffers.copy(xs[0])
        part.run(y)
        return y

    return step


def _cut(part: Cut, shape: tuple[int, ...], first: int, end: int, n: int) -> Step:
    def step(xs: list[Array], mine: bool, buffers: Buffers) -> Array:
        return buffers.copy(part.stage.of(xs[0]))

    return step


def _joined(part: Joined, shape: tuple[int, ...], first: int, end: int, n: int) -> Step:
    def step(xs: list[Array], mine: bool, buffers: Buffers) -> Array:
        y = xs[0] if mine and len(xs) == 1 else buffers.take(shape, xs[0].dtype)
        if part.stage.ufunc is None:
            np.concatenate(xs, 1, out=y)
        else:
            part.stage.meet(xs, y)
        return y

    return step


def _computed(part: Computed, shape: tuple[int, ...], first: int, end: int, n: int) -> Step:
    subgraph, (low, high) = part.stage.subgraph, part.halo.needs(first, end)
    time, skipped = subgraph.out.index(None), first - low * subgraph.multiple

    def step(xs: list[Array], mine: bool, buffers: Buffers) -> Array:
        given = {f"x{i}": x.reshape(at_length(each, high - low)) for i, (x, each) in enumerate(zip(xs, subgraph.shapes))}
        y = part.program(high - low)(given)["y"]
        return buffers.copy(y[_along(time - y.ndim, y.ndim, skipped, skipped + end - first)])

    return step


_MAKERS: dict[type, Callable[..., Step]] = {
    Windows: _windows, Rows: _rows, Elements: _elements, Cut: _cut, Joined: _joined, Computed: _computed,
}  # fmt: skip
