"""What passes that join a node to the one before it share: one walk in order, replaced values followed, readers counted on the way."""

from __future__ import annotations

import itertools
from collections import Counter

from kernels.network.graph import Graph, Node, Value


class Sweep:
    """The state of one walk over a graph: `join(node, into)` makes whoever reads the node's value read another's from then on."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.makers = graph.makers()
        self.count = Counter(itertools.chain.from_iterable(node.inputs for node in graph.nodes))
        self.count.update(graph.outputs.values())
        self.new: dict[Value, Value] = {}
        self.changed = 0

    def refresh(self, node: Node) -> None:
        """Let a node read what its inputs have become."""
        node.inputs = [None if value is None else self.new.get(value, value) for value in node.inputs]

    def maker(self, value: Value | None) -> Node | None:
        """The node that makes a value, where that is one."""
        return None if value is None else self.makers.get(value)

    def alone(self, value: Value) -> bool:
        """Whether one node reads a value, and nobody outside."""
        return self.count[value] == 1

    def join(self, node: Node, into: Value) -> None:
        """The node's value is `into` from now on; the node reads nothing more."""
        self.new[node.y] = into
        for value in node.inputs:
            if value is not None:
                self.count[value] -= 1
        self.count[into] += self.count[node.y]
        self.changed += 1

    def finish(self) -> int:
        """Bring the graph up to date; how many nodes were joined."""
        if self.new:
            self.graph.replace(self.new)
            self.graph.drop_dead()
        return self.changed
