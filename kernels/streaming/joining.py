"""Values from several places, which wait for one another and become one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kernels.problem.errors import ProblemError
from kernels.runtime.jit import entry
from kernels.runtime.scratch import handle
from kernels.streaming.blocks import STEPS, Layout, Next, layout, numbers
from kernels.streaming.moving import append
from kernels.streaming.parts import Joined

Array = np.ndarray


class Waiting:
    """Values from one place that wait for those from the others."""

    def __init__(self, layout: Layout, dtype: np.dtype) -> None:
        self._layout, self.dtype = layout, dtype
        self._append = entry(append, *[0] * 9)
        self._memory = numbers(0, dtype)
        self._address = self._memory.ctypes.data  # 1 us to ask for
        self._views: dict[tuple[int, int, int], Array] = {}
        self.reset()

    def reset(self) -> None:
        self.count = self._held = self._taken = 0  # of `_held`, the first `_taken` are gone

    def push(self, y: Array, m: int) -> None:
        """Take m values behind those that wait."""
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

    @staticmethod
    def check(queues: Sequence[Waiting], index: str) -> None:
        """Raise ProblemError where the signal is over and some still wait."""
        if rest := [queue.count for queue in queues if queue.count]:
            raise ProblemError(
                f"layer {index}: at the end a branch has {max(rest)} outputs more than another; a signal of this length cannot be joined; "
                "feed zeros until its length divides into all strides"
            )

    def state(self) -> Any:
        rows, inner, _ = self._layout
        return self._memory[: rows * self._held * inner].reshape(rows, self._held, inner)[:, self._taken :].copy()

    def restore(self, state: Any) -> None:
        self.reset()
        self.push(state, state.shape[1])


class Joining:
    """Joins values, once all places have them."""

    def __init__(self, part: Joined, axis: int, dtype: np.dtype, after: Next) -> None:
        self.part, self._next, self.dtype = part, after, dtype
        self._waiting = [Waiting(layout(shape, axis), dtype) for shape in part.shapes]
        self._out, self._n = layout(part.stage.out_shape, axis), part.stage.out_shape[0]
        self._ys: dict[int, tuple[Array, list[Array]]] = {}
        self._channels = [0, *np.cumsum([shape[1] for shape in part.shapes]).tolist()]

    def reset(self) -> None:
        """To before the first block."""
        for queue in self._waiting:
            queue.reset()

    def feed(self, source: int, y: Array, m: int) -> None:
        """Take m values of one source."""
        self._waiting[source].push(y, m)
        if count := min([queue.count for queue in self._waiting]):
            self._join(count, [queue.take(count) for queue in self._waiting])

    def finish(self) -> None:
        """Raises ProblemError where sources differ in length."""
        Waiting.check(self._waiting, self.part.stage.index)

    def _join(self, count: int, ends: list[Array]) -> None:
        found = self._ys.get(count)
        if found is None:
            found = self._ys[count] = self._arrays(count)
        y, places = found
        if self.part.stage.ufunc:
            self.part.stage.meet(ends, places[0])
        else:
            for place, each in zip(places, ends):
                np.copyto(place, each.reshape(place.shape) if self._n > 1 else each)
        self._next(y, count)

    def _arrays(self, count: int) -> tuple[Array, list[Array]]:
        """The joined block and where in it the values of each source lie."""
        if len(self._ys) >= STEPS // 8:
            self._ys.clear()
        rows, inner, shape = self._out
        y = np.empty(shape(count), self.dtype)
        if self.part.stage.ufunc:
            return y, [y.reshape(rows, count, inner)]
        by_channel = y.reshape(self._n, self._channels[-1], -1, count, inner)
        places = [by_channel[:, first:end] for first, end in zip(self._channels, self._channels[1:])]
        return y, [place.reshape(-1, count, inner) if self._n == 1 else place for place in places]

    def state(self) -> Any:
        """What `restore` needs."""
        return [queue.state() for queue in self._waiting]

    def restore(self, state: Any) -> None:
        """Go on from a state."""
        for queue, kept in zip(self._waiting, state):
            queue.restore(kept)
