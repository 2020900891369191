"""A model's graph as layers, where it is series and parallel: what `kernels.stream` and `kernels.dask.apply` take of `kernels.load`."""

from __future__ import annotations

import contextlib
import itertools
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
from kernels.network.passes.specialise import UnsupportedError, specialise
from kernels.problem.errors import ProblemError, RefusedError
from kernels.problem.options import SLOPES, any_size
from kernels.streaming.reading import NOMINAL, for_any_length

LONG = (1 << 30) // NOMINAL[-1] * NOMINAL[-1]  # six hours at 48 kHz: longer than what models cut signals to, shorter than "to the end"

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
    activations in several operators. Raises RefusedError where a longer signal, or one of an odd length, would leave another."""
    name = graph.inputs[0].name

    def of(length: int) -> Graph:
        return specialise(graph, {name: tuple(length if each is None else each for each in shape)})

    found = for_any_length(of)
    with any_size():
        _compare(found, of(LONG))
        with contextlib.suppress(ProblemError, UnsupportedError):  # branches may meet at multiples of a stride only
            _compare(found, of(LONG - 1))
    into_convolutions(found)
    named_activations(found)
    return found


def _compare(graph: Graph, other: Graph) -> None:
    """Raises RefusedError that names the first node in which graphs for signals of two lengths differ: cut or padded to a length, chosen or
    scaled by it."""
    for mine, others in itertools.zip_longest(graph.nodes, other.nodes):
        if mine is None or others is None or mine.attributes is not others.attributes or not all(map(_alike, mine.inputs, others.inputs)):
            node = others or mine
            raise RefusedError(
                f"{node.label} ({node.op}) depends on how long the signal is, which no stream knows; export the model without it, or with"
                " numbers that are the same for any length"
            )


def _alike(one: Value | None, other: Value | None) -> bool:
    """Whether two inputs are the same: the results of the same nodes, or equal numbers."""
    if one is None or other is None:
        return one is other
    if one.data is None or other.data is None:
        return one.data is other.data and one.name == other.name
    return one.data is other.data or np.array_equal(one.data, other.data, equal_nan=one.kind.kind == "f")


def _between(first: Value, last: Value, made: dict[Value, Node]) -> list[Layer]:
    """Layers from one value to another that all ways to it pass."""
    found: list[Layer] = []
    while last is not first:
        node = made[last]
        if last is not node.outputs[0]:
            raise RefusedError(f"{node.label} ({node.op}): its result {last.name} does not stream, only its first one does")
        if node.op == "Concat" and node.attributes["axis"] % len(node.y.lengths) != 1:
            raise RefusedError(f"{node.label} (Concat) joins along axis {node.attributes['axis']}; what streams is joined along channels")
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
