"""A model's graph as layers, where it is series and parallel: what `kernels.stream` and `kernels.dask.apply` take of `kernels.load`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kernels.network.chains import scalar
from kernels.network.graph import Graph, Node, Value
from kernels.network.layers import Layer, layer
from kernels.network.model import Model
from kernels.network.operators.windows import window_call
from kernels.network.passes.activations import named_activations
from kernels.network.passes.epilogues import ACTIVATIONS, activation
from kernels.network.passes.padding import into_convolutions
from kernels.network.passes.specialise import specialise
from kernels.problem.errors import RefusedError
from kernels.problem.options import SLOPES
from kernels.streaming.reading import for_any_length

_NOTHING = {"Identity", "Dropout"}


def layers_of(given: Any, shape: Sequence[int | None]) -> Any:
    """The layers of a model of one input and one output, whose shape has None for time; anything else as it is. Raises RefusedError with
    the nodes that are no layers."""
    if not isinstance(given, Model):
        return given
    if len(given._graph.inputs) != 1 or len(given._graph.outputs) != 1:
        counts = f"{len(given._graph.inputs)} inputs and {len(given._graph.outputs)} outputs"
        raise RefusedError(f"the model has {counts}; a stream takes one of each")
    graph = _simplified(given._graph, shape)
    made = {value: node for node in graph.nodes for value in node.outputs}
    unknown = [f"{node.name or node.y.name} ({node.op})" for node in graph.nodes if node.op not in _KNOWN]
    if unknown:
        raise RefusedError(f"these nodes do not stream: {', '.join(unknown)}; there are {', '.join(sorted(_KNOWN))}")
    return _between(graph.inputs[0], next(iter(graph.outputs.values())), made)


def _simplified(graph: Graph, shape: Sequence[int | None]) -> Graph:
    """The graph without what exporters write around layers: numbers that are computed of constants, Pads with zeros before convolutions,
    activations in several operators. Of all that, padding alone could differ from length to length."""
    moving = set(graph.inputs)  # what depends on the signal
    for node in graph.nodes:
        if node.op == "Pad" and not moving.isdisjoint(node.inputs[1:]):
            raise RefusedError(f"{node.name or node.op} pads as the signal's length says, which no stream knows; pad by fixed numbers")
        if not moving.isdisjoint(node.inputs):
            moving.update(node.outputs)
    name = graph.inputs[0].name
    found = for_any_length(lambda length: specialise(graph, {name: tuple(length if each is None else each for each in shape)}))
    into_convolutions(found)
    named_activations(found)
    return found


def _between(first: Value, last: Value, made: dict[Value, Node]) -> list[Layer]:
    """Layers from one value to another that all ways to it pass."""
    found: list[Layer] = []
    while last is not first:
        node = made[last]
        if node.op in _JOINS:
            sources = [value for value in node.inputs if value is not None]
            common = _common([_ways(value, made) for value in sources])
            found.insert(0, layer(_JOINS[node.op], *(_between(common, value, made) for value in sources)))
            last = common
            continue
        if node.op not in _NOTHING:
            found.insert(0, _KNOWN[node.op](node))
        last = node.x
    return found


def _ways(value: Value, made: dict[Value, Node]) -> list[Value]:
    """The values that every way from the input to this one passes, in order."""
    node = made.get(value)
    if node is None:
        return [value]
    ways = [_ways(each, made) for each in node.inputs if each is not None and each.data is None]
    return [*_prefix(ways), value] if ways else [value]


def _prefix(ways: list[list[Value]]) -> list[Value]:
    return [value for value in ways[0] if all(value in other for other in ways[1:])]


def _common(ways: list[list[Value]]) -> Value:
    shared = _prefix(ways)
    if not shared:
        raise RefusedError("the model joins a constant with its signal; only branches of one input are joined here")
    return shared[-1]


def _weights(node: Node) -> list[np.ndarray]:
    found = [node.constant(i) for i in range(1, len(node.inputs))]
    if any(each is None for each in found):
        raise RefusedError(f"{node.name or node.op}: its weights are no constants")
    return [np.asarray(each) for each in found]


def _conv(node: Node) -> Layer:
    operands = _weights(node)
    if "output_shape" in node.attributes:
        raise RefusedError(f"{node.name or node.op}: output_shape fixes the length; export the model with output_padding")
    name, options = window_call(node.op, operands[0].ndim - 2, node.attributes)
    return layer(name, *operands, **options)


def _pool(node: Node) -> Layer:
    kernel = tuple(node.attributes["kernel_shape"])
    name, options = window_call(node.op, len(kernel), node.attributes)
    return layer(name, kernel, **options)


def _norm(node: Node) -> Layer:
    gamma, beta, mean, var = _weights(node)
    return layer("batch_norm", mean, var, gamma, beta, eps=float(node.attributes.get("epsilon", 1e-5)))


def _activation(node: Node) -> Layer:
    found = activation(node)
    if found is None:
        given = [*(f"{name} {value}" for name, value in node.attributes.items()), *(f"limit {scalar(each)}" for each in node.inputs[1:])]
        raise RefusedError(
            f"{node.label}: {node.op} with {', '.join(given) or 'no attributes'} does not stream; there are HardSigmoid with alpha 1/6 and"
            " beta 0.5, Clip from 0 to 6, Swish with alpha 1, and ReLU"
        )
    return layer("activation", found if found[0] in SLOPES else found[0])


_JOINS = {"Add": "add", "Sum": "add", "Concat": "concatenate"}
_KNOWN: dict[str, Any] = {
    "Conv": _conv, "ConvTranspose": _conv, "MaxPool": _pool, "AveragePool": _pool, "BatchNormalization": _norm,
    **dict.fromkeys(ACTIVATIONS, _activation), **dict.fromkeys((*_JOINS, *_NOTHING), None),
}  # fmt: skip
