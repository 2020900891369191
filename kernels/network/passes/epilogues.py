"""An activation that alone reads a layer's output becomes its epilogue, applied while the sums are at hand."""

from __future__ import annotations

import math

from kernels.network.chains import scalar
from kernels.network.graph import Graph, Node
from kernels.network.operators.elementwise import slope
from kernels.network.operators.shaping import text
from kernels.network.passes.affine import LAYERS
from kernels.network.passes.sweep import Sweep

_NAMES = {"Relu": "relu", "Sigmoid": "sigmoid", "Tanh": "tanh", "HardSwish": "hardswish"}
ACTIVATIONS = (*_NAMES, "LeakyRelu", "Elu", "Gelu", "Swish", "HardSigmoid", "Clip")  # operators that may be one


def activation(node: Node) -> tuple[str, float] | None:
    """A node as an activation of the library; None where it is none."""
    if node.op in _NAMES:
        return _NAMES[node.op], 0.0
    if node.op == "LeakyRelu":
        return "leaky_relu", slope(node)
    if node.op == "Elu":
        return "elu", slope(node)
    if node.op == "Gelu":
        return ("gelu_tanh" if text(node.attributes.get("approximate", "none")) == "tanh" else "gelu"), 0.0
    if node.op == "Swish" and slope(node) == 1.0:
        return "silu", 0.0
    if node.op == "HardSigmoid" and math.isclose(slope(node), 1 / 6, rel_tol=1e-4) and node.attributes.get("beta", 0.5) == 0.5:
        return "hardsigmoid", 0.0
    if node.op == "Clip" and len(node.inputs) == 3 and (scalar(node.inputs[1]), scalar(node.inputs[2])) == (0.0, 6.0):
        return "relu6", 0.0
    return None


def into_epilogues(graph: Graph) -> int:
    """How many activations became epilogues."""
    sweep = Sweep(graph)
    for node in graph.nodes:
        sweep.refresh(node)
        layer = sweep.maker(node.inputs[0]) if node.inputs else None
        if layer is None or layer.op not in LAYERS or "weight" not in layer.attributes or layer.attributes.get("activation"):
            continue
        found = activation(node)
        if found and sweep.alone(layer.y):
            layer.attributes["activation"] = found
            sweep.join(node, layer.y)
    return sweep.finish()
