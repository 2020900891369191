"""What only one branch of a choice needs is not computed in calls that take the other.

Both branches of an If whose condition depends on the input are planned like everything else, and a Choose node brings the results of the
one that is taken to where they are read. One walk back tells of every item (a node of a graph, a step of a program) under which conditions
somebody reads what it makes.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from typing import Any, NamedTuple

from kernels.network.graph import Graph, Node

When = frozenset[tuple[Any, bool]]  # conditions, each with what it must be; all must hold, so that none is: always
ALWAYS: When = frozenset()


class Item(NamedTuple):
    """Something that reads and makes values, and runs only under conditions that are said."""

    reads: Sequence[Hashable]
    makes: Sequence[Hashable]
    when: When = ALWAYS


def needed(items: Sequence[Item], kept: Collection[Hashable]) -> list[When]:
    """When each item is needed, in their order of computation; kept: values that are handed out.

    A condition that is made only after an item does not keep it from running.

    >>> walk = [Item("x", "c"), Item("x", "a"), Item("x", "b"), Item("a", "y", frozenset({("c", True)}))]
    >>> [sorted(when) for when in needed([*walk, Item("b", "y", frozenset({("c", False)}))], "y")]
    [[], [('c', True)], [('c', False)], [('c', True)], [('c', False)]]
    """
    read: dict[Hashable, When] = dict.fromkeys(kept, ALWAYS)  # when values are read later on
    found: list[When] = []
    for item in reversed(items):
        later = [read[value] for value in item.makes if value in read]
        around = later[0].intersection(*later[1:]) if later else ALWAYS
        when = around | item.when
        for value, under in [*((condition, around) for condition, _ in item.when), *((value, when) for value in item.reads)]:
            read[value] = read.get(value, under) & under
        found.append(when)
    made = {value: i for i, item in enumerate(items) for value in item.makes}
    return [frozenset(each for each in when if made.get(each[0], -1) < i) for i, when in enumerate(reversed(found))]


def branches(graph: Graph) -> dict[Node, When]:
    """The nodes of a graph that only one branch of a choice needs, and when it does."""
    if not any(node.op == "Choose" for node in graph.nodes):
        return {}
    items, nodes = [], []
    for node in graph.nodes:
        if node.op == "Choose":
            condition, *results = node.inputs
            found = [Item([result], node.outputs, frozenset({(condition, taken)})) for taken, result in zip((True, False), results)]
        else:
            found = [Item(node.inputs, node.outputs)]
        items += found
        nodes += [node] * len(found)
    when = zip(nodes, needed(items, set(graph.outputs.values())))
    return {node: each for node, each in when if each and node.op != "Choose"}
