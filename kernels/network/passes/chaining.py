"""Element-by-element nodes that follow one another become one Chain node, which runs in one pass over memory.

Nodes are joined along edges where neither shape nor type changes. Every other edge raises the level of the node behind it, and only nodes
of one level are joined: a path that leaves a chain comes back on a higher level, so no chain waits for itself. Linear in nodes and edges.
"""

from __future__ import annotations

from collections.abc import Mapping

from kernels.network.chains import computed, numbers_inside
from kernels.network.graph import Graph, Node, Value

MOST = 24  # operations of a chain: as many blocks as the first-level cache keeps


def chain_nodes(graph: Graph) -> int:
    """How many chains there are."""
    makers = graph.makers()
    level: dict[Node, int] = {}
    leader: dict[Node, Node] = {}
    members: dict[Node, list[Node]] = {}
    kinds = {node: computed(node) for node in graph.nodes}

    for node in graph.nodes:
        before = [makers[value] for value in node.inputs if value is not None and value in makers]
        like = [each for each in before if kinds[node] is not None and _alike(kinds, each, node)]
        level[node] = max([level[each] + (each not in like) for each in before], default=0)
        if kinds[node] is None:
            continue
        leader[node] = node
        members[node] = [node]
        joined = {leader[each]: None for each in like if level[each] == level[node]}
        if sum(len(members[each]) for each in joined) >= MOST:
            level[node] += 1  # a chain of its own, behind those
            continue
        for each in joined:
            for member in members[each]:
                leader[member] = node
            members[node] += members.pop(each)
    place = {node: i for i, node in enumerate(graph.nodes)}
    readers = graph.readers()
    handed = set(graph.outputs.values())
    done: set[Node] = set()
    nodes: list[Node] = []
    for node in graph.nodes:
        if kinds[node] is None:
            nodes.append(node)
        elif leader[node] not in done:
            done.add(leader[node])
            nodes.append(_chain(sorted(members[leader[node]], key=place.__getitem__), kinds, readers, handed))
    graph.nodes = nodes
    graph.sort()
    return len(done)


def _alike(kinds: Mapping[Node, object], a: Node, b: Node) -> bool:
    return kinds[a] is not None and kinds[a] == kinds[b] and a.y.shape == b.y.shape


def _chain(members: list[Node], kinds: Mapping[Node, object], readers: dict[Value, list[Node]], handed: set[Value]) -> Node:
    """The node that does all members, which stand in an order in which they can be computed."""
    order = {node: i for i, node in enumerate(members)}
    made = {node.y for node in members}
    inputs: dict[Value, None] = {}
    for node in members:
        inside = numbers_inside(node)
        for i, value in enumerate(node.inputs):
            if value is not None and value not in made and i not in inside:
                inputs[value] = None
    outputs = [node.y for node in members if node.y in handed or any(each not in order for each in readers.get(node.y, ()))]
    name = "+".join(node.label for node in members)
    return Node("Chain", list(inputs), outputs, {"nodes": members, "dtype": kinds[members[0]]}, name)
