"""What is added to a product is what its sums begin with, as residual connections have it: the sum is not a pass of its own."""

from __future__ import annotations

import math

from kernels.network.graph import Graph, Node
from kernels.network.passes.sweep import Sweep
from kernels.runtime.machine import machine


def into_products(graph: Graph) -> int:
    """How many sums went into products of rows: these get a second input."""
    sweep = Sweep(graph)
    place = {node: i for i, node in enumerate(graph.nodes)}
    for node in graph.nodes:
        if node.op != "Add" or len(node.inputs) != 2 or node.inputs[0] is node.inputs[1]:
            continue
        a, b = node.inputs
        products = [maker for value in (a, b) if (maker := sweep.maker(value)) is not None and _takes(sweep, maker, node)]
        if not products:
            continue
        product = max(products, key=place.__getitem__)  # the other is there before it
        other = b if product.y is a else a
        node.op, node.inputs, node.attributes = "Linear", [product.x, other], product.attributes
        node.name = node.name or product.name
        sweep.changed += 1
    if sweep.changed:
        graph.drop_dead()
    return sweep.changed


def _takes(sweep: Sweep, product: Node, node: Node) -> bool:
    """Whether a node is a product of rows, wide enough for vectors, that only this sum reads, of two values alike."""
    if product.op != "Linear" or len(product.inputs) > 1 or product.attributes.get("activation") or product.attributes["axis"] != -1:
        return False
    if math.prod(product.y.lengths[:-1]) < 2 or product.y.lengths[-1] < machine().lanes(product.y.kind.itemsize):
        return False
    return sweep.alone(product.y) and all(each is not None and each.lengths == node.y.lengths for each in node.inputs)
