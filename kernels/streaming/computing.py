"""Runs a subgraph on blocks: what it reads waits until all of it is there, what a recurrence carries goes on from block to block."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from kernels.network.program import Bound
from kernels.streaming.blocks import Lengths, Next, layout
from kernels.streaming.joining import Waiting
from kernels.streaming.subgraphs import Computed

Array = np.ndarray


KEPT_BYTES = 1 << 24  # of the memory between a subgraph's steps, for all lengths of blocks together


class _Run(NamedTuple):
    """What computes blocks of one length: where they go, (rows, m, inner), the result, and how many positions it has."""

    bound: Bound
    xs: list[Array]
    y: Array
    outputs: int


class Computing:
    """Runs one subgraph."""

    def __init__(self, part: Computed, after: Next) -> None:
        self.part, self._next = part, after
        self._subgraph = part.stage.subgraph
        self._layouts = [layout(shape, shape.index(None) - len(shape)) for shape in self._subgraph.shapes]
        kinds = [value.kind for value in self._subgraph.graph.inputs]
        self._waiting = [Waiting(each, kind) for each, kind in zip(self._layouts, kinds)]
        self._lengths = Lengths()
        self._runs: dict[int, _Run] = {}
        self._bytes = 0
        self._carried = {name: begin.copy() for name, begin in self._subgraph.carried.items()}

    def reset(self) -> None:
        """To before the first block."""
        for name, begin in self._subgraph.carried.items():
            np.copyto(self._carried[name], begin)
        for queue in self._waiting:
            queue.reset()

    def feed(self, source: int, y: Array, m: int) -> None:
        """Take m positions of one source."""
        if len(self._waiting) == 1:
            rows, inner, _ = self._layouts[0]
            self._compute([y.reshape(rows, m, inner)], m)
            return
        self._waiting[source].push(y, m)
        if count := min([queue.count for queue in self._waiting]):
            self._compute([queue.take(count) for queue in self._waiting], count)

    def finish(self) -> None:
        """Raises ProblemError where sources differ in length."""
        Waiting.check(self._waiting, self.part.stage.index)

    def _compute(self, blocks: list[Array], m: int) -> None:
        first = 0
        for length in self._lengths.of(m):
            run = self._runs.get(length) or self._bound(length)
            for x, block in zip(run.xs, blocks):
                np.copyto(x, block if length == m else block[:, first : first + length])
            for name, state in self._carried.items():
                np.copyto(run.bound.inputs[name], state)
            for call in run.bound.calls:
                call()
            for name, state in self._carried.items():
                np.copyto(state, run.bound.outputs[name])
            self._next(run.y, run.outputs)
            first += length

    def _bound(self, m: int) -> _Run:
        """What computes blocks of m positions."""
        program = self.part.program(m)
        self._bytes += program.nbytes
        if self._bytes > KEPT_BYTES:
            self._runs.clear()
            self._bytes = program.nbytes
        bound = program.alone()
        xs = [bound.inputs[f"x{i}"].reshape(each.rows, m, each.inner) for i, each in enumerate(self._layouts)]
        run = self._runs[m] = _Run(bound, xs, bound.outputs["y"], m * self._subgraph.multiple)
        return run

    def state(self) -> Any:
        """What `restore` needs."""
        return {name: each.copy() for name, each in self._carried.items()}, [queue.state() for queue in self._waiting]

    def restore(self, state: Any) -> None:
        """Go on from a state."""
        for name, each in state[0].items():
            np.copyto(self._carried[name], each)
        for queue, kept in zip(self._waiting, state[1]):
            queue.restore(kept)
