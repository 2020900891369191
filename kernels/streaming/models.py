"""A model's graph as lines of layers: what `kernels.stream` and `kernels.dask.apply` take of `kernels.load`.

Convolutions, pools, products with constants, activations and scales by channel are layers. What lies between them and takes every position
along time for itself is cut out as subgraphs, each as large as possible; a recurrence is one of its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import numpy as np

from kernels.network.graph import Graph, Node, Value
from kernels.network.model import Model
from kernels.network.operators.shaping import slices, split_lengths, text
from kernels.network.passes.activations import named_activations
from kernels.network.passes.padding import into_convolutions
from kernels.network.passes.specialise import UnsupportedError, specialise
from kernels.problem.errors import ProblemError, RefusedError
from kernels.problem.options import any_size
from kernels.streaming.laying import Laid, goes_behind, has_epilogue, is_alone
from kernels.streaming.lines import Line
from kernels.streaming.reading import NOMINAL, for_any_length
from kernels.streaming.subgraphs import at_length
from kernels.streaming.timewise import Axes, axes_of_time, check_timewise

LONG = (1 << 30) // NOMINAL[-1] * NOMINAL[-1]  # six hours at 48 kHz: longer than what models cut signals to, shorter than "to the end"


def lines_of_model(model: Model, shape: Sequence[int | None]) -> tuple[Line, ...]:
    """The lines of a model of one input and one output, whose shape has None for time. Raises RefusedError with the node that does not
    stream."""
    if len(model._graph.inputs) != 1 or len(model._graph.outputs) != 1:
        counts = f"{len(model._graph.inputs)} inputs and {len(model._graph.outputs)} outputs"
        raise RefusedError(f"the model has {counts}; a stream takes one of each")
    with model.checked():
        graph, axes = _simplified(model._graph, shape)
        laid = Laid(graph, axes)
        for nodes in _groups(graph, axes):
            laid.take(nodes)
        return laid.finished()


def check_batch(model: Model, shape: Sequence[int | None]) -> None:
    """Raise RefusedError unless a model takes every signal of a batch, its first axis, for itself."""
    (x,), (y,) = model._graph.inputs, model._graph.outputs.values()

    def of(size: int) -> Graph:
        return for_any_length(lambda nominal: specialise(model._graph, {x.name: at_length((size, *shape[1:]), nominal)}))

    try:
        graph = of(2)
        axes = axes_of_time(graph, of(3))
        for node in graph.nodes:
            check_timewise(node, axes)
        if {axes.get(value) for value in graph.outputs.values()} != {0}:
            raise RefusedError(f"{y.name} has no axis of signals first")
    except RefusedError as error:
        raise RefusedError(f"chunks along the batch need a model that takes signals one by one: {error}") from error


def _simplified(graph: Graph, shape: Sequence[int | None]) -> tuple[Graph, Axes]:
    """The graph without what exporters write around layers: numbers that are computed of constants, Pads with zeros before convolutions,
    crops behind them, activations in several operators; and the axes of time. Raises RefusedError where a longer signal, or one of an odd
    length, would leave another."""
    name = graph.inputs[0].name

    def of(length: int) -> Graph:
        return specialise(graph, {name: at_length(shape, length)})

    found = for_any_length(of)
    with any_size():
        axes = axes_of_time(found, of(LONG))
        with contextlib.suppress(ProblemError, UnsupportedError):  # branches may meet at multiples of a stride only
            odd = of(LONG - 1)
            axes_of_time(found, odd)
    into_convolutions(found)
    _crops_into_convolutions(found, axes)
    named_activations(found)
    _splits_apart(found)
    return found, axes


def _crops_into_convolutions(graph: Graph, axes: Axes) -> None:
    """What is cut away at the ends of a convolution's result is padded less before: causal convolutions are written so."""
    makers, readers = graph.makers(), graph.readers()
    for node in graph.nodes:
        maker = makers.get(node.x) if node.op == "Slice" else None
        if maker is None or maker.op not in ("Conv", "ConvTranspose") or len(readers[node.x]) > 1 or node.x not in axes:
            continue
        n, at = node.x.lengths[axes[node.x]], axes[node.x] - 2
        (i, first, end, step), *more = slices(node, node.x.lengths, [node.constant(k) for k in range(1, 5)])
        plain = text(maker.attributes.get("auto_pad", "NOTSET")) in ("NOTSET", "VALID") and "output_shape" not in maker.attributes
        if more or i != at + 2 or step != 1 or at < 0 or not plain:
            continue
        rank = len(node.x.lengths) - 2
        pads, stride = list(maker.attributes.get("pads", [0] * 2 * rank)), maker.attributes.get("strides", [1] * rank)[at]
        if maker.op == "ConvTranspose":
            pads[at], pads[at + rank] = pads[at] + first, pads[at + rank] + n - end
        elif stride == 1 and first <= pads[at] and n - end <= pads[at + rank]:
            pads[at], pads[at + rank] = pads[at] - first, pads[at + rank] - (n - end)
        else:
            continue
        maker.attributes = {**maker.attributes, "pads": pads, "auto_pad": "NOTSET"}
        maker.outputs[0] = node.y
        node.op, node.inputs, node.outputs = "Identity", [node.y], [Value(node.y.name)]  # read by nobody
    graph.drop_dead()


def _splits_apart(graph: Graph) -> None:
    """A Split becomes a Slice for every part that is read."""
    read, nodes = {*graph.readers(), *graph.outputs.values()}, []
    for node in graph.nodes:
        if node.op != "Split":
            nodes.append(node)
            continue
        axis = node.attributes.get("axis", 0)
        ends = np.cumsum([0, *split_lengths(node, node.x.lengths[axis])])
        for value, first, end in zip(node.outputs, ends, ends[1:]):
            if value in read:
                cut = [graph.constant([each], np.int64) for each in (first, end, axis)]
                nodes.append(Node("Slice", [node.x, *cut], [value], {}, node.label))
    graph.nodes = nodes


def _groups(graph: Graph, axes: Axes) -> list[list[Node]]:
    """Nodes that are laid together, in order: each but the last is read inside of its group only."""
    readers, results = graph.readers(), set(graph.outputs.values())
    alone: set[Node] = set()
    layers: set[Value] = set()  # what layers with weights make, with what goes into their epilogues
    for node in graph.nodes:
        if is_alone(node, axes) or (node.inputs and node.inputs[0] in layers and len(readers[node.x]) == 1 and goes_behind(node, axes)):
            alone.add(node)
            if has_epilogue(node, axes) or node.x in layers:
                layers.add(node.y)
    groups: list[list[Node]] = []
    member: dict[Node, list[Node]] = {}
    for node in reversed(graph.nodes):
        homes = [member[each] for each in dict.fromkeys(readers.get(node.y, ()))]
        if node not in alone and homes and homes[0] and all(each is homes[0] for each in homes) and results.isdisjoint(node.outputs):
            homes[0].append(node)
            member[node] = homes[0]
        else:
            groups.append([node])
            member[node] = [] if node in alone else groups[-1]
    return [group[::-1] for group in reversed(groups)]
