"""Products and sums with constants per channel go into the weights before them: batch norms, biases, scales, signs.

y = W x + b followed by * s + t is (s W) x + (s b + t). A batch norm that follows no layer becomes a product and a sum.
"""

from __future__ import annotations

import math

import numpy as np

from kernels.network.graph import Graph, Node, Value
from kernels.network.passes.sweep import Sweep
from kernels.runtime.constants import made

Array = np.ndarray
LAYERS = ("Conv", "ConvTranspose", "Linear")
FAR = 2.0**32  # scales beyond it, or below its inverse, stay where they are: weights times these would overflow or vanish


def batch_norms(graph: Graph) -> int:
    """BatchNormalization with constants as Mul and Add; how many there were."""
    nodes: list[Node] = []
    for node in graph.nodes:
        if node.op != "BatchNormalization" or any(node.constant(i) is None for i in (1, 2, 3, 4)):
            nodes.append(node)
            continue
        gamma, beta, mean, var = (np.asarray(node.constant(i), np.float64) for i in (1, 2, 3, 4))
        scale = gamma / np.sqrt(var + node.attributes.get("epsilon", 1e-5))
        along = (-1, *[1] * (len(node.x.lengths) - 2))
        factors, shifts = (graph.constant(each.reshape(along).astype(node.y.kind)) for each in (scale, beta - mean * scale))
        product = Value(f"{node.y.name}.scaled", node.y.shape, node.y.dtype)
        nodes += [Node("Mul", [node.x, factors], [product], {}, node.name), Node("Add", [product, shifts], [node.y], {}, node.name)]
    changed = len(nodes) - len(graph.nodes)
    graph.nodes = nodes
    return changed


def channel_axis(layer: Node) -> int:
    """The axis, counted from the last, on which a layer's output channels stand."""
    return int(layer.attributes["axis"]) if layer.op == "Linear" else 1 - len(layer.y.lengths)


def channels(layer: Node) -> int:
    """How many output channels a layer has."""
    return int(layer.y.lengths[channel_axis(layer)])


def per_channel(layer: Node, numbers: Array) -> Array | None:
    """A constant as one number per output channel of a layer; None where it differs along other axes."""
    return along_channels(numbers, channel_axis(layer), channels(layer))


def along_channels(numbers: Array, axis: int, count: int) -> Array | None:
    """A constant as `count` numbers along an axis, counted from the last; None where it differs along others."""
    if numbers.size == 1:
        return np.full(count, numbers.reshape(()), np.float64)
    if numbers.ndim < -axis or numbers.shape[axis] != numbers.size or numbers.size != count:
        return None
    return numbers.reshape(-1).astype(np.float64)


def _scale_and_shift(node: Node, layer: Node, which: int) -> tuple[Array, Array] | None:
    """(s, t) of a node that multiplies or adds constants to input `which`, which a layer gives."""
    one, none = np.ones(channels(layer)), np.zeros(channels(layer))
    if node.op == "Neg":
        return -one, none
    if len(node.inputs) != 2 or node.op not in ("Add", "Sub", "Mul", "Div", "Sum"):
        return None
    constant = node.constant(1 - which)
    if constant is None or (node.op == "Div" and which == 1) or node.y.lengths != layer.y.lengths:
        return None
    numbers = per_channel(layer, constant)
    if numbers is None or not np.isfinite(numbers).all():
        return None
    if node.op in ("Add", "Sum"):
        return one, numbers
    if node.op == "Sub":
        return (one, -numbers) if which == 0 else (-one, numbers)
    factors = numbers if node.op == "Mul" else inverse(numbers)
    return None if factors is None or not moderate(factors) else (factors, none)


def inverse(numbers: Array) -> Array | None:
    """One over each number, None where one is zero."""
    return 1 / numbers if numbers.all() else None


def moderate(scale: Array) -> bool:
    """Whether weights times these numbers keep their digits."""
    sizes = np.abs(scale[scale != 0])
    return bool(((sizes >= 1 / FAR) & (sizes <= FAR)).all())


def scaled(layer: Node, scale: Array, shift: Array) -> None:
    """Put a scale and a shift per channel into a layer's weights."""
    bias, dtype = layer.attributes["bias"], layer.attributes["weight"].dtype
    if not (scale == 1).all():
        layer.attributes["weight"] = times(layer, scale)
    total = shift if bias is None else bias * scale + shift
    layer.attributes["bias"] = None if bias is None and not shift.any() else total.astype(dtype)


def times(layer: Node, scale: Array, *, inputs: bool = False) -> Array:
    """A layer's weights times a number (float64) for each output channel, or each input channel, rounded once."""
    weight: Array = layer.attributes["weight"]
    groups = 1 if layer.op == "Linear" else layer.attributes.get("group", 1)
    shape = groups, len(weight) // groups, weight.shape[1], math.prod(weight.shape[2:])
    # (groups, C_out, C_in, taps) of a group, of a transposed layer (groups, C_in, C_out, taps)
    along = (groups, 1, -1, 1) if inputs != (layer.op == "ConvTranspose") else (groups, -1, 1, 1)

    def product(weight: Array) -> Array:
        return (weight.reshape(shape) * scale.reshape(along)).reshape(weight.shape).astype(weight.dtype)

    return made((times, along, scale.tobytes()), product, weight)


def into_weights(graph: Graph) -> int:
    """How many nodes went into the weights before them."""
    sweep = Sweep(graph)
    for node in graph.nodes:
        sweep.refresh(node)
        for which, value in enumerate(node.inputs[:2]):
            layer = sweep.maker(value)
            if layer is None or layer.op not in LAYERS or "weight" not in layer.attributes or layer.attributes.get("activation"):
                continue
            pair = _scale_and_shift(node, layer, which)
            if pair and sweep.alone(layer.y):
                scaled(layer, *pair)
                sweep.join(node, layer.y)
                break
    return sweep.finish()
