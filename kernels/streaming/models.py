"""A model's graph as lines of layers: what `kernels.stream` and `kernels.dask.apply` take of `kernels.load`."""

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
from kernels.network.operators.shaping import slices
from kernels.network.operators.windows import window_call
from kernels.network.passes.activations import named_activations
from kernels.network.passes.epilogues import ACTIVATIONS, activation
from kernels.network.passes.padding import into_convolutions
from kernels.network.passes.specialise import UnsupportedError, specialise
from kernels.problem.errors import ProblemError, RefusedError
from kernels.problem.options import SLOPES, any_size
from kernels.streaming.lines import Line
from kernels.streaming.reading import NOMINAL, for_any_length

LONG = (1 << 30) // NOMINAL[-1] * NOMINAL[-1]  # six hours at 48 kHz: longer than what models cut signals to, shorter than "to the end"


def lines_of_model(model: Model, shape: Sequence[int | None]) -> tuple[Line, ...]:
    """The lines of a model of one input and one output, whose shape has None for time. Raises RefusedError with the nodes that are no
    layers."""
    if len(model._graph.inputs) != 1 or len(model._graph.outputs) != 1:
        counts = f"{len(model._graph.inputs)} inputs and {len(model._graph.outputs)} outputs"
        raise RefusedError(f"the model has {counts}; a stream takes one of each")
    graph = _simplified(model._graph, shape)
    known = [*_KNOWN, *_JOINS, "PRelu", "Sub", "Div", "Slice", "Split"]
    unknown = [f"{node.name or node.y.name} ({node.op})" for node in graph.nodes if node.op not in known]
    if unknown:
        raise RefusedError(f"these nodes do not stream: {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    laid = _Laid(graph)
    for node in graph.nodes:
        laid.take(node)
    return tuple(laid.lines)


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


class _Laid:
    """Nodes laid into lines, in the graph's order: the last one makes the output, since all lead to it."""

    def __init__(self, graph: Graph) -> None:
        self.lines: list[Line] = []
        self._places = {graph.inputs[0]: 0}
        self._readers = {value: len(nodes) for value, nodes in graph.readers().items()} | dict.fromkeys(graph.outputs.values(), 0)
        self._open: set[int] = set()  # places that one layer reads, which the line may go on with

    def take(self, node: Node) -> None:
        """Lay one node."""
        if node.op == "Concat" and node.attributes["axis"] % len(node.y.lengths) != 1:
            raise RefusedError(f"{node.label} (Concat) joins along axis {node.attributes['axis']}; what streams is joined along channels")
        if node.op in ("Slice", "Split"):
            self._cut(node)
            return
        if others := [each.name for each in node.outputs[1:] if each in self._readers]:
            raise RefusedError(f"{node.label} ({node.op}): its result {others[0]} does not stream, only its first one does")
        signals = [each for each in node.inputs if each is not None and each.data is None]
        if node.op in ("Identity", "Dropout"):
            self._places[node.y] = self._place(node.x)
            self._open.discard(self._places[node.y])
        elif node.op == "PRelu" and len(signals) == 1:
            self._prelu(node)
        elif node.op in _AFFINE and len(signals) == 1:
            self._add(node.y, node.label, [_affine(node, signals[0])], self._place(signals[0]))
        elif node.op in _JOINS or node.op == "Sub":
            if len(signals) < len(node.inputs):
                raise RefusedError(f"{node.label} ({node.op}) joins a constant with signals; only branches of one input are joined here")
            places = [self._place(each) for each in signals]
            if node.op == "Sub":
                places[1] = self._add(None, node.label, [_scaled(signals[1], -1.0)], places[1])
            self._join(node, _JOINS.get(node.op, "add"), places)
        elif node.op in _KNOWN:
            self._add(node.y, node.label, [_KNOWN[node.op](node)], self._place(node.x))
        else:
            raise RefusedError(f"{node.label} ({node.op}) of two signals does not stream")

    def _place(self, value: Value) -> int:
        if value not in self._places:
            raise RefusedError(f"{value.name} is computed of constants alone; what streams is computed of the input")
        return self._places[value]

    def _add(self, made: Value | None, where: str, layers: Sequence[Layer], source: int) -> int:
        """Where layers end that begin at a place; made: the graph's value there, None for one of ours, which one layer reads."""
        named = tuple((where, each) for each in layers)
        if source in self._open:
            self._open.discard(source)
            self.lines[source - 1] = Line((*self.lines[source - 1].layers, *named), self.lines[source - 1].sources)
        else:
            self.lines.append(Line(named, (source,)))
            source = len(self.lines)
        if made is not None:
            self._made(made, source)
        return source

    def _join(self, node: Node, op: str, places: Sequence[int]) -> None:
        self.lines.append(Line(((node.label, layer(op)),), tuple(places)))
        self._made(node.y, len(self.lines))

    def _made(self, value: Value, place: int) -> None:
        self._places[value] = place
        if self._readers.get(value) == 1:
            self._open.add(place)

    def _cut(self, node: Node) -> None:
        ranges, place = _ranges(node), self._place(node.x)
        if not ranges:
            raise RefusedError(f"{node.label} ({node.op}) cuts along another axis than channels, which does not stream")
        ranges = [each for each in ranges if each[0] in self._readers]  # of a Split, what is read
        if len(ranges) > 1:
            self._open.discard(place)
        for value, first, end in ranges:
            self._add(value, node.label, [layer("channels", first, end)], place)

    def _prelu(self, node: Node) -> None:
        """One slope a channel: relu(x) - slope relu(-x)."""
        slopes, place = _by_channel(node, node.constant(1), node.x), self._place(node.x)
        self._open.discard(place)
        relu = layer("activation", "relu")
        above = self._add(None, node.label, [relu], place)
        below = self._add(None, node.label, [_scaled(node.x, -1.0), relu, _scaled(node.x, -slopes)], place)
        self._join(node, "add", (above, below))


def _by_channel(node: Node, numbers: np.ndarray | None, x: Value) -> np.ndarray:
    """One number a channel of x. Raises RefusedError for any other numbers."""
    assert numbers is not None
    shape = (1,) * (len(x.lengths) - numbers.ndim) + numbers.shape
    if len(shape) != len(x.lengths) or any(n != 1 for axis, n in enumerate(shape) if axis != 1) or shape[1] not in (1, x.lengths[1]):
        raise RefusedError(f"{node.label} ({node.op}) takes numbers of shape {numbers.shape}; one number, or one a channel, streams")
    return np.broadcast_to(numbers.reshape(-1).astype(np.float64), (x.lengths[1],))


def _scaled(x: Value, scale: Any, shift: Any = 0.0) -> Layer:
    """x scale + shift, channel by channel."""
    ones = np.ones(x.lengths[1], x.kind)
    return layer("batch_norm", 0 * ones, ones, scale * ones, shift * ones, eps=0.0)


def _affine(node: Node, x: Value) -> Layer:
    """A sum, difference, product or quotient with numbers."""
    first = node.inputs[0] is x
    numbers = _by_channel(node, node.constant(1 if first else 0), x)
    if node.op == "Add":
        return _scaled(x, 1.0, numbers)
    if node.op == "Sub":
        return _scaled(x, 1.0, -numbers) if first else _scaled(x, -1.0, numbers)
    if node.op == "Mul":
        return _scaled(x, numbers)
    if not first:
        raise RefusedError(f"{node.label} (Div) divides by a signal, which does not stream")
    with np.errstate(divide="ignore"):  # by zero is infinity, as the model says
        return _scaled(x, 1.0 / numbers)


def _ranges(node: Node) -> list[tuple[Value, int, int]]:
    """The channels that each result of a node has of what it reads, where it cuts those and nothing else."""
    if node.op == "Split" and node.attributes.get("axis", 0) % len(node.x.lengths) == 1:
        ends = np.cumsum([0, *(value.lengths[1] for value in node.outputs)]).tolist()
        return list(zip(node.outputs, ends, ends[1:]))
    if node.op == "Slice":
        cuts = slices(node, node.x.lengths, [node.constant(i) for i in range(1, 5)])
        away = [cut for cut, whole in ((cut, node.x.lengths[cut[0]]) for cut in cuts) if cut[1:3] != (0, whole)]
        return [(node.y, away[0][1], away[0][2])] if len(away) == 1 and away[0][0] == 1 and away[0][3] == 1 else []
    return []


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


_JOINS = {"Add": "add", "Sum": "add", "Mul": "multiply", "Concat": "concatenate"}
_AFFINE = "Add", "Sub", "Mul", "Div"
_KNOWN: dict[str, Any] = {
    "Conv": _conv, "ConvTranspose": _conv, "MaxPool": _pool, "AveragePool": _pool, "BatchNormalization": _norm,
    **dict.fromkeys(ACTIVATIONS, _activation), **dict.fromkeys(("Identity", "Dropout")),
}  # fmt: skip
