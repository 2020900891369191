"""Stages become steps: what runs, what it reads and writes, and where in the arena that lies."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np

from kernels.cost.calibration import calibration
from kernels.dispatch.descriptor import Descriptor
from kernels.dispatch.plan import Plan
from kernels.methods.contract import rounding_bound
from kernels.network.arena import offsets
from kernels.network.fusion import Choosing
from kernels.network.layers import Channels, Flatten, Join, Linear, Pointwise, Shape, Stage, Window, named
from kernels.primitives import elementwise as epilogue
from kernels.problem.arrays import canonical
from kernels.problem.conv import Conv, Problem, linear_problem
from kernels.problem.operands import Operands
from kernels.problem.options import Signature

Array = np.ndarray


@dataclasses.dataclass(eq=False)
class Memory:
    """Numbers that lie together: the caller's x or out, a part of the arena, or of other memory (one branch of several)."""

    count: int
    at: int = 0  # first number, in `within` or in the arena
    within: Memory | None = None

    def root(self) -> tuple[Memory, int]:
        """The memory that this one is a part of in the end, and the first number there."""
        if self.within is None:
            return self, 0
        root, at = self.within.root()
        return root, at + self.at


@dataclasses.dataclass(frozen=True, eq=False)
class View:
    """All numbers of a memory, in a shape."""

    memory: Memory
    shape: Shape

    def of(self, bases: dict[Memory, Array]) -> Array | None:
        """The array; None where the memory that it lies in is not known yet."""
        root, at = self.memory.root()
        base = bases.get(root)
        return None if base is None else base[at : at + self.memory.count].reshape(self.shape)


@dataclasses.dataclass(frozen=True, eq=False)
class Step:
    """`run(*reads, write)`, None where nothing has to be done; and what `explain` says of it."""

    stage: Stage
    run: Callable[..., None] | None
    reads: tuple[View, ...]
    write: View
    method: str
    seconds: float | None = None
    scratch: int = 0
    bound: float = 0.0

    def operands(self, bases: dict[Memory, Array]) -> tuple[Array, ...] | None:
        """What `run` is called with; None where an array is not known yet."""
        arrays = [array for view in (*self.reads, self.write) if (array := view.of(bases)) is not None]
        return tuple(arrays) if len(arrays) > len(self.reads) else None


Ready = tuple[dict[Memory, Array], list[tuple[Step, tuple[Array, ...] | None]]]


class Steps:
    """All steps of a network and their arena."""

    def __init__(self, stages: Sequence[Stage], x_shape: Shape, dtype: np.dtype, choosing: Choosing) -> None:
        self.dtype, self.choosing, self.threads = dtype, choosing, choosing.threads
        self._steps: list[Step] = []
        self._x = Memory(math.prod(x_shape))
        self._held = [self._x]  # what must not be written: the caller's x, and what branches read that are still to come
        end = self._chain(stages, View(self._x, x_shape))
        if not self._mine(end):
            end = self._copied(stages[-1] if stages else Stage((), ("copy",), x_shape, x_shape, dtype), end)
        self._out = end.memory.root()[0]
        lives: dict[Memory, list[int]] = {}
        for i, step in enumerate(self._steps):
            for view in (*step.reads, step.write):
                lives.setdefault(view.memory.root()[0], []).append(i)
        inner = [each for each in lives if each not in (self._x, self._out)]
        nbytes = [each.count * dtype.itemsize for each in inner]
        starts, self.arena_bytes = offsets([(n, min(lives[each]), max(lives[each])) for n, each in zip(nbytes, inner)])
        self._starts = {each: start // dtype.itemsize for each, start in zip(inner, starts)}
        self.apart_bytes = sum(nbytes)
        self.scratch_bytes = sum(step.scratch for step in self._steps)
        self.error_bound = sum(step.bound for step in self._steps)

    def ready(self, arena: Array) -> Ready:
        """The arrays in this arena (bytes), and every step that runs with its operands; None for those that lie in x or out."""
        numbers = arena.view(self.dtype)
        bases = {memory: numbers[start : start + memory.count] for memory, start in self._starts.items()}
        return bases, [(step, step.operands(bases)) for step in self._steps if step.run]

    def run(self, ready: Ready, x: Array, out: Array) -> None:
        """All steps, from a contiguous x into a contiguous out."""
        bases = {**ready[0], self._x: x.reshape(-1), self._out: out.reshape(-1)}
        for step, operands in ready[1]:
            operands = operands or step.operands(bases)
            assert step.run and operands
            step.run(*operands)

    def lines(self) -> list[str]:
        """A line a step, its columns aligned."""
        rows = []
        for step in self._steps:
            root, at = step.write.memory.root()
            lies = "out" if root is self._out else "x" if root is self._x else "arena"
            if lies == "arena" or root is not step.write.memory:
                start, count = (self.dtype.itemsize * each for each in (self._starts.get(root, 0) + at, step.write.memory.count))
                lies += f" {start:,} + {count:,} bytes"
            seconds = "" if step.seconds is None else f"{1e3 * step.seconds:.3g} ms"
            stage = step.stage
            rows.append((stage.index, " ".join(stage.words), str(stage.out_shape), step.method, seconds, lies))
        widths = [max(map(len, column)) for column in zip(*rows)]
        return ["  ".join(field.ljust(width) for field, width in zip(row, widths)).rstrip() for row in rows]

    def _mine(self, view: View) -> bool:
        return view.memory.root()[0] not in self._held

    def _step(self, stage: Stage, run: Callable[..., None] | None, reads: Sequence[View], write: View, method: str,
              seconds: float | None = None, scratch: int = 0, bound: float = 0.0) -> View:  # fmt: skip
        """Append a step; its result in the shape that the stage gives."""
        self._steps.append(Step(stage, run, tuple(reads), write, method, seconds, scratch, bound))
        return View(write.memory, stage.out_shape)

    def _new(self, shape: Shape) -> View:
        return View(Memory(math.prod(shape)), shape)

    def _moved(self, *shapes: Shape) -> float:
        """Seconds to read and write arrays of these shapes once."""
        return sum(map(math.prod, shapes)) * self.dtype.itemsize / calibration().bandwidth

    def _copied(self, stage: Stage, value: View) -> View:
        seconds = self._moved(value.shape, value.shape)
        return self._step(stage, lambda x, y: np.copyto(y, x), [value], self._new(value.shape), "copy", seconds)

    def _chain(self, stages: Sequence[Stage], value: View) -> View:
        for stage in stages:
            if isinstance(stage, Window):
                value = self._window(stage, value)
            elif isinstance(stage, Pointwise):
                value = self._pointwise(stage, value)
            elif isinstance(stage, Linear):
                value = self._linear(stage, value)
            elif isinstance(stage, Flatten):
                value = self._step(stage, None, [], View(value.memory, stage.out_shape), "view")
            elif isinstance(stage, Channels):
                value = self._channels(stage, value)
            elif isinstance(stage, Join):
                value = self._join(stage, value)
        return value

    def _plan(self, problem: Problem, signature: Signature, implementation: str, operands: Operands) -> Plan:
        """A plan of what is chosen, measured first where that was asked for."""
        self.choosing.choice(problem, implementation)
        return Plan(Descriptor(problem, signature, implementation, self.threads), operands)

    def _window(self, stage: Window, value: View) -> View:
        request = stage.request
        with named(stage.index):
            plan = self._plan(request.problem, request.signature, stage.implementation, request.operands.copy())
        problem = plan.problem
        write = View(Memory(math.prod(stage.out_shape)), problem.out_shape)
        return self._step(stage, plan.run, [View(value.memory, problem.x_shape)], write, plan.implementation, plan.seconds,
                          plan.workspace_bytes, plan.error_bound)  # fmt: skip

    def _pointwise(self, stage: Pointwise, value: View) -> View:
        """In place, unless somebody else still reads what came before."""
        numbers = [None if each is None else canonical(each, self.dtype, each.shape) for each in (stage.scale, stage.shift)]
        problem = stage.problem(self.dtype.name)
        follow = self._rows(problem, *numbers) or epilogue.prepare(problem, self.threads)(Operands(scale=numbers[0], shift=numbers[1]))
        seconds, bound = self._moved(stage.x_shape, stage.x_shape), rounding_bound(problem)
        value = View(value.memory, problem.x_shape)
        if self._mine(value):
            return self._step(stage, follow, [], value, "in place", seconds, bound=bound)

        def copied(x: Array, y: Array) -> None:
            np.copyto(y, x)
            follow(y)

        return self._step(stage, copied, [value], self._new(value.shape), "copy, in place", 2 * seconds, bound=bound)

    def _rows(self, problem: Conv, scale: Array | None, shift: Array | None) -> Callable[[Array], None] | None:
        """Numbers per position along the last axis, where planes are single numbers: NumPy's whole rows; None for any other."""
        if scale is None or shift is None or math.prod(problem.size) > 1:
            return None
        plain = dataclasses.replace(problem, scale=False)
        follow = epilogue.prepare(plain, self.threads)(Operands()) if problem.activation else None
        along = (-1, 1, 1)

        def run(y: Array) -> None:
            np.multiply(y, scale.reshape(along), out=y)
            np.add(y, shift.reshape(along), out=y)
            if follow:
                follow(y)

        return run

    def _linear(self, stage: Linear, value: View) -> View:
        weight = np.array(stage.weight, self.dtype, order="C")
        bias = None if stage.bias is None else np.array(stage.bias, self.dtype)
        rows, (c_out, c_in) = max(math.prod(stage.x_shape[:-1]), 1), weight.shape  # an empty batch is planned for one row, never run
        with named(stage.index):
            plan = self._positions(stage, rows, Operands(weight.reshape(c_out, c_in, 1, 1), bias))
        reads, write = [View(value.memory, (1, 1, rows, c_in))], self._new((1, 1, rows, c_out))
        return self._step(stage, plan.run, reads, write, plan.implementation, plan.seconds, plan.workspace_bytes, plan.error_bound)

    def _positions(self, stage: Linear, rows: int, operands: Operands) -> Plan:
        """The product as a convolution of one tap with channels last, whose positions are the rows: weights are read once for all."""
        c_out, c_in = stage.weight.shape
        problem = linear_problem(
            1, c_in, rows, c_out, self.dtype.name, bias=operands.bias is not None, activation=stage.activation
        )  # fmt: skip
        signature = Signature((1, 1, rows, c_in), (1, 1, rows, c_out), self.dtype, 2, channels_last=True)
        return self._plan(problem, signature, stage.implementation, operands)

    def _channels(self, stage: Channels, value: View) -> View:
        seconds = self._moved(stage.out_shape, stage.out_shape)
        whole = View(value.memory, stage.x_shape)
        return self._step(stage, lambda x, y: np.copyto(y, stage.of(x)), [whole], self._new(stage.out_shape), "copy", seconds)

    def _join(self, stage: Join, value: View) -> View:
        self._held.append(value.memory.root()[0])
        whole = self._new(stage.out_shape)
        ends, channel = [], 0
        for branch in stage.branches:
            end = self._chain(branch, value)
            if stage.ufunc is None:
                self._place(stage, end, whole, channel)
                channel += end.shape[1]
            ends.append(end)
        self._held.pop()
        return whole if stage.ufunc is None else self._met(stage, stage.ufunc, ends)

    def _place(self, stage: Join, end: View, whole: View, channel: int) -> None:
        """A branch's result among the channels of the whole: written there at once where they lie together, else copied."""
        if end.shape[0] == 1 and self._mine(end):
            end.memory.within, end.memory.at = whole.memory, channel * math.prod(end.shape[2:])
            return

        def place(x: Array, y: Array) -> None:
            y[:, channel : channel + x.shape[1]] = x

        self._step(stage, place, [end], whole, "copy", self._moved(end.shape, end.shape))

    def _met(self, stage: Join, ufunc: np.ufunc, ends: list[View]) -> View:
        """The first branch's memory takes the sum or product, unless others need what it holds."""
        first = ends[0]
        others = [end.memory for end in ends[1:]]
        write = first if self._mine(first) and first.memory not in others else self._new(first.shape)
        for end in ends[1:]:
            moved = self._moved(*[first.shape] * 3)
            self._step(stage, ufunc, [View(first.memory, first.shape), end], write, ufunc.__name__, moved)
            first = write
        return first
