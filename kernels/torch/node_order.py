"""The order of a graph's nodes after regions took the place of some: what a region reads may have stood behind what it replaced.

PyTorch's `legalize_graph` sorts by what is read alone. What writes into the graph's inputs, as a norm that trains into its running means,
nobody reads: it came behind the graph's return and was never done.
"""

from __future__ import annotations

import heapq

import torch
from torch import fx


def _writes(node: fx.Node) -> bool:
    """Whether a node is there for what it does to its arguments, and not for a result."""
    return isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable and not node.users


def sort(graph: fx.Graph, stood: dict[fx.Node, int]) -> None:
    """Put every node behind what it reads and else where it stood, what writes behind all others, the output last.

    stood: the place of every node before regions were cut out; a region stands where the first of its nodes did.
    """
    (output,) = (node for node in graph.nodes if node.op == "output")
    last = sorted((node for node in graph.nodes if _writes(node)), key=stood.__getitem__)
    behind = {output, *last}
    missing = {node: len(node.all_input_nodes) for node in graph.nodes if node not in behind}
    ready = [(stood[node], i, node) for i, node in enumerate(missing) if not missing[node]]
    heapq.heapify(ready)
    ordered: list[fx.Node] = []
    while ready:
        *_, node = heapq.heappop(ready)
        ordered.append(node)
        for user in node.users:
            if user in missing:
                missing[user] -= 1
                if not missing[user]:
                    heapq.heappush(ready, (stood[user], len(ordered), user))
    if len(ordered) < len(missing):
        raise RuntimeError("torch.compile: regions of the graph need each other's results")
    for node in (*ordered, *last):
        output.prepend(node)
