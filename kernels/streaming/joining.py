"""Parts one after the other, and branches whose outputs wait for one another."""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.problem.errors import ProblemError
from kernels.runtime.jit import entry
from kernels.runtime.scratch import handle
from kernels.streaming.moving import append
from kernels.streaming.parts import Elements, Joined, Rows, Windows
from kernels.streaming.runners import STEPS, Next, Pointwise, Positions, Sliding, layout, numbers

Array = np.ndarray


class _Waiting:
    """Outputs of one branch that wait for those of the others."""

    def __init__(self, shape: tuple[int, ...], axis: int, dtype: np.dtype) -> None:
        self._layout, self.dtype = layout(shape, axis), dtype
        self._append = entry(append, *[0] * 9)
        self._memory = numbers(0, dtype)
        self._address = self._memory.ctypes.data  # 1 us to ask for
        self._views: dict[tuple[int, int, int], Array] = {}
        self.reset()

    def reset(self) -> None:
        self.count = self._held = self._taken = 0  # of `_held`, the first `_taken` are gone

    def push(self, y: Array, m: int) -> None:
        """Take outputs behind those that wait."""
        rows, inner, _ = self._layout
        held = self.count + m
        if rows * held * inner > self._memory.size:
            memory = numbers(2 * rows * held * inner, self.dtype)
            memory[: self._memory.size] = self._memory
            self._memory, self._address = memory, memory.ctypes.data
            self._views.clear()
        column = inner * self.dtype.itemsize
        waiting = self._taken, self._held, self.count, 0
        self._append(handle(y), self._address, rows, column, *waiting, m)
        self.count = self._held = held
        self._taken = 0

    def take(self, m: int) -> Array:
        """The m oldest, as they lie in memory, (rows, m, inner)."""
        key = self._held, self._taken, m
        view = self._views.get(key)
        if view is None:
            if len(self._views) >= STEPS:
                self._views.clear()
            rows, inner, _ = self._layout
            view = self._memory[: rows * self._held * inner].reshape(rows, self._held, inner)[:, self._taken : self._taken + m]
            self._views[key] = view
        self.count -= m
        self._taken += m
        return view

    def state(self) -> Any:
        rows, inner, _ = self._layout
        return self._memory[: rows * self._held * inner].reshape(rows, self._held, inner)[:, self._taken :].copy()

    def restore(self, state: Any) -> None:
        self.reset()
        self.push(state, state.shape[1])


class Joining:
    """Runs branches, and joins their outputs once all have them."""

    def __init__(self, part: Joined, axis: int, dtype: np.dtype, after: Next) -> None:
        self.part, self._next, self.dtype = part, after, dtype
        stage = part.stage
        shapes = [branch[-1].out_shape if branch else stage.x_shape for branch in stage.branches]
        self._waiting = [_Waiting(shape, axis, dtype) for shape in shapes]
        self._branches = [chained(branch, axis, dtype, queue.push, mine=False) for branch, queue in zip(part.branches, self._waiting)]
        self._out, self._n = layout(stage.out_shape, axis), stage.out_shape[0]
        self._ys: dict[int, tuple[Array, list[Array]]] = {}
        self._channels = [0, *np.cumsum([shape[1] for shape in shapes]).tolist()]

    def reset(self) -> None:
        """To before the first block."""
        for queue, branch in zip(self._waiting, self._branches):
            queue.reset()
            branch.reset()

    def feed(self, x: Array, m: int) -> None:
        """Take a block of m inputs."""
        for branch in self._branches:
            branch.feed(x, m)
        self._join()

    def finish(self) -> None:
        """Hand on what the end completes. Raises ProblemError where branches differ in length."""
        for branch in self._branches:
            branch.finish()
        self._join()
        if rest := [queue.count for queue in self._waiting if queue.count]:
            raise ProblemError(
                f"layer {self.part.stage.index}: at the end a branch has {max(rest)} outputs more than another; a signal of "
                "this length cannot be joined; feed zeros until its length divides into all strides"
            )

    def _join(self) -> None:
        count = min(queue.count for queue in self._waiting)
        if not count:
            return
        found = self._ys.get(count)
        if found is None:
            found = self._ys[count] = self._arrays(count)
        y, places = found
        first, *others = (queue.take(count) for queue in self._waiting)
        if self.part.adds:
            whole = places[0]
            np.copyto(whole, first)
            for each in others:
                np.add(whole, each, out=whole)
        else:
            for place, each in zip(places, (first, *others)):
                np.copyto(place, each.reshape(place.shape) if self._n > 1 else each)
        self._next(y, count)

    def _arrays(self, count: int) -> tuple[Array, list[Array]]:
        """The joined block and where in it the branches' outputs lie."""
        if len(self._ys) >= STEPS // 8:
            self._ys.clear()
        rows, inner, shape = self._out
        y = np.empty(shape(count), self.dtype)
        if self.part.adds:
            return y, [y.reshape(rows, count, inner)]
        by_channel = y.reshape(self._n, self._channels[-1], -1, count, inner)
        places = [by_channel[:, first:end] for first, end in zip(self._channels, self._channels[1:])]
        return y, [place.reshape(-1, count, inner) if self._n == 1 else place for place in places]

    def state(self) -> Any:
        """What `restore` needs."""
        return [queue.state() for queue in self._waiting], [branch.state() for branch in self._branches]

    def restore(self, state: Any) -> None:
        """Go on from a state."""
        for queue, kept in zip(self._waiting, state[0]):
            queue.restore(kept)
        for branch, kept in zip(self._branches, state[1]):
            branch.restore(kept)


class Chained:
    """Parts one after the other."""

    def __init__(self, runners: list[Any], after: Next) -> None:
        self._runners = runners
        self.feed: Next = runners[0].feed if runners else after

    def reset(self) -> None:
        """To before the first block."""
        for runner in self._runners:
            runner.reset()

    def finish(self) -> None:
        """Hand on what the end completes, first to last."""
        for runner in self._runners:
            runner.finish()

    def state(self) -> Any:
        """What `restore` needs."""
        return [runner.state() for runner in self._runners]

    def restore(self, state: Any) -> None:
        """Go on from a state."""
        for runner, kept in zip(self._runners, state):
            runner.restore(kept)


def chained(parts: tuple[Any, ...], axis: int, dtype: np.dtype, after: Next, *, mine: bool) -> Chained:
    """Runners of parts; after: what takes the last one's blocks; mine: whether the first may write into what it gets."""
    runners: list[Any] = []
    feed = after
    for i in range(len(parts) - 1, -1, -1):
        part = parts[i]
        if isinstance(part, Windows):
            runner: Any = Sliding(part, dtype, feed)
        elif isinstance(part, Rows):
            runner = Positions(part, axis, dtype, feed)
        elif isinstance(part, Elements):
            runner = Pointwise(part, mine or i > 0, feed)
        else:
            runner = Joining(part, axis, dtype, feed)
        runners.insert(0, runner)
        feed = runner.feed
    return Chained(runners, after)

