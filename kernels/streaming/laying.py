"""The nodes of a model's graph laid into lines: as layers, as joins, or cut out as subgraphs."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from kernels.network.graph import Graph, Node, Value
from kernels.network.layers import JOINS, Layer, layer
from kernels.network.operators.recurrent import GATES
from kernels.network.operators.shaping import slices
from kernels.network.operators.windows import window_call
from kernels.network.passes.epilogues import activation
from kernels.problem.errors import ProblemError, RefusedError
from kernels.problem.options import SLOPES
from kernels.streaming.lines import Line
from kernels.streaming.subgraphs import cut_out, recurrence
from kernels.streaming.timewise import Axes, check_timewise, multiple


def is_alone(node: Node, axes: Axes) -> bool:
    """Whether a node is no part of a subgraph of several: a layer of its own, a recurrence, or one that makes several positions of one."""
    return _window(node, axes) or _product(node, axes) is not None or _recurs(node, axes) or (node.y in axes and multiple(node, axes) > 1)


def has_epilogue(node: Node, axes: Axes) -> bool:
    """Whether a node is a layer with weights, which scales and activations behind it may go into."""
    return node.op != "MaxPool" and (_window(node, axes) or _product(node, axes) is not None)


def goes_behind(node: Node, axes: Axes) -> bool:
    """Whether a node is a scale or an activation."""
    return not _window(node, axes) and (found := _layer(node, axes)) is not None and found.op in ("batch_norm", "activation")


def _window(node: Node, axes: Axes) -> bool:
    return node.op in ("Conv", "ConvTranspose", "MaxPool", "AveragePool") and axes.get(node.x, 0) >= 2


def _recurs(node: Node, axes: Axes) -> bool:
    return node.op in GATES and axes.get(node.x) == (1 if node.attributes.get("layout") else 0)


class Laid:
    """Groups of nodes laid into lines, in the graph's order: the last one makes the output, since all lead to it."""

    def __init__(self, graph: Graph, axes: Axes) -> None:
        self._graph, self._axes = graph, axes
        self._lines: list[Line] = []
        self._places = {graph.inputs[0]: 0}
        self._readers = {value: len(nodes) for value, nodes in graph.readers().items()} | dict.fromkeys(graph.outputs.values(), 0)
        self._open: set[int] = set()  # places that one layer reads, which the line may go on with

    def take(self, nodes: Sequence[Node]) -> None:
        """Lay a group: layers one after the other, a join, or a subgraph."""
        *_, last = nodes
        for node in nodes:
            if others := [each.name for each in node.outputs[1:] if each in self._readers]:
                raise RefusedError(f"{node.label} ({node.op}): its result {others[0]} does not stream, only its first one does")
        if _recurs(last, self._axes):
            self._add(last, [layer("subgraph", recurrence(last, self._axes))], [last.x])
            return
        layers = [_layer(node, self._axes) for node in nodes]
        if all(layers) and all(_signal(after) is node.y for node, after in itertools.pairwise(nodes)):
            for node, each in zip(nodes, layers):
                self._add(node, [each], [_signal(node)])  # type: ignore[list-item]
        elif len(nodes) == 1 and (join := _join(last, self._axes)):
            self._add(last, [join], [each for each in last.inputs if each is not None])
        else:
            for node in nodes:
                check_timewise(node, self._axes)
            subgraph, read = cut_out(nodes, self._axes)
            self._add(last, [layer("subgraph", subgraph)], read)

    def finished(self) -> tuple[Line, ...]:
        """All lines."""
        (y,) = self._graph.outputs.values()
        if y not in self._places:
            raise RefusedError(f"{y.name} is computed of constants alone; what streams is computed of the input")
        return tuple(self._lines)

    def _add(self, node: Node, layers: Sequence[Layer], read: Sequence[Value]) -> None:
        """Layers that read values and make a node's."""
        places = tuple(self._places[each] for each in read)
        named, axis = tuple((node.label, each) for each in layers), self._axes[node.y] - len(node.y.lengths)
        if places[0] in self._open and layers[0].op not in (*JOINS, "subgraph"):
            self._open.discard(places[0])
            line = self._lines[places[0] - 1]
            self._lines[places[0] - 1] = line._replace(layers=(*line.layers, *named))
            place = places[0]
        else:
            self._lines.append(Line(named, places, axis))
            place = len(self._lines)
        self._places[node.y] = place
        if self._readers.get(node.y) == 1:
            self._open.add(place)


def _signal(node: Node) -> Value:
    """What a layer reads: the one input that is no constant."""
    return next(each for each in node.inputs if each is not None and each.data is None)


def _layer(node: Node, axes: Axes) -> Layer | None:
    """A node that reads one signal as a layer, None where it is none."""
    signals = [each for each in node.inputs if each is not None and each.data is None]
    if len(signals) != 1 or signals[0] not in axes or node.y not in axes:
        return None
    if _window(node, axes):
        return _conv(node) if node.op.startswith("Conv") else _pool(node)
    found = activation(node)
    if found is not None:
        return layer("activation", found if found[0] in SLOPES else found[0])
    if node.op == "BatchNormalization" and axes[node.x] != 1:
        gamma, beta, mean, var = _weights(node)
        return layer("batch_norm", mean, var, gamma, beta, eps=float(node.attributes.get("epsilon", 1e-5)), axis=1 - len(node.x.lengths))
    if node.op in ("Add", "Sub", "Mul", "Div"):
        return _affine(node, axes)
    if node.op == "Slice" and axes[node.x] != 1:
        cuts = slices(node, node.x.lengths, [node.constant(i) for i in range(1, 5)])
        away = [cut for cut in cuts if cut[1:3] != (0, node.x.lengths[cut[0]])]
        return layer("channels", *away[0][1:3]) if len(away) == 1 and away[0][0] == 1 and away[0][3] == 1 else None
    return _product(node, axes)


def _product(node: Node, axes: Axes) -> Layer | None:
    """A product with a constant along another axis than time, or one from the left in the place of a convolution of one tap."""
    if node.op not in ("MatMul", "Gemm") or node.y not in axes:
        return None
    left, right, bias = (node.constant(i) for i in range(3))
    if node.op == "Gemm":
        factors = node.attributes.get("alpha", 1.0), node.attributes.get("beta", 1.0)
        if right is None or node.attributes.get("transA") or factors != (1, 1) or (bias is not None and bias.ndim != 1):
            return None
        right = right.T if node.attributes.get("transB") else right
    if right is not None and right.ndim == 2 and axes[node.x] != len(node.x.lengths) - 1:
        return layer("linear", right.T, bias)
    x = node.inputs[1]
    if left is not None and left.ndim == 2 and x is not None and len(x.lengths) == 3 and axes.get(x) == 2:
        return layer("conv1d", left[:, :, None])
    return None


def _affine(node: Node, axes: Axes) -> Layer | None:
    """A sum, difference, product or quotient with one number, or one an index of an axis that is not time."""
    x = _signal(node)
    first, shape = node.inputs[0] is x, node.y.lengths
    numbers: Any = node.constant(1 if first else 0)
    if len(node.inputs) != 2 or shape != x.lengths or (node.op == "Div" and not first):
        return None
    apart = [at for at, n in enumerate((1,) * (len(shape) - numbers.ndim) + numbers.shape) if n != 1] or [1, -1]
    along = [at % len(shape) for at in apart if at % len(shape) != axes[x] and len(shape) > 1]
    if not along or (numbers.size > 1 and len(apart) > 1):
        return None
    numbers = np.broadcast_to(numbers.reshape(-1), (shape[along[0]],))
    ones, zeros = np.ones_like(numbers), np.zeros_like(numbers)
    scale, shift = ones, zeros
    if node.op == "Add":
        shift = numbers
    elif node.op == "Sub":
        scale, shift = (ones, -numbers) if first else (-ones, numbers)
    else:
        with np.errstate(divide="ignore"):  # by zero is infinity, as the model says
            scale = numbers if node.op == "Mul" else ones / numbers
    return layer("batch_norm", zeros, ones, scale, shift, eps=0.0, axis=along[0] - len(shape))


def _join(node: Node, axes: Axes) -> Layer | None:
    """A node that joins signals of one shape, or along channels."""
    if node.y not in axes or any(each not in axes for each in node.inputs):
        return None
    if node.op == "Concat":
        return layer("concatenate") if node.attributes["axis"] % len(node.y.lengths) == 1 != axes[node.y] else None
    alike = all(each is not None and each.lengths == node.y.lengths for each in node.inputs)
    return layer({"Add": "add", "Sum": "add", "Mul": "multiply"}[node.op]) if alike and node.op in ("Add", "Sum", "Mul") else None


def _weights(node: Node) -> list[np.ndarray]:
    found = [node.constant(i) for i in range(1, len(node.inputs))]
    if node.op.startswith("Conv") and len(found) > 2:
        raise ProblemError(f"{node.label} ({node.op}) has {len(node.inputs)} inputs; it takes x, weight and bias")
    if any(each is None for each in found):
        raise RefusedError(f"{node.label} ({node.op}): its weights are no constants")
    return [np.asarray(each) for each in found]


def _conv(node: Node) -> Layer:
    operands = _weights(node)
    if "output_shape" in node.attributes:
        raise RefusedError(f"{node.label} ({node.op}): output_shape fixes the length; export the model with output_padding")
    name, options = window_call(node.op, operands[0].ndim - 2, node.attributes)
    return layer(name, *operands, **options)


def _pool(node: Node) -> Layer:
    kernel = tuple(node.attributes["kernel_shape"])
    name, options = window_call(node.op, len(kernel), node.attributes)
    return layer(name, kernel, **options)
