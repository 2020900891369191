"""Parts of a model's graph that take every position along time for itself, or with what a recurrence carries: compiled as one program for
blocks of a length."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kernels.network.graph import Graph, Node, Value
from kernels.network.layers import Stage, named
from kernels.network.operators.shaping import text
from kernels.problem.errors import RefusedError
from kernels.problem.halo import Part, Slide
from kernels.runtime.locks import lock
from kernels.streaming.kept import kept
from kernels.streaming.timewise import Axes, multiple

if TYPE_CHECKING:
    from kernels.network.program import Program

Array = np.ndarray
Shape = tuple[int, ...]
Template = tuple[int | None, ...]  # None: the length along time


@dataclasses.dataclass(frozen=True, eq=False)
class Subgraph:
    """A graph with the inputs x0, x1, … and the output y, all along time, of which every position makes `multiple` ones. carried: what a
    recurrence hands from block to block, under one name as input and output, and where it begins."""

    graph: Graph
    shapes: tuple[Template, ...]
    out: Template
    multiple: int = 1
    carried: dict[str, Array] = dataclasses.field(default_factory=dict)

    @property
    def words(self) -> tuple[str, ...]:
        """Its operators, for people."""
        return tuple(node.op for node in self.graph.nodes)


@dataclasses.dataclass(frozen=True, eq=False)
class Computation(Stage):
    """A subgraph's stage, for inputs of some length."""

    subgraph: Subgraph


def computation(subgraph: Subgraph, where: str, begins: Sequence[tuple[Shape, np.dtype]]) -> Computation:
    """The stage for inputs of these shapes and dtypes."""
    shape, time = begins[0][0], subgraph.shapes[0].index(None)
    wanted = subgraph.graph.inputs[0].kind
    with named(where):
        for _, dtype in begins:
            if np.result_type(dtype, np.float32) != wanted:
                raise RefusedError(f"the model computes in {wanted}, the stream in {dtype}; load the model with dtype={str(dtype)!r}")
    out = at_length(subgraph.out, shape[time] * subgraph.multiple)
    return Computation((where,), subgraph.words, shape, out, begins[0][1], subgraph)


def cut_out(nodes: Sequence[Node], axes: Axes) -> tuple[Subgraph, list[Value]]:
    """Nodes of which each takes every position along time for itself, the last one's result leading out; and the values that they read."""
    graph, known = Graph(), dict[Value, Value]()
    read: list[Value] = []
    inside = {value for node in nodes for value in node.outputs}
    for value in dict.fromkeys(each for node in nodes for each in node.inputs if each is not None and each.data is None):
        if value not in inside:
            known[value] = graph.input(f"x{len(read)}", _template(value, axes), value.kind)
            read.append(value)
    for node in nodes:
        made = graph.append(node.op, [_known(known, each) for each in node.inputs], node.attributes, len(node.outputs), node.label)
        known |= dict(zip(node.outputs, made))
    y = nodes[-1].y
    graph.output("y", known[y])
    templates = tuple(_template(value, axes) for value in read)
    return Subgraph(graph, templates, _template(y, axes), multiple(nodes[-1], axes)), read


def recurrence(node: Node, axes: Axes) -> Subgraph:
    """An LSTM, GRU or RNN along time, whose states are carried. Raises RefusedError where it goes backwards, too."""
    direction = text(node.attributes.get("direction", "forward"))
    if direction != "forward":
        raise RefusedError(f"{node.label} ({node.op}) goes {direction}: it begins at the signal's end; export a model that goes forward")
    (directions, batch, hidden), rest = _state_shape(node), [*node.inputs[3:], *[None] * 5]
    if rest[1] is not None:
        raise RefusedError(f"{node.label} ({node.op}) is told how long its signals are, which no stream knows")
    graph = Graph()
    names = ("h", "c") if node.op == "LSTM" else ("h",)
    shape = (batch, directions, hidden) if node.attributes.get("layout") else (directions, batch, hidden)
    x = graph.input("x0", _template(node.x, axes), node.x.kind)
    states, carried = [], {}
    for name, given in zip(names, rest[2:]):
        if given is not None and given.data is None:
            raise RefusedError(f"{node.label} ({node.op}) begins with {given.name}, which is computed of the signal")
        carried[name] = np.zeros(shape, x.kind) if given is None else np.array(given.data, x.kind).reshape(shape)
        states.append(graph.input(name, shape, x.kind))
    inputs = [x, *node.inputs[1:3], rest[0], None, *states, *node.inputs[7:]]  # an LSTM's peepholes
    y, *after = graph.append(node.op, inputs, node.attributes, 1 + len(names), node.label)
    graph.output("y", y)
    for name, value in zip(names, after):
        graph.output(name, value)
    return Subgraph(graph, (_template(node.x, axes),), _template(node.y, axes), 1, carried)


def _state_shape(node: Node) -> Shape:
    weights = node.inputs[2]
    assert weights is not None
    batch = node.x.lengths[0 if node.attributes.get("layout") else 1]
    return weights.lengths[0], batch, weights.lengths[2]


def _template(value: Value, axes: Axes) -> Template:
    return tuple(None if i == axes[value] else each for i, each in enumerate(value.lengths))


def _known(known: dict[Value, Value], value: Value | None) -> Value | None:
    return None if value is None else known.get(value, value)


@dataclasses.dataclass(eq=False)
class Computed:
    """A subgraph with its programs, one a length of blocks; clones share them."""

    stage: Computation
    threads: int
    programs: dict[int, Program] = dataclasses.field(default_factory=dict)
    making: Any = dataclasses.field(default_factory=lock)
    taken: str = "compiled"

    @property
    def halo(self) -> Part:
        """Every position makes some."""
        times = self.stage.subgraph.multiple
        return Slide(times, times, transposed=True) if times > 1 else Slide()

    def program(self, m: int) -> Program:
        """The program for blocks of m positions; recent ones are kept."""
        return self.programs.get(m) or kept(self.programs, m, self.making, lambda: self._made(m))

    def _made(self, m: int) -> Program:
        from kernels.network.planning import plan_graph

        subgraph = self.stage.subgraph
        shapes = {f"x{i}": at_length(shape, m) for i, shape in enumerate(subgraph.shapes)}
        shapes |= {name: state.shape for name, state in subgraph.carried.items()}
        with named(self.stage.index):
            return plan_graph(subgraph.graph, shapes, self.threads)


def at_length(shape: Sequence[int | None], m: int) -> Shape:
    """A shape for so many positions along time."""
    return tuple(m if each is None else each for each in shape)
