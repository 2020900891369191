"""A graph for inputs of given lengths: every shape known, everything that depends on shapes and constants alone computed.

One walk in order of computation. What exporters leave of shape arithmetic folds away because lengths are numbers here: Shape of a value
whose shape is known is a constant, and so is all that follows from it; If with a constant condition becomes the branch taken, any other
both branches and a Choose, of which a call computes one (`branches`). Nodes that change nothing (a reshape to the shape that is there, a
cast to the dtype that is there) leave. Branches are walked with a stack of our own: no depth ends in a RecursionError.
"""

from __future__ import annotations

import dataclasses
import math
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from kernels.network import operators  # noqa: F401  registers them
from kernels.network.graph import Graph, Node, Value
from kernels.network.operators.fitting import check_inputs
from kernels.network.operators.registry import Meta, Naming, computed, drawn, of_node
from kernels.network.operators.shaping import RESHAPES
from kernels.network.operators.words import check_words
from kernels.problem.errors import ProblemError, RefusedError
from kernels.runtime.constants import held, hold

UNKNOWN = 'no such operator is known here; rest="onnxruntime" hands it to onnxruntime'
FOLDED = 1 << 26  # numbers of a constant that is computed ahead: larger ones would only fill memory


@dataclasses.dataclass(frozen=True)
class Unsupported:
    """A node that nothing here computes, and why."""

    node: Node
    why: str

    def __str__(self) -> str:
        return f"{self.node.op} {self.node.label!r}: {self.why}"


class UnsupportedError(RefusedError):
    """Lists every node of a model that cannot be run, in `nodes`."""

    def __init__(self, nodes: list[Unsupported]) -> None:
        self.nodes = nodes
        head = f"{len(nodes)} node{'s' * (len(nodes) > 1)} of the model cannot be run here:"
        super().__init__("\n".join([head, *(f"  {each}" for each in nodes)]))


def check_known(graph: Graph) -> None:
    """Raises UnsupportedError that lists every node whose operator is not known, whatever the lengths; branches of If are not looked at."""
    unknown = [Unsupported(node, UNKNOWN) for node in graph.nodes if node.op != "If" and of_node(node) is None]
    if unknown:
        raise UnsupportedError(unknown)


@dataclasses.dataclass
class _Frame:
    """A graph that is being walked, and what to do at its end."""

    nodes: Iterator[Node]
    done: Callable[[], None]


def specialise(graph: Graph, shapes: Mapping[str, tuple[int, ...]], given: Mapping[str, Any] | None = None,
               fallback: Callable[[Node], list[Meta]] | None = None) -> Graph:  # fmt: skip
    """The graph for these input shapes; `given`: numbers of inputs that are constant from now on. `fallback` tells what a node gives
    that no operator here is known for, and marks it. Raises UnsupportedError that lists all nodes that cannot be run."""
    return _Walk(shapes, given or {}, fallback, _constants.setdefault(graph, {})).walk(graph)


_constants: weakref.WeakKeyDictionary[Graph, dict[Value, Value]] = weakref.WeakKeyDictionary()  # of a graph that follow from others alone


class _Walk:
    def __init__(self, shapes: Mapping[str, tuple[int, ...]], given: Mapping[str, Any],
                 fallback: Callable[[Node], list[Meta]] | None, always: dict[Value, Value]) -> None:  # fmt: skip
        self.shapes, self.given, self.fallback = shapes, given, fallback
        self.new = Graph()
        self.always = always  # constants for any lengths, computed by the walk that comes to them first
        self.known: dict[Value, Value] = dict(always)  # of the old graph to the new
        self.unsupported: list[Unsupported] = []
        self.tainted: set[Value] = set()  # old values that cannot be had

    def walk(self, graph: Graph) -> Graph:
        for value in graph.inputs:
            new = self.new.input(value.name, self.shapes[value.name], value.kind)
            self.known[value] = self.new.constant(self.given[value.name], value.kind) if value.name in self.given else new
        frames = [_Frame(iter(graph.nodes), lambda: None)]
        while frames:
            node = next(frames[-1].nodes, None)
            if node is None:
                frames.pop().done()
            elif all(value in self.always for value in node.outputs):
                continue
            elif self._tainted(node):
                self.tainted.update(node.outputs)
            else:
                try:
                    with Naming(node.op, node.label):
                        if node.op == "If":
                            frames += self._branch(node)
                        else:
                            self._node(node)
                except (ProblemError, RefusedError) as error:
                    self._refuse(node, str(error).removeprefix(f"{node.op} {node.label!r}: "))
        if self.unsupported:
            raise UnsupportedError(self.unsupported)
        for name, value in graph.outputs.items():
            self.new.output(name, self._of(value))
        self.new.drop_dead()
        return self.new

    def _of(self, value: Value) -> Value:
        if value not in self.known:
            if value.data is None:
                raise ProblemError(f"{value.name} is computed by nothing")
            self.known[value] = value
        return self.known[value]

    def _tainted(self, node: Node) -> bool:
        return any(value in self.tainted for value in node.inputs if value is not None)

    def _branch(self, node: Node) -> list[_Frame]:
        condition = self._of(node.x).data
        if condition is None:
            return self._both(node)
        branch = _branch_of(node, "then_branch" if bool(np.ravel(condition)[0]) else "else_branch")

        def done() -> None:
            for value, result in zip(node.outputs, branch.outputs.values()):
                if result in self.tainted:
                    self.tainted.add(value)
                else:
                    self.known[value] = self._of(result)

        return [_Frame(iter(branch.nodes), done)]

    def _both(self, node: Node) -> list[_Frame]:
        """Where the condition depends on the input both branches are there, which change nothing but their results, and one is chosen."""
        branches = [_branch_of(node, "then_branch"), _branch_of(node, "else_branch")]

        def done() -> None:
            for value, *results in zip(node.outputs, *(branch.outputs.values() for branch in branches)):
                if any(result in self.tainted for result in results):
                    self.tainted.add(value)
                    continue
                one, other = map(self._of, results)
                if (one.shape, one.dtype) != (other.shape, other.dtype):
                    self._refuse(node, f"its condition depends on the input and its branches give {one.shape} and {other.shape}")
                    return
                self.known[value] = Value(value.name, one.shape, one.dtype)
                self.new.nodes.append(Node("Choose", [self._of(node.x), one, other], [self.known[value]], {}, node.name))

        return [_Frame(iter(()), done), *(_Frame(iter(branch.nodes), lambda: None) for branch in branches)]

    def _refuse(self, node: Node, why: str) -> None:
        self.unsupported.append(Unsupported(node, why))
        self.tainted.update(node.outputs)

    def _node(self, old: Node) -> None:
        node = Node(old.op, [None if each is None else self._of(each) for each in old.inputs],
                    [Value(each.name) for each in old.outputs], old.attributes, old.name)  # fmt: skip
        operator = of_node(node)
        if operator is None and self.fallback is None:
            raise ProblemError(UNKNOWN)
        if operator:
            check_words(node)
            check_inputs(node)
        metas = operator.infer(node) if operator else self.fallback(node)  # type: ignore[misc]
        if foreign := [dtype for _, dtype in metas if np.dtype(dtype).kind not in "fiub"]:
            raise ProblemError(f"{foreign[0]} is not computed; numbers and bools are")
        if short := [shape for shape, _ in metas if min(shape, default=0) < 0]:
            raise ProblemError(f"its result would have the shape {short[0]}")
        del node.outputs[len(metas) :]  # whoever reads more is refused
        for value, (shape, dtype) in zip(node.outputs, metas):
            value.shape, value.dtype = tuple(int(n) for n in shape), np.dtype(dtype)
        constant = all(each is None or each.data is not None for each in node.inputs) and not drawn(node.op)
        always = constant and all(each is None or each.data is not None or each in self.always for each in old.inputs)
        same = _unchanged(node)
        if same is not None:
            self.known[old.y] = same
            if always:
                self.always[old.y] = same
            return
        shape_only = node.op in ("Shape", "Size")
        if operator is not None and (constant or shape_only) and sum(math.prod(value.lengths) for value in node.outputs) <= FOLDED:
            hollow = np.broadcast_to(np.zeros((), node.x.kind), node.x.lengths) if shape_only else None
            results = computed(node, [hollow] if shape_only else [None if v is None else v.data for v in node.inputs])
            stays = always and all(each is None or (each.data is not None and held(each.data)) for each in node.inputs)
            for value, result in zip(node.outputs, results):
                assert value.dtype is not None
                value.data = hold(np.asarray(result, value.dtype)) if stays else np.asarray(result, value.dtype)
                value.shape = value.data.shape
            if always:
                self.always |= dict(zip(old.outputs, node.outputs))
        else:
            self.new.nodes.append(node)
        for value, new in zip(old.outputs, node.outputs):
            self.known[value] = new


def _branch_of(node: Node, name: str) -> Graph:
    """A branch of an If. Raises ProblemError where it makes fewer values than the node hands on."""
    branch: Graph = node.attributes[name]
    if len(branch.outputs) < len(node.outputs):
        raise ProblemError(f"its {name} makes {len(branch.outputs)} of the node's {len(node.outputs)} outputs")
    return branch


def _unchanged(node: Node) -> Value | None:
    """The value that a node hands on as it is; None where it does something."""
    if len(node.outputs) != 1 or not node.inputs or node.inputs[0] is None:
        return None
    x, y = node.x, node.y
    if node.op in ("Identity", "Dropout"):
        return x
    if x.shape != y.shape or x.dtype != y.dtype:
        return None
    if node.op in (*RESHAPES, "Expand", "Cast", "CastLike", "Tile"):
        return x
    if node.op == "Transpose":
        moved = [axis for axis in node.attributes.get("perm") or range(len(x.lengths))[::-1] if x.lengths[axis] != 1]
        return x if moved == sorted(moved) else None
    if node.op == "Pad":
        return x if not np.any(node.constant(1)) else None
    if node.op == "Slice":
        steps = node.constant(4)
        return x if steps is None or np.all(np.asarray(steps) > 0) else None
    if node.op == "Concat" and len(node.inputs) == 1:
        return x
    return None
