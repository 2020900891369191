"""What is added to a product or a convolution becomes part of it, as residual connections have it: sums are not a pass of their own.

The layer gets what is added as its last input. An activation behind the sum becomes the layer's. Scores of attention, products of two
changing matrices, get a bias of positions, or a mask, the same way.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from kernels.network.chains import KNOWN
from kernels.network.graph import Graph, Node
from kernels.network.passes.epilogues import activation
from kernels.network.passes.sweep import Sweep
from kernels.runtime.machine import machine

Adds = Callable[[Node], bool]


def into_layers(graph: Graph, adds: Adds | None = None) -> int:
    """How many sums and activations went into layers. adds: whether the method that is taken for a convolution adds to what its output
    holds."""
    sweep = Sweep(graph)
    place = {node: i for i, node in enumerate(graph.nodes)}
    levels: dict[Node, int] | None = None  # looked for where a layer may take a sum, before one does
    for node in graph.nodes:
        sweep.refresh(node)
        layer = sweep.maker(node.inputs[0]) if node.inputs else None
        if node.op == "Add" and len(node.inputs) == 2 and node.inputs[0] is not node.inputs[1]:
            makers = [sweep.maker(value) for value in node.inputs]
            layers = [each for each in makers if each is not None and each in place and _takes(sweep, each, node, adds)]
            if not layers:
                continue
            layer = max(layers, key=place.__getitem__)  # the other is there before it
            other = node.inputs[1 if node.inputs[0] is layer.y else 0]
            assert other is not None
            maker, levels = sweep.maker(other), levels or _levels(graph)
            if maker is not None and maker.op in KNOWN and sweep.alone(other) and levels[maker] > levels[layer]:
                continue  # one pass makes it and adds, which moves as many numbers
            layer.inputs = [*layer.inputs, other]
            sweep.join(node, layer.y)
            sweep.count[other] += 1
        elif layer is not None and layer.op in ("Conv", "Linear") and len(layer.inputs) == 2 and not layer.attributes.get("activation"):
            found = activation(node) if "weight" in layer.attributes and sweep.alone(layer.y) else None
            if found:
                layer.attributes["activation"] = found
                sweep.join(node, layer.y)
    if sweep.changed:
        graph.replace(sweep.new)
        graph.sort()  # what is added may be made behind the layer
        graph.drop_dead()
    return sweep.changed


def _levels(graph: Graph) -> dict[Node, int]:
    """How many nodes that are no passes lie before each one, on the longest way; see `chaining`."""
    makers = graph.makers()
    found: dict[Node, int] = {}
    for node in graph.nodes:
        before = [makers[value] for value in node.inputs if value is not None and value in makers]
        apart = [each for each in before if node.op not in KNOWN or each.op not in KNOWN or each.y.shape != node.y.shape]
        found[node] = max([found[each] + (each in apart) for each in before], default=0)
    return found


def _takes(sweep: Sweep, layer: Node, node: Node, adds: Adds | None) -> bool:
    """Whether a node is a layer that only this sum reads, of two values alike; a product may get one that is broadcast to it."""
    if not sweep.alone(layer.y) or any(each is None or each.kind != layer.y.kind for each in node.inputs):
        return False
    shapes = [each.lengths for each in node.inputs if each is not None]
    if layer.op == "MatMul":
        of_matrices = len(layer.inputs) == 2 and all(each is not None and len(each.lengths) > 1 for each in layer.inputs)
        added = shapes[1 if node.inputs[0] is layer.y else 0]
        broadcast = len(added) > 1 and added[-1] == layer.y.lengths[-1] and node.y.lengths == layer.y.lengths
        return of_matrices and broadcast and layer.y.kind in (np.float32, np.float64)
    if "weight" not in layer.attributes or len(layer.inputs) > 1 or layer.attributes.get("activation") or layer.attributes.get("pool"):
        return False
    if any(each != node.y.lengths for each in shapes):
        return False
    if layer.op == "Conv":
        return adds is not None and adds(layer)
    rows, lanes = math.prod(layer.y.lengths[:-1]), machine().lanes(layer.y.kind.itemsize)
    return layer.op == "Linear" and layer.attributes["axis"] == -1 and rows > 1 and layer.y.lengths[-1] >= lanes
