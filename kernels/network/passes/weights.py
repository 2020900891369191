"""Layers with constant weights carry them: Conv and ConvTranspose keep their name, products with a constant matrix become Linear.

A node then reads x alone; `weight` and `bias` are attributes, so that later passes can change them. Linear has weight (out, in) and an
`axis`, -1 or -2: the axis of x that is summed over and in whose place the outputs stand.
"""

from __future__ import annotations

import numpy as np

from kernels.network.graph import Graph, Node, Value
from kernels.runtime.constants import made


def hold_weights(graph: Graph) -> int:
    """How many nodes carry their weights now."""
    changed = 0
    nodes: list[Node] = []
    for node in graph.nodes:
        held = _conv(node) or _matmul(node) or _gemm(graph, node)
        changed += bool(held)
        nodes += held or [node]
    graph.nodes = nodes
    return changed


def _conv(node: Node) -> list[Node] | None:
    if node.op not in ("Conv", "ConvTranspose") or "weight" in node.attributes:
        return None
    weight, bias = node.constant(1), node.constant(2)
    if weight is None or (bias is None and len(node.inputs) > 2 and node.inputs[2] is not None):
        return None
    return [Node(node.op, [node.x], node.outputs, {**node.attributes, "weight": weight, "bias": bias}, node.name)]


def _linear(node: Node, x: Value, weight: np.ndarray, bias: np.ndarray | None, axis: int, y: Value | None = None) -> Node:
    return Node("Linear", [x], [y or node.y], {"weight": weight, "bias": bias, "axis": axis}, node.name)


def _matmul(node: Node) -> list[Node] | None:
    if node.op != "MatMul" or node.y.kind.kind != "f":
        return None
    left, right = node.inputs
    assert left is not None and right is not None
    if right.data is not None and left.data is None and len(left.lengths) >= 2 and _flat(right.data):
        return [_linear(node, left, right.data.reshape(right.lengths[-2:]).T, None, -1)]
    if left.data is not None and right.data is None and _flat(left.data) and len(right.lengths) >= len(left.lengths):
        return [_linear(node, right, left.data.reshape(left.lengths[-2:]), None, -2)]
    return None


def _flat(matrix: np.ndarray) -> bool:
    """Whether it is one matrix with numbers in it, maybe with axes of length 1 before it."""
    return matrix.ndim >= 2 and 0 < matrix.size == matrix.shape[-1] * matrix.shape[-2]


def _gemm(graph: Graph, node: Node) -> list[Node] | None:
    matrix, added, attributes = node.constant(1), node.inputs[2] if len(node.inputs) > 2 else None, node.attributes
    if node.op != "Gemm" or matrix is None or not matrix.size or node.y.kind.kind != "f":
        return None
    kind, alpha = node.y.kind.type, float(attributes.get("alpha", 1.0))
    weight = matrix if attributes.get("transB") else matrix.T
    if alpha != 1:
        weight = made((_gemm, alpha, kind), lambda plain: plain * kind(alpha), weight)
    nodes, x = [], node.x
    if attributes.get("transA"):
        turned = Value(f"{x.name}.T", x.lengths[::-1], x.dtype)
        nodes.append(Node("Transpose", [x], [turned], {"perm": [1, 0]}, node.name))
        x = turned
    beta = kind(attributes.get("beta", 1.0))
    if added is None:
        return [*nodes, _linear(node, x, weight, None, -1)]
    if added.data is not None and added.data.size in (1, len(weight)) and (added.data.ndim < 2 or added.lengths[0] == 1):
        bias = np.broadcast_to(added.data.reshape(-1) * beta, (len(weight),))
        return [*nodes, _linear(node, x, weight, bias, -1)]
    product = Value(f"{node.y.name}.product", node.y.shape, node.y.dtype)
    nodes.append(_linear(node, x, weight, None, -1, product))
    if beta != 1:
        scaled = Value(f"{added.name}.scaled", added.shape, added.dtype)
        nodes.append(Node("Mul", [added, graph.constant(np.full(1, beta))], [scaled], {}, node.name))
        added = scaled
    return [*nodes, Node("Add", [product, added], [node.y], {}, node.name)]
