"""The parts of a stream with memory of their own: each takes blocks from the one before and hands on what they complete.

What a block does depends on its length and on the state before it, which returns; so every runner keeps a table from state and length to
a `Step` with all arrays made. A block of a length that was seen before costs a look into that table, a move of columns and a plan's bare
`run`. Lengths that are not seen often are cut into powers of two, so that any lengths make few plans.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from kernels.runtime.jit import entry
from kernels.runtime.scratch import handle
from kernels.streaming.blocks import STEPS, Lengths, Next, layout, numbers
from kernels.streaming.moving import append
from kernels.streaming.parts import Cut, Elements, Rows, Windows
from kernels.streaming.sliding import At, Move

Array = np.ndarray

class Step(NamedTuple):
    """What a block of one length does in one state."""

    moved: tuple[int, ...] | None  # arguments of `append` behind the block; None: nothing is kept, the block itself is read
    run: Callable[..., None] | None
    x: Array | None
    y: Array
    outputs: int
    after: State


class State:
    """Where a window stands: inputs in it, of which the first `dropped` are not needed any more; and the steps from there, by length."""

    __slots__ = ("at", "dropped", "held", "steps")

    def __init__(self, at: At, held: int, dropped: int) -> None:
        self.at, self.held, self.dropped = at, held, dropped
        self.steps: dict[int, Step] = {}


class Sliding:
    """Runs a convolution or a pool."""

    def __init__(self, part: Windows, dtype: np.dtype, after: Next) -> None:
        self.part, self._next, self.dtype = part, after, dtype
        problem, axis = part.sliding.problem, part.sliding.axis
        self._in, self._out = layout(problem.x_shape, axis), layout(problem.out_shape, axis)
        self._append = entry(append, *[0] * 9)
        self._lengths = Lengths()
        self._states: dict[tuple[At, int, int], State] = {}
        self._window, self._y = numbers(0, dtype), numbers(0, dtype)
        self.reset()

    def reset(self) -> None:
        """To before the first block."""
        self._now = self._state(self.part.sliding.begin(), 0, 0)

    def feed(self, x: Array, m: int) -> None:
        """Take a block of m inputs."""
        step = self._now.steps.get(m)
        if step is None:
            lengths = self._lengths.of(m)
            if len(lengths) > 1:
                self._in_pieces(x, m, lengths)
                return
            step = self._step(m)
        moved, run, window, y, outputs, after = step
        if moved is None:
            window = x if x.ndim == y.ndim else x.reshape(self._in.shape(m))
        else:
            self._append(handle(x), *moved)
        self._now = after
        if run is not None:
            run(window, y)
            self._next(y, outputs)

    def finish(self) -> None:
        """Hand on what the end completes."""
        now = self._now
        move = self.part.sliding.finish(now.at)
        if move.problem:
            window = self.kept().reshape(move.problem.x_shape)
            y = np.empty(move.problem.out_shape, self.dtype)
            self.part.plan(move.problem, move.lead).run(window, y)
            self._next(y, move.outputs)

    def kept(self) -> Array:
        """A copy of the inputs that later outputs need, a row a channel."""
        now, (rows, inner, _) = self._now, self._in
        window = self._window[: rows * now.held * inner].reshape(rows, now.held, inner)
        return window[:, now.dropped :].copy()

    def state(self) -> Any:
        """What `restore` needs."""
        return tuple(self._now.at), self.kept()

    def restore(self, state: Any) -> None:
        """Go on from a state."""
        at, kept = At(*state[0]), state[1]
        self._room(kept.size, 0)
        self._window[: kept.size] = kept.reshape(-1)
        self._now = self._state(at, at.kept, 0)

    def _in_pieces(self, x: Array, m: int, lengths: list[int]) -> None:
        rows, inner, shape = self._in
        block, first = x.reshape(rows, m, inner), 0
        for length in lengths:
            self.feed(np.ascontiguousarray(block[:, first : first + length]).reshape(shape(length)), length)
            first += length

    def _state(self, at: At, held: int, dropped: int) -> State:
        return self._states.setdefault((at, held, dropped), State(at, held, dropped))

    def _room(self, inputs: int, outputs: int) -> None:
        """Memory for so many numbers; steps point into what is replaced."""
        if inputs <= self._window.size and outputs <= self._y.size and sum(len(each.steps) for each in self._states.values()) < STEPS:
            return
        now = self._now
        self._states = {}
        if inputs > self._window.size:
            window = numbers(2 * inputs, self.dtype)
            window[: self._window.size] = self._window
            self._window = window
        if outputs > self._y.size:
            self._y = numbers(2 * outputs, self.dtype)
        self._now = self._state(now.at, now.held, now.dropped)

    def _run(self, move: Move, axis: int) -> Callable[..., None]:
        """What computes a move's outputs."""
        assert move.problem is not None
        run, shape = self.part.plan(move.problem, move.lead).run, move.problem.out_shape
        return run if shape[axis] == move.outputs else _first(run, shape, axis, move.outputs)

    def _step(self, m: int) -> Step:
        move = self.part.sliding.advance(self._now.at, m)
        (rows, inner, _), wide = self._in, self._out
        self._room(rows * move.inputs * inner, wide.rows * move.outputs * wide.inner)
        now, kept = self._now, self._now.at.kept
        in_place = not kept and not move.skipped and move.dropped == m and move.problem is not None
        moved = (self._window.ctypes.data, rows, inner * self.dtype.itemsize, now.dropped, now.held, kept, move.skipped, m)
        after = self._state(move.after, 0 if in_place else move.inputs, 0 if in_place else move.dropped)
        run = self._run(move, axis=self.part.sliding.axis) if move.problem else None
        window = self._in.array(self._window, move.inputs)
        step = Step(None if in_place else moved, run, window, wide.array(self._y, move.outputs), move.outputs, after)
        now.steps[m] = step
        return step


def _first(run: Callable[..., None], shape: tuple[int, ...], axis: int, outputs: int) -> Callable[..., None]:
    """A run that gives more outputs than whole segments have, of which the first are handed on."""
    place: Any = (..., slice(outputs), *(slice(None),) * (-axis - 1))

    def cut(x: Array, y: Array) -> None:
        whole = np.empty(shape, y.dtype)
        run(x, whole)
        np.copyto(y, whole[place].reshape(y.shape))

    return cut


class Positions:
    """Runs a linear layer along another axis than time."""

    def __init__(self, part: Rows, axis: int, dtype: np.dtype, after: Next) -> None:
        self.part, self._next, self.dtype = part, after, dtype
        self._rows = math.prod(each for i, each in enumerate(part.stage.x_shape[:-1]) if i != len(part.stage.x_shape) + axis)
        self._out = layout(part.stage.out_shape, axis)
        self._steps: dict[int, tuple[Callable[..., None], Array, Array]] = {}

    def reset(self) -> None:
        """Nothing is kept."""

    finish = reset

    def feed(self, x: Array, m: int) -> None:
        """Take a block of m positions along time."""
        step = self._steps.get(m)
        if step is None:
            if len(self._steps) >= STEPS // 8:
                self._steps.clear()
            y = np.empty(self._out.shape(m), self.dtype)
            rows = self._rows * m
            step = self._steps[m] = self.part.plan(rows).run, y, y.reshape(1, 1, rows, -1)
        run, y, flat = step
        run(x.reshape(1, 1, len(flat[0, 0]), -1), flat)
        self._next(y, m)

    def state(self) -> Any:
        """Nothing."""

    def restore(self, state: Any) -> None:
        """Nothing is kept."""


class Pointwise:
    """Runs what takes every number for itself; in place where the block belongs to the stream."""

    def __init__(self, part: Elements, mine: bool, after: Next) -> None:
        self.part, self._next, self._mine = part, after, mine
        self._copies: dict[tuple[int, ...], Array] = {}

    def reset(self) -> None:
        """Nothing is kept."""

    finish = reset

    def feed(self, x: Array, m: int) -> None:
        """Take a block of m positions along time."""
        if not self._mine:
            y = self._copies.get(x.shape)
            if y is None:
                if len(self._copies) >= STEPS // 8:
                    self._copies.clear()
                y = self._copies[x.shape] = np.empty_like(x)
            np.copyto(y, x)
            x = y
        self.part.run(x)
        self._next(x, m)

    def state(self) -> Any:
        """Nothing."""

    def restore(self, state: Any) -> None:
        """Nothing is kept."""


class Cutting:
    """Runs what hands on some channels."""

    def __init__(self, part: Cut, axis: int, dtype: np.dtype, after: Next) -> None:
        self.part, self._next, self.dtype = part, after, dtype
        self._in, self._out = layout(part.stage.x_shape, axis), layout(part.stage.out_shape, axis)
        self._ys: dict[int, Array] = {}

    def reset(self) -> None:
        """Nothing is kept."""

    finish = reset

    def feed(self, x: Array, m: int) -> None:
        """Take a block of m positions along time."""
        y = self._ys.get(m)
        if y is None:
            if len(self._ys) >= STEPS // 8:
                self._ys.clear()
            y = self._ys[m] = np.empty(self._out.shape(m), self.dtype)
        np.copyto(y, self.part.stage.of(x.reshape(self._in.shape(m))))
        self._next(y, m)

    def state(self) -> Any:
        """Nothing."""

    def restore(self, state: Any) -> None:
        """Nothing is kept."""
