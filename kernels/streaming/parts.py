"""What a stream is made of, before it has any memory: the stages of a network, each with its windows along time. Clones share these.

Methods whose sums depend on where a signal is cut (winograd, BLAS products, fft but for segments that are fixed) are not taken: a stream
gives what the whole signal gives, to the bit.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from kernels.dispatch.descriptor import Descriptor
from kernels.dispatch.plan import Plan
from kernels.methods import registry
from kernels.methods.contract import SUM_ORDERS, operation
from kernels.methods.estimate import estimate
from kernels.network.fusion import Choosing, fuse
from kernels.network.layers import Channels, Flatten, Join, Linear, Pointwise, Stage, Window, named
from kernels.primitives import elementwise
from kernels.problem.arrays import canonical
from kernels.problem.conv import Conv, Problem, linear_problem, pool_problem
from kernels.problem.errors import RefusedError
from kernels.problem.halo import Net, Part, Slide
from kernels.problem.operands import Operands
from kernels.problem.options import Signature
from kernels.runtime.locks import cached_property, lock
from kernels.streaming.kept import kept
from kernels.streaming.reading import Stages
from kernels.streaming.segmenting import segments_for
from kernels.streaming.sliding import Sliding
from kernels.streaming.subgraphs import Computation, Computed

Array = np.ndarray
Run = Callable[..., None]
Shape = tuple[int, ...]

POINT = Slide()


def steady(problem: Problem, name: str) -> str:
    """The implementation that a stream takes for one problem. Raises RefusedError for a named one whose sums depend on the cut."""
    if not isinstance(problem, Conv) and problem.kind == "max":  # no sums
        return name
    every = [method for method in registry.every(operation(problem)).values() if method.sum_order]
    every.sort(key=lambda method: SUM_ORDERS.index(method.sum_order or ""))
    if name == "auto":
        accepted = [method for method in every if registry.refusal(problem, method) is None]
        one_order = [method for method in accepted if method.sum_order == accepted[0].sum_order]
        name = min(one_order, key=lambda method: estimate(problem, method) or 0.0).name
    if name.partition(":")[0] not in [method.name for method in every]:
        names = ", ".join(repr(method.name) for method in every)
        raise RefusedError(
            f"{problem.op}: the sums of implementation {name!r} depend on where the signal is cut, so a stream would not give what the "
            f'whole signal gives; use "auto" or one of {names}'
        )
    variant = "" if ":" in name else registry.get(problem, name).steady
    return f"{name}:{variant}" if variant else name


@dataclasses.dataclass(eq=False)
class Windows:
    """A convolution or a pool along time. pool: of a convolution, if it is computed with it. cut: whether blocks may be cut anywhere, so
    that only methods are taken whose sums do not depend on it."""

    stage: Stage
    sliding: Sliding
    operands: Operands
    implementation: str
    threads: int
    pool: Sliding | None = None
    cut: bool = True
    plans: dict[tuple[Problem, int], Plan] = dataclasses.field(default_factory=dict)
    making: Any = dataclasses.field(default_factory=lock)

    @cached_property
    def halo(self) -> Part:
        """Its arithmetic along time."""
        return Net.row(self.sliding.slide, self.pool.slide) if self.pool else self.sliding.slide

    def bounds(self, first: int, end: int, n: int) -> tuple[int, int]:
        """The inputs [low, high) of n from which the outputs [first, end) are computed."""
        if self.pool:
            first, end = self.pool.bounds(first, end, self.sliding.slide.length(n))
        return self.sliding.bounds(first, end, n)

    def section(self, first: int, end: int, n: int) -> Problem:
        """The problem that computes outputs [first, end) of a whole signal of n inputs, from those of `bounds`."""
        if not self.pool:
            return self.sliding.section(first, end, n)
        problem = self.sliding.section(*self.pool.bounds(first, end, self.sliding.slide.length(n)), n)
        assert isinstance(problem, Conv) and isinstance(self.stage, Window) and isinstance(self.stage.request.problem, Conv)
        return dataclasses.replace(problem, pool=self.stage.request.problem.pool)

    @property
    def taken(self) -> str:
        """The implementations of the plans that were made, for people."""
        if self.sliding.segments:
            return f"fft:{self.sliding.segments}"
        names = sorted({plan.implementation for plan in self.plans.values()})
        return "/".join(names) or "none yet"

    def plan(self, problem: Problem, lead: int = 0) -> Plan:
        """A plan for one length of blocks; recent ones are kept with their packed weights. lead: by how much the first segment is short."""
        key = problem, lead
        return self.plans.get(key) or kept(self.plans, key, self.making, lambda: self._made(problem, lead))

    def _made(self, problem: Problem, lead: int) -> Plan:
        with named(self.stage.index):
            if segments := self.sliding.segments:
                name = f"fft:{dataclasses.replace(segments, lead=lead)}"
            else:
                name = steady(problem, self.implementation) if self.cut else self.implementation
            signature = Signature(problem.x_shape, problem.out_shape, np.dtype(problem.dtype), 2)
            return Plan(Descriptor(problem, signature, name, self.threads), self.operands.copy())


@dataclasses.dataclass(eq=False)
class Rows:
    """A linear layer along another axis than time: every position for itself."""

    stage: Linear
    weight: Array
    bias: Array | None
    threads: int
    cut: bool = True
    halo: Part = POINT
    plans: dict[int, Plan] = dataclasses.field(default_factory=dict)
    making: Any = dataclasses.field(default_factory=lock)
    taken: str = "direct"

    def plan(self, rows: int) -> Plan:
        """A plan for so many positions: a convolution of one tap with channels last, as `kernels.sequence` makes it."""
        return self.plans.get(rows) or kept(self.plans, rows, self.making, lambda: self._made(rows))

    def _made(self, rows: int) -> Plan:
        with named(self.stage.index):
            (c_out, c_in), dtype = self.weight.shape, self.weight.dtype
            problem = linear_problem(
                1, c_in, rows, c_out, dtype.name, bias=self.bias is not None, activation=self.stage.activation
            )  # fmt: skip
            signature = Signature((1, 1, rows, c_in), (1, 1, rows, c_out), dtype, 2, channels_last=True)
            name = steady(problem, self.stage.implementation) if self.cut else self.stage.implementation
            operands = Operands(self.weight.reshape(c_out, c_in, 1, 1).copy(), self.bias)
            return Plan(Descriptor(problem, signature, name, self.threads), operands)


@dataclasses.dataclass(eq=False)
class Elements:
    """A batch norm or an activation: every number for itself. `run(y)` works in place on any length."""

    stage: Pointwise
    run: Run
    halo: Part = POINT
    taken: str = "in place"


@dataclasses.dataclass(eq=False)
class Cut:
    """Some channels."""

    stage: Channels
    halo: Part = POINT
    taken: str = "copy"


@dataclasses.dataclass(eq=False)
class Joined:
    """Values that are concatenated along channels, added or multiplied, once all are there; shapes: those of the values."""

    stage: Join
    shapes: tuple[Shape, ...]
    halo: Part = POINT
    taken: str = "copy"


@dataclasses.dataclass(eq=False)
class Wired:
    """Parts of which each reads what earlier ones give; net: their halos, and the places that each reads. axes: that of time at every
    place, counted from the end."""

    parts: tuple[Any, ...]
    net: Net
    axes: tuple[int, ...]


class _Settings(NamedTuple):
    """What all parts are made with."""

    axis: int
    dtype: np.dtype
    threads: int
    cut: bool
    block: int | None


def wire(
    lines: Sequence[Stages], axis: int, dtype: np.dtype, threads: int, *, cut: bool = True, block: int | None = None
) -> Wired:
    """The parts of lines as they were read, each fused here. axis: that of time in the input, counted from the end. cut: as in `Windows`;
    then pools are computed apart from the convolutions before them. block: the usual number of inputs of a block. Raises RefusedError where
    a layer cannot stream."""
    choosing, axes = Choosing(threads), [axis]
    found: list[Any] = []
    net = Net()
    ends = [0]  # of every line, after how many parts
    for line in lines:
        places, settings = tuple(ends[place] for place in line.sources), _Settings(line.axis, dtype, threads, cut, block)
        for stage in fuse(line.stages, choosing):
            with named(stage.index):
                for part in _parts(stage, line, settings, net.upto(places[0])):
                    net, places = net.then(part.halo, *places), (len(found) + 1,)
                    found.append(part)
                    axes.append(line.axis)
                if isinstance(stage, Join | Computation):
                    net.check()
        ends.append(len(found))
    return Wired(tuple(found), net, tuple(axes))


def _parts(stage: Stage, line: Stages, settings: _Settings, before: Net) -> list[Any]:
    """before: what the stage's input has been through."""
    axis, dtype, threads, cut, _ = settings
    if isinstance(stage, Window):
        return _windows(stage, settings, before)
    if isinstance(stage, Pointwise):
        return [Elements(stage, _in_place(stage, axis, dtype, threads))]
    if isinstance(stage, Linear):
        bias = None if stage.bias is None else np.array(stage.bias, dtype)
        return [Rows(stage, np.array(stage.weight, dtype, order="C"), bias, threads, cut)]
    if isinstance(stage, Channels):
        return [Cut(stage)]
    if isinstance(stage, Join):
        return [Joined(stage, line.shapes)]
    if isinstance(stage, Computation):
        if stage.subgraph.carried and not cut:
            raise RefusedError(f"{stage.words[0]} needs all of the signal before; only a stream computes it, block after block")
        return [Computed(stage, threads)]
    assert isinstance(stage, Flatten)
    raise RefusedError("flatten mixes time with other axes; leave it out and use a convolution as long as what it flattened")


def _windows(stage: Window, settings: _Settings, before: Net) -> list[Windows]:
    """A convolution or a pool; where blocks are cut anywhere, the pool in a convolution's epilogue apart from it."""
    axis, _, threads, cut, block = settings
    problem, operands, name = stage.request.problem, stage.request.operands.copy(), stage.implementation
    pool = Sliding(pool_problem(problem), axis) if isinstance(problem, Conv) and problem.pool else None
    if pool:
        assert isinstance(problem, Conv)
        problem = dataclasses.replace(problem, pool=None)
    sliding = Sliding(problem, axis)
    segments = segments_for(sliding, name, before.then(sliding.slide), block, threads) if cut else None
    if segments:
        sliding = Sliding(problem, axis, segments)
    elif cut:
        steady(problem, name)  # refused now, not at the first block
    found = [Windows(stage, sliding, operands, name, threads, None if cut else pool, cut)]
    if pool and cut:
        found.append(Windows(stage, pool, Operands(), "auto", threads))
    for each in found:
        assert each.halo  # raises where windows see nothing but padding
    return found


def _in_place(stage: Pointwise, axis: int, dtype: np.dtype, threads: int) -> Run:
    numbers = [None if each is None else canonical(each, dtype, each.shape) for each in (stage.scale, stage.shift)]
    shape, along = stage.x_shape, stage.axis
    if stage.scale is None:
        return elementwise.prepare(stage.problem(dtype.name), threads)(Operands())
    if along == len(shape) + axis:
        raise RefusedError(f"batch_norm: axis {along} is time, of which it has numbers for {shape[along]} positions only")
    if along == len(shape) - 1:  # numbers along the last axis: as `kernels.sequence` does it
        follow = elementwise.prepare(dataclasses.replace(stage, scale=None, shift=None).problem(dtype.name), threads)(Operands())
        scale, shift = numbers
        assert scale is not None and shift is not None
        return functools.partial(_along_rows, scale, shift, follow if stage.activation else None)
    rest = [length for i, length in enumerate(shape) if i > along and i != len(shape) + axis]
    follow = elementwise.prepare(stage.problem(dtype.name), threads)(Operands(scale=numbers[0], shift=numbers[1]))
    channels, size = shape[along], math.prod(rest)
    if along > len(shape) + axis:  # time lies before the axis, so that a block has more planes
        return lambda y: follow(y.reshape(-1, channels, 1, size))
    planes = math.prod(shape[:along])
    return lambda y: follow(y.reshape(planes, channels, 1, -1))


def _along_rows(scale: Array, shift: Array, follow: Run | None, y: Array) -> None:
    rows = y.reshape(-1, len(scale))
    np.multiply(rows, scale, out=rows)
    np.add(rows, shift, out=rows)
    if follow:
        follow(y)
