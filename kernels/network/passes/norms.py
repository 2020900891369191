"""Norms that are written out in other operators: mean and deviation become one node, and groups are seen without reshaping.

Exporters write (x - m) / sqrt(mean((x - m)^2) + eps) operator by operator, and a group norm as an instance norm of the reshaped input.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from kernels.network.chains import scalar
from kernels.network.graph import Graph, Node, Value
from kernels.network.operators.reducing import reduced_axes
from kernels.network.passes.sweep import Sweep


def named_norms(graph: Graph) -> int:
    """How many norms were found."""
    return _groups(graph) + _moments(graph)


def _groups(graph: Graph) -> int:
    """Reshape to (n, groups, rest), InstanceNormalization, Reshape back: a GroupNormalization."""
    sweep = Sweep(graph)
    for node in graph.nodes:
        norm = sweep.maker(node.inputs[0]) if node.op == "Reshape" else None
        grouping = sweep.maker(norm.x) if norm is not None and norm.op == "InstanceNormalization" else None
        if norm is None or grouping is None or grouping.op != "Reshape" or not sweep.alone(norm.y) or not sweep.alone(grouping.y):
            continue
        x, (n, groups) = grouping.x, norm.x.lengths[:2]
        gamma, beta = norm.constant(1), norm.constant(2)
        fits = len(x.lengths) > 2 and x.lengths == node.y.lengths and x.lengths[0] == n and x.lengths[1] % groups == 0
        if not fits or not math.prod(x.lengths) or gamma is None or beta is None:
            continue
        numbers = [graph.constant(np.repeat(each, x.lengths[1] // groups)) for each in (gamma, beta)]
        node.op, node.inputs = "GroupNormalization", [x, *numbers]
        node.attributes = {"num_groups": groups, "epsilon": norm.attributes.get("epsilon", 1e-5)}
        sweep.changed += 1
    graph.drop_dead()
    return sweep.changed


def _moments(graph: Graph) -> int:
    """Sqrt(ReduceMean((x - ReduceMean(x))^2) + eps), or that to the power of 1/2, that only divides: a Moments, whose 1 / deviation
    multiplies."""
    sweep = Sweep(graph)
    readers, handed = graph.readers(), set(graph.outputs.values())
    made: dict[Node, Node] = {}  # roots to what stands in their place
    new: dict[Value, Value] = {}
    for node in graph.nodes:
        root = node.op == "Sqrt" or (node.op == "Pow" and scalar(node.inputs[1]) == 0.5)
        found = deviation(sweep, node) if root else None
        if found is None or found.mean is None or node.y in handed or not all(_divides(each, node.y) for each in readers.get(node.y, [])):
            continue
        values = [Value(f"{node.y.name}.{name}", node.y.shape, node.y.dtype) for name in ("mean", "scale")]
        attributes = {"axes": list(found.axes), "epsilon": found.epsilon, "factors": None, "shape": node.y.lengths}
        made[node] = Node("Moments", [found.x], values, attributes, node.name)
        new[found.mean] = values[0]
        for each in readers.get(node.y, []):
            each.op, each.inputs[each.inputs.index(node.y)] = ("Mul" if each.op == "Div" else "Identity"), values[1]
    if made:
        graph.nodes = [made.get(node, node) for node in graph.nodes]
        graph.replace({old: to for old, to in new.items() if old not in handed})
        graph.drop_dead()
        graph.sort()
    return len(made)


def _divides(node: Node, value: Value) -> bool:
    """Whether a node only divides by a value."""
    if node.op == "Reciprocal":
        return True
    return node.op == "Div" and node.inputs[1] is value and node.inputs[0] is not value and node.x.kind == value.kind


class Deviation(NamedTuple):
    """A standard deviation of x along axes: its mean (None: distances are from zero), the distances from it, epsilon."""

    x: Value
    axes: tuple[int, ...]
    mean: Value | None
    distances: Value
    epsilon: float


def deviation(sweep: Sweep, root: Node) -> Deviation | None:
    """What a root is the deviation of, or 1 over it."""
    variance, epsilon = sweep.maker(root.x), 0.0
    if variance is not None and variance.op == "Add" and len(variance.inputs) == 2:
        for i in (0, 1):
            if (number := scalar(variance.inputs[i])) is not None:
                epsilon, variance = number, sweep.maker(variance.inputs[1 - i])
                break
    square = sweep.maker(variance.x) if variance is not None and averages(variance) else None
    if variance is None or square is None or root.x.lengths != variance.y.lengths:
        return None
    if not (square.op == "Pow" and scalar(square.inputs[1]) == 2.0) and not (square.op == "Mul" and square.x is square.inputs[1]):
        return None
    axes, difference = reduced_axes(variance), sweep.maker(square.x)
    mean = sweep.maker(difference.inputs[1]) if difference is not None and difference.op == "Sub" else None
    if mean is not None and difference is not None and averages(mean) and mean.x is difference.x and reduced_axes(mean) == axes:
        return Deviation(mean.x, axes, mean.y, square.x, epsilon)
    return Deviation(square.x, axes, None, square.x, epsilon)


def averages(node: Node) -> bool:
    """Whether a node is a mean of floats, over axes that it keeps."""
    kept = bool(node.attributes.get("keepdims", 1)) and node.op == "ReduceMean"
    return kept and node.x.kind in (np.float32, np.float64) and math.prod(node.x.lengths) > 0 and bool(reduced_axes(node))
