"""Results of a graph that are views of one tensor: who writes into one must see it in the others, as eager PyTorch has it.

A region's results are tensors of their own. So such views are taken behind all regions, by PyTorch, of one result of a region.
"""

from __future__ import annotations

import collections
import operator

import torch
from torch import fx

REASON = "its result shares memory with another result of the graph"


def _is_view(node: fx.Node) -> bool:
    if node.target is operator.getitem:
        return isinstance(node.args[0], fx.Node) and _is_view(node.args[0])
    if not isinstance(node.target, torch._ops.OpOverload):
        return False
    returns = node.target._schema.returns
    return bool(returns) and returns[0].alias_info is not None and not returns[0].alias_info.is_write


def _chain(node: fx.Node) -> list[fx.Node]:
    """The views that lead to a node, the base first."""
    found = [node]
    while found[0].op == "call_function" and _is_view(found[0]) and isinstance(found[0].args[0], fx.Node):
        found.insert(0, found[0].args[0])
    return found


def views_last(module: fx.GraphModule) -> set[fx.Node]:
    """Take views that share memory with other results at the end of the graph; the nodes that do it now, which no region may hold."""
    graph = module.graph
    (output,) = (node for node in graph.nodes if node.op == "output")
    sharing: dict[fx.Node, dict[fx.Node, list[fx.Node]]] = collections.defaultdict(dict)  # the chains to results, by base
    for node in output.all_input_nodes:
        chain = _chain(node)
        if chain[0].op == "call_function":  # views of the graph's inputs are taken anew by AOTAutograd
            sharing[chain[0]][node] = chain
    made: dict[fx.Node, fx.Node] = {}
    with graph.inserting_before(output):
        for base, chains in sharing.items():
            if len(chains) < 2:
                continue
            made[base] = base
            for chain in chains.values():
                for node in chain[1:]:
                    if node not in made:
                        made[node] = graph.node_copy(node, lambda old: made.get(old, old))
        output.args = fx.map_arg(output.args, lambda node: made.get(node, node))
    graph.eliminate_dead_code()
    return {new for old, new in made.items() if new is not old}
