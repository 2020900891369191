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
from typing import Any

import numpy as np

from kernels.methods import load
from kernels.problem.halo import Chain, context
from kernels.runtime.leases import Leases
from kernels.runtime.machine import cores
from kernels.streaming.buffers import Buffers
from kernels.streaming.parts import Elements, Joined, Rows, Windows, chain, parts
from kernels.streaming.reading import read_along

Array = np.ndarray
Interval = tuple[int, int]
Source = Callable[[int, int], Array]  # inputs [low, high) of the signal
Step = Callable[[Array, bool, Buffers], Array]  # takes the inputs that it needs, whether it may write into them, and memory for its outputs

TILE_BYTES = 8 << 20  # input and output of the widest layer: 2 to 32 MB take the same time; see kernels/dask/README.md
HALO_SHARE = 16  # a tile is so many times its halo, or larger


@dataclasses.dataclass(frozen=True)
class Network:
    """Layers for signals of a shape whose length along time (`axis`, counted from the end) is None: a value that processes can share."""

    layers: tuple[Any, ...]
    shape: tuple[int | None, ...]
    axis: int
    implementation: str
    dtype: str
    rest: int  # of the signal's length, divided by `step`: what "same" pads depends on it
    step: int

    def of_batch(self, n: int) -> Network:
        """The same for so many signals at once."""
        return dataclasses.replace(self, shape=(n, *self.shape[1:]))

    def of_length(self, length: int, step: int) -> Network:
        """The same for signals of this length, where what is padded repeats every `step`."""
        return dataclasses.replace(self, rest=length % step, step=step)


class Sections:
    """Computes sections of a network's outputs; several threads may call one at once. Raises as `kernels.stream` does."""

    def __init__(self, network: Network, threads: int = 1) -> None:
        load()
        self.network, self.threads, self.axis = network, threads, network.axis
        found = read_along(network.layers, network.shape, network.implementation, np.dtype(network.dtype), (network.rest, network.step))
        self.computed, self.returned = found.computed, found.returned
        self._parts = parts(found.stages, network.axis, found.computed, threads, cut=False)
        self.chain: Chain = chain(self._parts)
        last = found.stages[-1].out_shape if found.stages else network.shape
        self._before, self._behind = last[: network.axis], last[len(last) + network.axis + 1 :]
        self._tile = _tile(self._parts, self.chain, found.stages, network.axis, found.computed) if found.stages else 0
        self._kept: deque[Buffers] = deque(maxlen=cores())
        self._results = Leases()

    @classmethod
    def of(cls, network: Network, length: int, threads: int = 1) -> Sections:
        """Of a signal of this length, which "same" padding of strides depends on."""
        found = cls(network, threads)
        step = found.chain.grid
        return found if length % step == 0 else cls(network.of_length(length, step), threads)

    def out_shape(self, count: int | float) -> tuple[Any, ...]:
        """The shape of so many outputs."""
        return (*self._before, count, *self._behind)

    def needs(self, first: int, end: int, n: int) -> Interval:
        """The inputs that the outputs [first, end) of a signal of n inputs are computed from."""
        return _bounds(self._parts, first, end, n)

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
            steps = _prepared(self._parts, self.axis, begin, stop, n)
            y = _run(steps, buffers.copy(x, self.computed) if copied else x, copied, buffers)
            with np.errstate(over="ignore"):  # float16 overflows to infinity, as its own arithmetic does
                whole[_along(self.axis, whole.ndim, begin - first, stop - first)] = y.reshape(self.out_shape(stop - begin))
            buffers.give(y)
        self._kept.append(buffers)
        return whole

    def _tiles(self, first: int, end: int) -> Iterator[Interval]:
        tile = self._tile or max(end - first, 1)
        edges = [*range(first, end - tile // 2, tile), end] if end - first > tile else [first, end]
        return itertools.pairwise(edges)


def _tile(found: Sequence[Any], whole: Chain, stages: Sequence[Any], axis: int, dtype: np.dtype) -> int:
    """Outputs of a tile: as many as keep the widest layer in TILE_BYTES and the halo a small share, in steps of the common stride."""
    stages = [part.stage for part in found] or stages
    widest = max(math.prod(stage.x_shape) + math.prod(stage.out_shape) for stage in stages) * dtype.itemsize / stages[0].x_shape[axis]
    inputs = max(TILE_BYTES / widest, HALO_SHARE * sum(context(whole)))
    return int(max(inputs // whole.grid, 1) * whole.grid * whole.ratio)


def _along(axis: int, ndim: int, low: int, high: int) -> Any:
    return (*(slice(None),) * (ndim + axis), slice(low, high))


def _run(steps: Sequence[Step], x: Array, mine: bool, buffers: Buffers) -> Array:
    for step in steps:
        y = step(x, mine, buffers)
        if mine and y is not x:
            buffers.give(x)
        x, mine = y, True
    return x if mine else buffers.copy(x)


def _lengths(found: Sequence[Any], n: int) -> list[int]:
    """How many inputs every part gets, last to first."""
    lengths = [n]
    for part in found:
        lengths.append(part.halo.length(lengths[-1]))
    return lengths[-2::-1]


def _bounds(found: Sequence[Any], first: int, end: int, n: int) -> Interval:
    """The inputs [low, high) of n from which parts one after the other compute the outputs [first, end)."""
    for part, count in zip(reversed(found), _lengths(found, n)):
        if isinstance(part, Windows):
            first, end = part.bounds(first, end, count)
        elif isinstance(part, Joined):
            branches = [_bounds(branch, first, end, count) for branch in part.branches]
            first, end = min(low for low, _ in branches), max(high for _, high in branches)
    return first, end


def _prepared(found: Sequence[Any], axis: int, first: int, end: int, n: int) -> list[Step]:
    """What computes the outputs [first, end) of parts one after the other, from the inputs that `_bounds` says."""
    steps: list[Step] = []
    for part, count in zip(reversed(found), _lengths(found, n)):
        steps.insert(0, _MAKERS[type(part)](part, axis, first, end, count))
        first, end = _bounds([part], first, end, count)
    return steps


def _windows(part: Windows, axis: int, first: int, end: int, n: int) -> Step:
    problem = part.section(first, end, n)
    plan = part.plan(problem)

    def step(x: Array, mine: bool, buffers: Buffers) -> Array:
        y = buffers.take(problem.out_shape, x.dtype)
        plan.run(x.reshape(problem.x_shape), y)
        return y

    return step


def _rows(part: Rows, axis: int, first: int, end: int, n: int) -> Step:
    stage = part.stage

    def step(x: Array, mine: bool, buffers: Buffers) -> Array:
        x = x.reshape(1, 1, -1, stage.x_shape[-1])
        shape = [end - first if i == len(stage.out_shape) + axis else each for i, each in enumerate(stage.out_shape)]
        y = buffers.take((1, 1, x.shape[2], stage.out_shape[-1]), x.dtype)
        part.plan(x.shape[2]).run(x, y)
        return y.reshape(shape)

    return step


def _elements(part: Elements, axis: int, first: int, end: int, n: int) -> Step:
    def step(x: Array, mine: bool, buffers: Buffers) -> Array:
        y = x if mine else buffers.copy(x)
        part.run(y)
        return y

    return step


def _joined(part: Joined, axis: int, first: int, end: int, n: int) -> Step:
    branches = [(*_bounds(branch, first, end, n), _prepared(branch, axis, first, end, n)) for branch in part.branches]
    (low, high), stage = _bounds([part], first, end, n), part.stage

    def step(x: Array, mine: bool, buffers: Buffers) -> Array:
        shape = [high - low if i == len(stage.x_shape) + axis else each for i, each in enumerate(stage.x_shape)]
        x = x.reshape(shape)
        ends = []
        for begin, stop, steps in branches:
            inputs = x[_along(axis, x.ndim, begin - low, stop - low)]
            direct = inputs.flags.c_contiguous
            y = _run(steps, inputs if direct else buffers.copy(inputs), not direct, buffers)
            ends.append(y.reshape(len(y), y.shape[1], *(y.shape[-(len(shape) - 2) :])))
        if part.adds:
            for each in ends[1:]:
                np.add(ends[0], each, out=ends[0])
                buffers.give(each)
            return ends[0]
        channels = sum(each.shape[1] for each in ends)
        joined = buffers.take((len(ends[0]), channels, *ends[0].shape[2:]), x.dtype)
        np.concatenate(ends, 1, out=joined)
        for each in ends:
            buffers.give(each)
        return joined

    return step


_MAKERS: dict[type, Callable[..., Step]] = {
    Windows: _windows, Rows: _rows, Elements: _elements, Joined: _joined,
}  # fmt: skip
