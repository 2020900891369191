"""A lowered graph that runs: memory for a call, steps bound to it once, and nothing between two steps but a Python call.

Buffers share one arena by their lifetimes (`arena.offsets`). Steps that read the caller's arrays or write the
results are bound anew in every call, all others once for each arena; an arena serves one call at a time, concurrent calls take others.
Long arenas serve all programs that need no more, those of a model's other lengths too: a call with a new length faults in few new pages,
which costs more than to plan it.
"""

from __future__ import annotations

import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from kernels.network.arena import offsets
from kernels.network.branches import ALWAYS, Item, When, needed
from kernels.network.lowering import Lowering, Step
from kernels.network.views import Buffer, View, fresh
from kernels.runtime.scratch import LONG, Long, aligned, whole

Array = np.ndarray
SMALL = 1 << 16  # bytes of an input or output up to which it is copied through the arena, which costs less than to bind steps anew


class _Arena:
    """Long memory, and what is bound to it of each program that used it. Programs do not hold it: both go once the pool drops it."""

    def __init__(self, nbytes: int) -> None:
        self.memory = aligned(nbytes)
        self.bound: weakref.WeakKeyDictionary[Program, _Ready] = weakref.WeakKeyDictionary()

    @property
    def nbytes(self) -> int:
        """Bytes of the memory."""
        return self.memory.nbytes


_arenas: weakref.WeakValueDictionary[int, Long[_Arena]] = weakref.WeakValueDictionary()  # the long ones, while a program needs any


class _Ready:
    """Steps bound to an arena, and to the scratch behind it."""

    def __init__(self, program: Program, memory: Array) -> None:
        self.scratch = memory[program.arena_bytes : program.nbytes]
        self.bases: dict[Buffer, Array] = {}
        for buffer, start in program.starts.items():
            self.bases[buffer] = memory[start : start + max(buffer.nbytes, 1)]
        for step in program.steps:
            for view in (*step.reads, *step.writes):
                if view.buffer.data is not None:
                    self.bases[view.buffer] = view.buffer.data
        self.calls: list[Callable[[], Any] | None] = []
        for step in program.steps:
            self.calls.append(None if step in program.rebound else program.bound(step, self))
        self.inputs = {name: view.of(self.bases[view.buffer]) for name, view in program.copied_inputs.items()}
        self.outputs = {name: view.of(self.bases[view.buffer]) for name, view in program.copied_outputs.items()}

    def fill(self, given: dict[str, Array]) -> None:
        """Bring small inputs there."""
        for name, to in self.inputs.items():
            to[...] = given[name]


class Bound(NamedTuple):
    """A program's steps bound once and for all: numbers go into `inputs`, and lie in `outputs` after all calls, until the next."""

    inputs: dict[str, Array]
    outputs: dict[str, Array]
    calls: list[Callable[[], Any]]


_Taken = tuple[_Ready, _Arena | None]  # by a call: the program's steps, and the arena that they are bound to if it is a long one


class Program:
    """Runs the steps of a lowering."""

    KEPT = 4  # short arenas kept for later calls

    def __init__(self, lowering: Lowering) -> None:
        graph = lowering.graph
        self.steps: list[Step] = lowering.steps
        self.inputs = {value.name: lowering.views[value] for value in graph.inputs}
        self.outputs = {name: fresh(lowering.outputs[name], value.lengths, value.kind) for name, value in graph.outputs.items()}
        self.when = self._when()
        self.signature = [(name, view.shape, view.dtype) for name, view in self.inputs.items()]
        self.copied_inputs = {name: view for name, view in self.inputs.items() if view.buffer.nbytes <= SMALL}
        self.copied_outputs = {name: view for name, view in self.outputs.items() if view.buffer.nbytes <= SMALL}
        self.direct = {view.buffer for views in (self.inputs, self.outputs) for view in views.values() if view.buffer.nbytes > SMALL}
        self.rebound = {step for step in self.steps if any(view.buffer in self.direct for view in (*step.reads, *step.writes))}
        first, last = self._lives()
        inner = [buffer for buffer in first if buffer.data is None and buffer not in self.direct]
        starts, self.arena_bytes = offsets([(max(buffer.nbytes, 1), first[buffer], last[buffer]) for buffer in inner])
        self.starts = dict(zip(inner, starts))
        self.arena_bytes = whole(self.arena_bytes)
        self.scratch_bytes = max((step.scratch for step in self.steps), default=0)
        self.own_bytes = sum(step.own_scratch for step in self.steps)
        self.apart_bytes = sum(buffer.nbytes for buffer in inner)
        self._short: deque[_Ready] = deque(maxlen=self.KEPT)
        self._long = _arenas.setdefault(0, Long(_Arena)) if self.nbytes >= LONG else None
        if self._long is not None:
            self._long.join(self)

    @property
    def nbytes(self) -> int:
        """Bytes that a call needs of an arena, scratch behind it."""
        return self.arena_bytes + self.scratch_bytes

    def _lives(self) -> tuple[dict[Buffer, int], dict[Buffer, int]]:
        """The first and last step that need each buffer; inputs are there before the first step, outputs after the last."""
        first: dict[Buffer, int] = {}
        last: dict[Buffer, int] = {}
        for i, step in enumerate(self.steps):
            for view in (*step.reads, *step.writes, *(condition for condition, _ in self.when[step])):
                first.setdefault(view.buffer, i)
                last[view.buffer] = i
        for view in self.inputs.values():
            first[view.buffer] = -1
            last.setdefault(view.buffer, -1)
        for view in self.outputs.values():
            first.setdefault(view.buffer, len(self.steps))
            last[view.buffer] = len(self.steps)
        return first, last

    def _when(self) -> dict[Step, When]:
        """The conditions under which each step runs, as views."""
        conditions = {step.when[0].buffer: step.when[0] for step in self.steps if step.when}
        if not conditions:
            return dict.fromkeys(self.steps, ALWAYS)
        items = []
        for step in self.steps:
            when = ALWAYS if step.when is None else frozenset({(step.when[0].buffer, step.when[1])})
            items.append(Item([view.buffer for view in step.reads], [view.buffer for view in step.writes], when))
        found = needed(items, {view.buffer for view in self.outputs.values()})
        return {step: frozenset((conditions[buffer], taken) for buffer, taken in when) for step, when in zip(self.steps, found)}

    def bound(self, step: Step, ready: _Ready, more: dict[Buffer, Array] | None = None) -> Callable[[], Any]:
        """What runs a step in an arena; `more`: where the caller's arrays are."""
        bases = ready.bases if more is None else {**ready.bases, **more}
        run = step.bind([view.of(bases[view.buffer]) for view in (*step.reads, *step.writes)], ready.scratch)
        for view, taken in self.when[step]:
            run = _only(run, memoryview(view.of(bases[view.buffer]).reshape(-1)), taken)  # type: ignore[attr-defined]
        return run

    def _take(self) -> _Taken:
        """Steps bound to memory that nobody else uses."""
        if self._long is None:
            try:
                return self._short.pop(), None
            except IndexError:
                return _Ready(self, aligned(self.nbytes)), None
        arena = self._long.take(self.nbytes)
        ready = arena.bound.get(self)
        if ready is None:
            ready = arena.bound[self] = _Ready(self, arena.memory)
        return ready, arena

    def _give(self, taken: _Taken) -> None:
        """Keep them for later calls."""
        ready, arena = taken
        if self._long is None or arena is None:
            self._short.append(ready)
        else:
            self._long.give(arena)

    def _direct(self, given: dict[str, Array], results: dict[str, Array]) -> dict[Buffer, Array]:
        """Where large inputs and outputs are, which are not copied."""
        more: dict[Buffer, Array] = {}
        for name, view in self.inputs.items():
            if view.buffer in self.direct:
                more[view.buffer] = given[name]
        for name, view in self.outputs.items():
            if view.buffer in self.direct:
                results[name] = np.empty(view.shape, view.dtype)
                more[view.buffer] = results[name]
        return more

    def alone(self) -> Bound:
        """Its steps bound to memory that they share with nobody, for one caller at a time."""
        ready = _Ready(self, aligned(self.nbytes))
        ready.bases |= {buffer: aligned(max(buffer.nbytes, 1)) for buffer in self.direct}
        calls = [run or self.bound(step, ready) for step, run in zip(self.steps, ready.calls)]

        def arrays(views: dict[str, View]) -> dict[str, Array]:
            return {name: view.of(ready.bases[view.buffer]) for name, view in views.items()}

        return Bound(arrays(self.inputs), arrays(self.outputs), calls)

    def timeline(self, given: dict[str, Array], turns: int) -> Array:
        """Seconds that each step took in each of so many calls: (turns, steps)."""
        clock, seconds = time.perf_counter, np.empty((turns, len(self.steps)))
        ready, _ = taken = self._take()
        more = self._direct(given, {})
        calls = [run or self.bound(step, ready, more) for step, run in zip(self.steps, ready.calls)]
        for turn in range(turns):
            ready.fill(given)
            for i, run in enumerate(calls):
                started = clock()
                run()
                seconds[turn, i] = clock() - started
        self._give(taken)
        return seconds

    def __call__(self, given: dict[str, Array]) -> dict[str, Array]:
        """The outputs for inputs that are contiguous, of the right dtype and shape."""
        ready, _ = taken = self._take()
        ready.fill(given)
        results: dict[str, Array] = {}
        if self.rebound or self.direct:
            more = self._direct(given, results)
            for step, run in zip(self.steps, ready.calls):
                (run or self.bound(step, ready, more))()
        else:
            for run in ready.calls:
                run()  # type: ignore[misc]
        for name, array in ready.outputs.items():
            results[name] = array.copy()
        self._give(taken)
        return results if len(results) == 1 else {name: results[name] for name in self.outputs}


def _only(run: Callable[[], Any], flag: memoryview, taken: bool) -> Callable[[], Any]:
    """Runs only where the flag is as it must be."""
    return lambda: run() if flag[0] is taken else None
