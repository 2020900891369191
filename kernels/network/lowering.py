"""Nodes become steps: what runs, on which views; and where every value lies.

Values that only see another's numbers in another shape or order are views and have no step. What a step writes is allocated in the order
of axes that its readers want (`passes.orders`), straight into the place it has in a concatenation where its step can write there. How a
kind of node is lowered stands in the files `lower_*`, which register themselves here.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kernels.cost.calibration import calibration
from kernels.network.graph import Graph, Node, Value
from kernels.network.operators.registry import OPERATORS, computed
from kernels.network.operators.shaping import RESHAPES
from kernels.network.views import Array, Buffer, View, constant_view, fresh
from kernels.primitives.vector_program import CODES, OUTER, Layout, Operation, VectorProgram, joined
from kernels.problem.errors import ProblemError

Order = tuple[int, ...]
Bind = Callable[[list[Array], Array], Callable[[], Any]]  # (arrays of the views, scratch bytes) -> what runs the step on them


@dataclasses.dataclass(frozen=True, eq=False)
class Step:
    """What runs at once: the node it does, the views it reads and writes, and what `explain` says of it."""

    node: Node
    reads: tuple[View, ...]
    writes: tuple[View, ...]
    bind: Bind
    method: str
    seconds: float | None = None
    scratch: int = 0  # bytes of the scratch that all steps share
    own_scratch: int = 0  # bytes that its method holds itself
    when: tuple[View, bool] | None = None  # a condition, and what it must be for the step to run
    more: object = None  # what a step behind it may make of it in the same pass


_name: Callable[[np.dtype], str] = functools.cache(lambda dtype: dtype.name)  # which NumPy makes anew each time

Lower = Callable[["Lowering", Node], None]
LOWERERS: dict[str, Lower] = {}


def lowers(*ops: str) -> Callable[[Lower], Lower]:
    """Decorator: the function lowers nodes of these operators."""

    def register(function: Lower) -> Lower:
        LOWERERS.update(dict.fromkeys(ops, function))
        return function

    return register


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a model is planned with."""

    threads: int
    budget: float = 0.0  # seconds to measure each layer for; 0: estimates decide
    each: frozenset[Node] = frozenset()  # layers that must be accurate output by output


class Lowering:
    """Lowers a graph node by node; `steps` and `views` are the result."""

    def __init__(self, graph: Graph, settings: Settings, orders: dict[Value, Order]) -> None:
        self.graph, self.settings, self.orders = graph, settings, orders
        self.steps: list[Step] = []
        self.views: dict[Value, View] = {}
        self.outputs = {name: Buffer(_bytes(value), "output", name) for name, value in graph.outputs.items()}
        self._homes = self._at_home()
        self._last = self._last_readers()
        self.place = 0  # of the node that is lowered now
        self.when: tuple[View, bool] | None = None  # of the steps that are appended now
        for value in graph.inputs:
            buffer = Buffer(_bytes(value), "input", value.name)
            self.views[value] = fresh(buffer, value.lengths, value.kind)
        for self.place, node in enumerate(graph.nodes):
            LOWERERS.get(node.op if "onnx" not in node.attributes else "onnxruntime", lower_by_numpy)(self, node)
        for name, value in graph.outputs.items():
            home = fresh(self.outputs[name], value.lengths, value.kind)
            self.copy(Node("Copy", [value], [value], {}, name), self.view(value), home)

    def _at_home(self) -> dict[Value, View]:
        """Places that values have beforehand: graph outputs that are handed out once, and parts of concatenations."""
        homes: dict[Value, View] = {}
        names = list(self.graph.outputs.items())
        for name, value in names:
            if value not in homes:
                homes[value] = fresh(self.outputs[name], value.lengths, value.kind)
        for node in reversed(self.graph.nodes):
            if node.op in _SEEN_ANEW and node.y in homes and node.x.data is None and node.x not in homes:
                seen_back = _back(node, homes[node.y])
                if seen_back is not None:
                    homes[node.x] = seen_back
            if node.op != "Concat":
                continue
            y = node.y
            if y not in homes:
                homes[y] = fresh(Buffer(_bytes(y)), y.lengths, y.kind, self.orders.get(y))
            axis, start, seen = int(node.attributes["axis"]) % len(y.lengths), 0, set()
            for value in [each for each in node.inputs if each is not None]:
                if value.data is None and value not in homes and value not in seen:
                    homes[value] = homes[y].part(axis, start, value.lengths[axis])
                    seen.add(value)
                start += value.lengths[axis]
        return homes

    def _last_readers(self) -> dict[Value, float]:
        """The place of the last node that reads each value, or another that sees the same numbers."""
        root: dict[Value, Value] = {}
        last: dict[Value, float] = {}
        for i, node in enumerate(self.graph.nodes):
            for value in node.inputs:
                if value is not None:
                    last[root.get(value, value)] = i
            if node.op in SEES:
                root |= {value: root.get(node.x, node.x) for value in node.outputs}
        last |= {root.get(value, value): math.inf for value in self.graph.outputs.values()}
        return {value: last.get(root.get(value, value), -1) for value in [*root, *last]}

    def spare(self, value: Value) -> bool:
        """Whether nobody reads a value's memory after the node that is lowered now, so that this may write there."""
        view = self.views.get(value)
        if view is None or view.buffer.kind != "arena" or value in self._homes:
            return False
        return view.size * view.dtype.itemsize == view.buffer.nbytes and self.read_last(value)

    def read_last(self, value: Value) -> bool:
        """Whether no node after the one that is lowered now reads a value, nor anything that sees the same numbers."""
        return self._last.get(value, math.inf) == self.place

    def home(self, value: Value) -> View | None:
        """Where a value has its place beforehand."""
        return self._homes.get(value)

    def share_home(self, value: Value, other: Value) -> None:
        """A value whose numbers are another's in another shape gets the place that this one has beforehand."""
        home = self.home(other)
        place = None if home is None else home.reshaped(value.lengths)
        if place is not None:
            self._homes[value] = place

    def view(self, value: Value) -> View:
        """Where a value lies."""
        if value not in self.views:
            assert value.data is not None, f"{value.name} is not computed before it is read"
            self.views[value] = constant_view(value.data)
        return self.views[value]

    def new(self, value: Value, order: Sequence[int] | None = None, *, anywhere: bool = True) -> View:
        """Allocate a value: at home if it has one and its step writes views of any strides (`anywhere`) or the home is contiguous in this
        order, else in memory of its own in this order (that which its readers want, without)."""
        home = self.home(value)
        if home is not None and (anywhere or home.contiguous(order)):
            self.views[value] = home
        else:
            order = self.orders.get(value) if order is None else order
            self.views[value] = fresh(Buffer(_bytes(value)), value.lengths, value.kind, order)
        return self.views[value]

    def temporary(self, shape: tuple[int, ...], dtype: np.dtype, order: Sequence[int] | None = None) -> View:
        """Memory that only steps of one node use."""
        return fresh(Buffer(math.prod(shape) * dtype.itemsize), shape, dtype, order)

    def step(self, node: Node, reads: Sequence[View], writes: Sequence[View], bind: Bind, method: str, seconds: float | None = None,
             scratch: int = 0, own: int = 0, more: object = None) -> None:  # fmt: skip
        """Append a step; one that has nothing to write is left out."""
        if any(view.size for view in writes):
            self.steps.append(
                Step(node, tuple(reads), tuple(writes), bind, method, seconds, scratch, own_scratch=own, when=self.when, more=more)
            )

    def program(self, node: Node, dtype: np.dtype, reads: Sequence[View], writes: Sequence[tuple[int, View]],
                operations: Sequence[Operation], method: str = "vector passes") -> None:  # fmt: skip
        """A step that runs a vector program; all views have one shape."""
        if not all(view.size for _, view in writes):
            return
        shape = writes[0][1].shape
        layouts = [Layout(view.strides, _name(view.dtype)) for view in reads]
        outs = [(slot, Layout(view.strides, _name(view.dtype))) for slot, view in writes]
        found = VectorProgram(dtype, shape, layouts, outs, operations, self.settings.threads)
        views = [view for _, view in writes]
        seconds = sum(view.size * view.dtype.itemsize for view in (*reads, *views)) / calibration().bandwidth
        self.step(node, reads, views, found.bind, method, seconds, found.scratch_bytes)

    def copy(self, node: Node, source: View, to: View) -> None:
        """A step that brings numbers from one view to another of the same shape; none where they are there."""
        if source.equals(to):
            return
        dtype = to.dtype if to.dtype in (np.float32, np.float64) else np.dtype(np.float32)
        few = len(to.shape) <= OUTER + 2 or len(joined(to.shape, [source.strides, to.strides], to.order())[0]) <= OUTER + 2
        if source.dtype == to.dtype and _name(to.dtype) in CODES and to.dtype.kind in "fb" and few:
            self.program(node, dtype, [source], [(0, to)], [], "copy")
        else:
            self.step(node, [source], [to], lambda arrays, scratch: lambda: np.copyto(arrays[1], arrays[0], casting="unsafe"), "NumPy copy")

    def ordered(self, node: Node, view: View, order: Sequence[int] | None = None) -> View:
        """The view itself where its numbers lie in this order of axes, else a copy that does."""
        if view.contiguous(order):
            return view
        copied = self.temporary(view.shape, view.dtype, order)
        self.copy(node, view, copied)
        return copied


SEES = (*RESHAPES, "Transpose", "Identity", "Slice", "Split", "Expand", "Gather")
_SEEN_ANEW = (*RESHAPES, "Transpose")


def _back(node: Node, home: View) -> View | None:
    """Where the input of a node that only changes shape or order has to lie so that its output lies at home."""
    if node.op == "Transpose":
        perm = [int(each) for each in node.attributes.get("perm") or range(len(home.shape))[::-1]]
        return home.transposed([perm.index(axis) for axis in range(len(perm))])
    return home.reshaped(node.x.lengths)


def _bytes(value: Value) -> int:
    return math.prod(value.lengths) * value.kind.itemsize


def lower_by_numpy(lowering: Lowering, node: Node) -> None:
    """What nothing faster does: NumPy's arithmetic, and a copy of its result."""
    if node.op not in OPERATORS:
        raise ProblemError(f"{node.op} {node.label!r}: nothing here computes it")
    present = [i for i, value in enumerate(node.inputs) if value is not None]
    reads = [lowering.view(node.inputs[i]) for i in present]  # type: ignore[arg-type]
    writes = [lowering.new(value) for value in node.outputs]

    def bind(arrays: list[Array], scratch: Array) -> Callable[[], None]:
        given: list[Any] = [None] * len(node.inputs)
        for i, array in zip(present, arrays):
            given[i] = array
        results = arrays[len(present) :]

        def run() -> None:
            for result, to in zip(computed(node, given), results):
                np.copyto(to, result, casting="unsafe")

        return run

    lowering.step(node, reads, writes, bind, "NumPy")
