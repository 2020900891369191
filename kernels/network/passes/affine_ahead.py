"""Products and sums with constants per channel go into the weights behind them, where an activation keeps them from those before: batch
norms behind rectifiers, learnt scales and shifts behind hard swishes.

W (s x + t) + b = (W s) x + (b + W t). What a layer pads with stays zero, so of a padded layer's input a scale goes that stands next to the
layer, and no shift. A shift may nearly cancel x, as that of an input's mean does, and W x and W t would then be rounded before they do:
it goes only where x is made by a layer, whose sums were rounded as much.
"""

from __future__ import annotations

import numpy as np

from kernels.network.graph import Graph, Node, Value
from kernels.network.operators.shaping import RESHAPES, text
from kernels.network.passes.affine import LAYERS, along_channels, channel_axis, inverse, moderate, times
from kernels.network.passes.epilogues import activation
from kernels.network.passes.sweep import Sweep

Array = np.ndarray
NEAR = 8  # nodes that are looked back through for a layer
BETWEEN = (*RESHAPES, "Transpose", "Add", "Sub", "Mul", "Div", "Softplus", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool")


def into_weights_behind(graph: Graph) -> int:
    """How many nodes went into the weights behind them."""
    sweep, changed = Sweep(graph), 0
    for layer in graph.nodes:
        if layer.op not in ("Conv", "Linear") or "weight" not in layer.attributes:
            continue
        while (found := _before(sweep, layer)) is not None:
            node, x, scale, shift = found
            _moved(layer, scale, shift)
            layer.inputs[0] = x
            sweep.count[x] += 1
            sweep.count.subtract(value for value in node.inputs if value is not None)
            changed += 1
    if changed:
        graph.drop_dead()
    return changed


def _before(sweep: Sweep, layer: Node) -> tuple[Node, Value, Array, Array] | None:
    """(node, x, s, t) where the layer alone reads s x + t, which a node makes of x and constants, and can take both."""
    node = sweep.maker(layer.x)
    if node is None or node.op not in ("Mul", "Add", "Sub", "Div") or not sweep.alone(node.y) or len(node.inputs) != 2:
        return None
    which = next((i for i in (0, 1) if node.constant(i) is None and node.constant(1 - i) is not None), None)
    if which is None or (which == 1 and node.op in ("Sub", "Div")):
        return None
    x, constant, axis = node.inputs[which], node.constant(1 - which), channel_axis(layer)
    assert x is not None and constant is not None
    if x.lengths != node.y.lengths or x.kind != node.y.kind:
        return None
    numbers = along_channels(constant, axis, x.lengths[axis])
    if numbers is None or not np.isfinite(numbers).all():
        return None
    if node.op in ("Mul", "Div"):
        scale = numbers if node.op == "Mul" else inverse(numbers)
        return None if scale is None or not moderate(scale) else (node, x, scale, np.zeros(len(numbers)))
    if _pads(layer) or not _rounded(sweep, x):
        return None
    return node, x, np.ones(len(numbers)), numbers if node.op == "Add" else -numbers


def _rounded(sweep: Sweep, value: Value) -> bool:
    """Whether a layer makes a value, but for activations, pools and constants behind it."""
    for _ in range(NEAR):
        node = sweep.maker(value)
        if node is None or node.op in LAYERS:
            return node is not None
        changing = [each for each in node.inputs if each is not None and each.data is None]
        if len(changing) != 1 or (node.op not in BETWEEN and activation(node) is None):
            return False
        value = changing[0]
    return False


def _pads(layer: Node) -> bool:
    return any(layer.attributes.get("pads", ())) or text(layer.attributes.get("auto_pad", "NOTSET")) not in ("NOTSET", "VALID")


def _moved(layer: Node, scale: Array, shift: Array) -> None:
    """Put a scale and a shift per input channel into a layer's weights (C_out, C_in/groups, *kernel) and bias."""
    weight, bias = layer.attributes["weight"], layer.attributes["bias"]
    if shift.any():
        groups = 1 if layer.op == "Linear" else layer.attributes.get("group", 1)
        sums = weight.reshape(groups, len(weight) // groups, weight.shape[1], -1).sum(3, dtype=np.float64)
        moved = np.einsum("gjc,gc->gj", sums, shift.reshape(groups, -1)).reshape(-1)
        layer.attributes["bias"] = (moved if bias is None else bias + moved).astype(weight.dtype)
    if not (scale == 1).all():
        layer.attributes["weight"] = times(layer, scale, inputs=True)
