"""A pointwise convolution, the depthwise one that alone reads it, and the pointwise one behind that are one node: a mobile network's block.

Without the last, where sums of squeezed channels lie between, or where an activation follows it, the first two are one node; without the
first, the last two, unless what they make is another's wide value. Means of the wide channels, which squeezed ones are made of, are a
second output.
"""

from __future__ import annotations

from collections.abc import Callable

from kernels.network.graph import Graph, Node
from kernels.network.operators.reducing import reduced_axes

Joins = Callable[[tuple[Node, ...]], bool]


def join_bottlenecks(graph: Graph, joins: Joins) -> int:
    """How many such nodes there are now. joins: whether layers in a row are faster as one."""
    readers, handed = graph.readers(), set(graph.outputs.values())

    def behind(node: Node) -> Node | None:
        """The convolution that alone reads what one writes, first of all."""
        found = readers.get(node.y, [])
        alone = len(found) == 1 and node.y not in handed
        return found[0] if alone and _layer(found[0]) and found[0].x is node.y else None

    joined: dict[Node, Node] = {}  # by the last layer
    inside: set[Node] = set()
    for node in graph.nodes:
        if node in inside or node in joined or not _layer(node) or len(node.inputs) > 1:
            continue
        second = behind(node)
        if second is None:
            continue
        third = behind(second)
        choices: list[tuple[Node, ...]] = []
        if node.attributes.get("group", 1) > 1:
            choices = [] if third and third.attributes.get("group", 1) > 1 else [(node, second)]
        elif len(second.inputs) == 1:
            choices = [(node, second, third), (node, second)] if third else [(node, second)]
        layers = next((each for each in choices if joins(each)), None)
        if layers is not None:
            last = layers[-1]
            joined[last] = Node("Bottleneck", [node.x, *last.inputs[1:]], [last.y], {"layers": layers}, last.name)
            inside.update(layers[:-1])
            mean = next((each for each in readers.get(last.y, ()) if _averages(each)), None)
            if mean is not None and last is second and last.attributes.get("group", 1) > 1:
                joined[last].outputs.append(mean.y)
                joined[last].attributes["mean"] = mean
                inside.add(mean)
    if joined:
        graph.nodes = [joined.get(node, node) for node in graph.nodes if node not in inside]
    return len(joined)


def _averages(node: Node) -> bool:
    """Whether a node is the mean of each plane of a value."""
    over_space = node.op == "ReduceMean" and tuple(reduced_axes(node)) == tuple(range(2, len(node.x.lengths)))
    return (over_space or node.op == "GlobalAveragePool") and len(node.x.lengths) == 4


def _layer(node: Node) -> bool:
    """Whether a node is a convolution whose weights are known."""
    return node.op == "Conv" and "weight" in node.attributes and len(node.outputs) == 1
