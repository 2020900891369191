"""A model as a graph: values, the nodes that make them from others, constants. ONNX, PyTorch and stacks of layers all become this.

Operators are ONNX's, by their names and in the form of its newest opset (https://onnx.ai/onnx/operators): numbers that a node takes as an
input there, such as the axes of Squeeze or the shape of Reshape, are inputs here too, as constants. A reader of older forms brings them to
this one. A front end makes a graph node by node, in the order of computation:

>>> graph = Graph()
>>> x = graph.input("x", (1, 2, None))
>>> w = graph.constant(np.ones((3, 2, 5), np.float32))
>>> y = graph.node("Relu", graph.node("Conv", x, w, pads=[2, 2]))
>>> low, high = graph.several("Split", y, graph.constant([1, 2]), outputs=2, axis=1)
>>> graph.output("y", graph.node("Transpose", high, perm=[0, 2, 1]))
>>> print(graph)
x float32 (1, 2, None)
v1 = Conv(x, c0 float32 (3, 2, 5), pads=[2, 2])
v2 = Relu(v1)
v4, v5 = Split(v2, c3 int64 (2,), axis=1)
v6 = Transpose(v5, perm=[0, 2, 1])
y = v6

`kernels.network.model.Model(graph)` is the callable: it plans the graph for the shapes of the arrays that it gets. Shapes of inputs may
have free axes (None, or a name); shapes of what is computed are known once a graph is planned for lengths (`passes.specialise`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from kernels.problem.errors import ProblemError

Array = np.ndarray
Shape = tuple[Any, ...]  # lengths; None or a name for a free axis of an input


@dataclasses.dataclass(eq=False)
class Value:
    """What lies on an edge: shape (None where not known yet), dtype (likewise), and its numbers where it is constant."""

    name: str
    shape: Shape | None = None
    dtype: np.dtype | None = None
    data: Array | None = None

    @property
    def lengths(self) -> tuple[int, ...]:
        """The shape of a value that is planned: all lengths known."""
        assert self.shape is not None, f"{self.name} has no shape yet"
        return self.shape

    @property
    def kind(self) -> np.dtype:
        """The dtype of a value that is planned."""
        assert self.dtype is not None, f"{self.name} has no dtype yet"
        return self.dtype

    def __str__(self) -> str:
        return self.name if self.data is None else f"{self.name} {self.dtype} {self.shape}"


@dataclasses.dataclass(eq=False)
class Node:
    """An operator, the values it reads (None for an optional one that is left out) and makes, and its attributes.

    `name` is what the model calls it, for errors and `explain`; a subgraph (of If) is an attribute that is a `Graph`, whose nodes may read
    values of the graph around it.
    """

    op: str
    inputs: list[Value | None]
    outputs: list[Value]
    attributes: dict[str, Any] = dataclasses.field(default_factory=dict)
    name: str = ""

    def constant(self, i: int) -> Array | None:
        """The numbers of input i where it is there and constant."""
        value = self.inputs[i] if i < len(self.inputs) else None
        return None if value is None else value.data

    @property
    def x(self) -> Value:
        """The first input."""
        assert self.inputs[0] is not None
        return self.inputs[0]

    @property
    def y(self) -> Value:
        """The first output."""
        return self.outputs[0]

    @property
    def label(self) -> str:
        """What people find the node by."""
        return self.name or (self.y.name if self.outputs else self.op)

    def __str__(self) -> str:
        given = ["" if each is None else str(each) for each in self.inputs]
        given += [f"{key}={'graph' if isinstance(each, Graph) else repr(each)}" for key, each in self.attributes.items()]
        return f"{', '.join(each.name for each in self.outputs)} = {self.op}({', '.join(given)})"


class Graph:
    """Inputs, nodes in an order in which they can be computed, outputs by name."""

    def __init__(self) -> None:
        self.inputs: list[Value] = []
        self.nodes: list[Node] = []
        self.outputs: dict[str, Value] = {}
        self.halves: set[str] = set()  # outputs that are float16 to whoever calls, in whatever they are computed
        self._count = 0

    def _name(self, letter: str) -> str:
        self._count += 1
        return f"{letter}{self._count - 1}"

    def input(self, name: str, shape: Sequence[Any] | None, dtype: Any = "float32") -> Value:
        """An input; None or a name in `shape` is an axis of any length."""
        if any(each.name == name for each in self.inputs):
            raise ProblemError(f"graph: there are two inputs {name!r}; give each a name of its own")
        self.inputs.append(Value(name, None if shape is None else tuple(shape), np.dtype(dtype)))
        return self.inputs[-1]

    def constant(self, array: Any, dtype: Any = None) -> Value:
        """Numbers that the model brings; not copied, so they must not change while the graph is in use."""
        array = np.asarray(array, dtype)
        return Value(self._name("c"), array.shape, array.dtype, array)

    def several(self, op: str, *inputs: Value | None, outputs: int = 1, name: str = "", **attributes: Any) -> list[Value]:
        """Append a node; the values that it makes."""
        return self.append(op, inputs, attributes, outputs, name)

    def append(self, op: str, inputs: Sequence[Value | None], attributes: dict[str, Any], outputs: int = 1, name: str = "") -> list[Value]:
        """The same for attributes of any names, as a file has them."""
        made = [Value(self._name("v")) for _ in range(outputs)]
        self.nodes.append(Node(op, list(inputs), made, attributes, name))
        return made

    def node(self, op: str, *inputs: Value | None, name: str = "", **attributes: Any) -> Value:
        """Append a node with one output; its value."""
        return self.several(op, *inputs, name=name, **attributes)[0]

    def output(self, name: str, value: Value) -> None:
        """Hand a value out under a name."""
        if name in self.outputs:
            raise ProblemError(f"graph: there are two outputs {name!r}; give each a name of its own")
        self.outputs[name] = value

    def readers(self) -> dict[Value, list[Node]]:
        """The nodes that read each value, in order; a node that reads it twice stands there twice."""
        found: dict[Value, list[Node]] = {}
        for node in self.nodes:
            for value in node.inputs:
                if value is not None:
                    found.setdefault(value, []).append(node)
        return found

    def makers(self) -> dict[Value, Node]:
        """The node that makes each value that is computed."""
        return {value: node for node in self.nodes for value in node.outputs}

    def replace(self, new: dict[Value, Value]) -> None:
        """Whoever reads a key reads its value instead, followed to the end of chains."""
        if not new:
            return

        def final(value: Value) -> Value:
            while value in new:
                value = new[value]
            return value

        for node in self.nodes:
            node.inputs = [None if each is None else final(each) for each in node.inputs]
        self.outputs = {name: final(value) for name, value in self.outputs.items()}

    def drop_dead(self) -> None:
        """Leave out nodes whose values nobody reads."""
        alive = set(self.outputs.values())
        kept = []
        for node in reversed(self.nodes):
            if not alive.isdisjoint(node.outputs):
                kept.append(node)
                alive.update(_read(node))
        self.nodes = kept[::-1]

    def sort(self) -> None:
        """Bring the nodes into an order in which they can be computed, the present one where it can be kept."""
        makers = self.makers()
        done: set[Node] = set()
        order: list[Node] = []
        for first in self.nodes:
            stack = [first]
            while stack:
                node = stack[-1]
                waiting = [maker for value in _read(node) if value in makers and (maker := makers[value]) not in done]
                if waiting and node not in done:
                    stack += waiting
                    continue
                stack.pop()
                if node not in done:
                    done.add(node)
                    order.append(node)
        self.nodes = order

    def __str__(self) -> str:
        lines = [f"{value.name} {value.dtype} {value.shape}" for value in self.inputs]
        lines += map(str, self.nodes)
        return "\n".join([*lines, *(f"{name} = {value}" for name, value in self.outputs.items())])


def _read(node: Node) -> list[Value]:
    """What a node reads, its subgraphs too."""
    found = [value for value in node.inputs if value is not None]
    waiting = [each for each in node.attributes.values() if type(each) is Graph] if node.attributes else []
    while waiting:
        graph = waiting.pop()
        found += graph.outputs.values()
        for inner in graph.nodes:
            found += [value for value in inner.inputs if value is not None]
            waiting += [each for each in inner.attributes.values() if type(each) is Graph]
    return found
