"""Some channels of a convolution's result are a convolution with their weights: so gates stream whose halves are cut from one result."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from kernels.network.graph import Graph, Node, Value
from kernels.network.operators.shaping import slices
from kernels.network.passes.epilogues import ACTIVATIONS


def parts_of_convolutions(graph: Graph) -> None:
    """Slices and Splits along channels become convolutions of their own, batch norms and activations between them too."""
    makers, nodes = graph.makers(), []
    for node in graph.nodes:
        ranges = _ranges(node)
        chain = _chain(node.x, makers) if ranges else []
        new = [each for value, first, end in ranges for each in _part(chain, value, first, end)] if chain else [node]
        makers |= {value: each for each in new for value in each.outputs}
        nodes += new
    graph.nodes = nodes
    graph.drop_dead()


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


def _chain(value: Value, makers: dict[Value, Node]) -> list[Node]:
    """The convolution that a value comes from and what follows it channel by channel, first to last; none where there is more between."""
    found: list[Node] = []
    while (node := makers.get(value)) is not None and value is node.y:
        found.insert(0, node)
        if node.op in _CHANNELS:
            return found if node.attributes.get("group", 1) == 1 else []
        if node.op != "BatchNormalization" and node.op not in ACTIVATIONS:
            return []
        value = node.x
    return []


def _part(chain: list[Node], result: Value, first: int, end: int) -> Iterator[Node]:
    """The chain for some channels."""
    x = chain[0].x
    for node in chain:
        axes = _CHANNELS.get(node.op, (0,) * 4 if node.op == "BatchNormalization" else ())
        numbers = [
            each if each is None or i >= len(axes) else _cut(each, axes[i], first, end) for i, each in enumerate(node.inputs[1:])
        ]  # fmt: skip
        lengths = node.y.lengths
        y = result if node is chain[-1] else Value(f"{node.y.name}[{first}:{end}]", (lengths[0], end - first, *lengths[2:]), node.y.dtype)
        yield Node(node.op, [x, *numbers], [y], node.attributes, node.name)
        x = y


def _cut(numbers: Value, axis: int, first: int, end: int) -> Value:
    if numbers.data is None:
        return numbers  # which whoever wants weights refuses
    data = np.ascontiguousarray(numbers.data[(slice(None),) * axis + (slice(first, end),)])
    return Value(f"{numbers.name}[{first}:{end}]", data.shape, data.dtype, data)


_CHANNELS = {"Conv": (0, 0), "ConvTranspose": (1, 0)}  # axes of the channels that come out, in weight and bias
