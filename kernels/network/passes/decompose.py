"""Normalisations and softmax as reductions and element-by-element steps, which chains and reductions do fast; those along rows stay whole,
since they are done row by row in cache, and so do LSTMs.

Softmax(x) = e / sum(e), e = exp(x - max(x)); a layer, instance or group norm is (x - m) / sqrt(mean((x - m)^2) + eps) * gamma + beta.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container
from typing import Any

import numpy as np

from kernels.network.graph import Graph, Node, Value
from kernels.network.operators.folding import blocks
from kernels.network.operators.registry import OPERATORS, whole

FEW = 8  # more rows than these of no more numbers than these are taken apart: operations on whole lines cost less than a call a row
LONGEST = 4096  # numbers of a layer norm's row: sums of more are those of pieces, which moments take
PIECES = 32  # of a block that overlaps with others at most: each is a node or two


class Maker:
    """Makes the nodes that stand for one."""

    def __init__(self, graph: Graph, node: Node) -> None:
        self.graph, self.node, self.nodes = graph, node, list[Node]()

    def number(self, value: float) -> Value:
        return self.graph.constant(np.array(value, self.node.x.kind))

    def whole(self, *values: int) -> Value:
        return self.graph.constant(np.array(values, np.int64))

    def do(self, op: str, *inputs: Value, y: Value | None = None, **attributes: Any) -> Value:
        """Append a node; its value, in the shape that it gives."""
        node = Node(op, list(inputs), [y or Value(f"{self.node.y.name}.{op.lower()}{len(self.nodes)}")], attributes, self.node.name)
        if y is None:
            node.y.shape, node.y.dtype = OPERATORS[op].infer(node)[0]
        self.nodes.append(node)
        return node.y

    def reduce(self, op: str, x: Value, axes: list[int]) -> Value:
        """A reduction that keeps its axes."""
        return self.do(op, x, self.whole(*axes), keepdims=1)

    def moments(self, x: Value, axes: list[int], epsilon: float, factors: Any = None, to: tuple[int, ...] | None = None) -> list[Value]:
        """Mean and 1 / deviation: along axes that are kept, or groups' in this shape, which repeats them for each channel."""
        to = to or tuple(1 if axis in axes else n for axis, n in enumerate(x.lengths))
        made = [Value(f"{self.node.y.name}.{name}", to, x.dtype) for name in ("mean", "scale")]
        if factors is not None and (factors == 1).all():
            factors = None
        attributes = {"axes": axes, "epsilon": float(epsilon), "factors": factors, "shape": to}
        self.nodes.append(Node("Moments", [x], made, attributes, self.node.name))
        return made

    def scaled(self, x: Value, gamma: Value | None, beta: Value | None) -> None:
        """The node's value: x * gamma + beta, what changes nothing left out."""
        ops = [("Mul", gamma, 1), ("Add", beta, 0)]
        left = [(op, by) for op, by, same in ops if by is not None and not (by.data is not None and (by.data == same).all())]
        for op, by in left[:-1]:
            x = self.do(op, x, by)
        last, inputs = (left[-1][0], [x, left[-1][1]]) if left else ("Identity", [x])
        self.do(last, *inputs, y=self.node.y)

    def along_channels(self, numbers: Value, rank: int) -> Value:
        """Numbers per channel (axis 1) so that they broadcast."""
        if numbers.data is not None:
            return self.graph.constant(numbers.data.reshape(-1, *[1] * (rank - 2)))
        return self.do("Reshape", numbers, self.whole(-1, *[1] * (rank - 2)))


def rewritten(graph: Graph, ops: Container[str], write: Callable[[Maker, Node], bool]) -> int:
    """How many nodes of these operators became others. write: makes those that stand for one, or returns False."""
    nodes: list[Node] = []
    changed = 0
    for node in graph.nodes:
        maker = Maker(graph, node)
        if node.op in ops and write(maker, node):
            nodes += maker.nodes
            changed += 1
        else:
            nodes.append(node)
    graph.nodes = nodes
    return changed


def decompose(graph: Graph) -> int:
    """How many nodes became others."""

    def write(maker: Maker, node: Node) -> bool:
        if len(node.outputs) != 1 or node.x.kind.kind != "f" or not math.prod(node.x.lengths):
            return False
        return _WRITERS[node.op](maker, node)

    return rewritten(graph, _WRITERS, write)


def row_axes(node: Node) -> tuple[int, ...] | None:
    """The last axes, along which a softmax or a layer norm goes as one step row by row; None where it is taken apart."""
    x, rank = node.x, len(node.x.lengths)
    axis = int(node.attributes.get("axis", -1)) % max(rank, 1)
    axes = tuple(range(axis, rank))
    rows, length = math.prod(x.lengths[:axis]), math.prod(x.lengths[axis:])
    if x.kind not in (np.float32, np.float64) or len(node.outputs) != 1 or not rows * length or length <= FEW < rows:
        return None
    if node.op == "Softmax":
        return axes if axis == rank - 1 or node.attributes.get("flattened") else None
    numbers = [each for each in node.inputs[1:] if each is not None]
    return axes if length <= LONGEST and all(_of_one_row(each, rank - axis, length) for each in numbers) else None


def _of_one_row(numbers: Value, axes: int, length: int) -> bool:
    """Whether they are constants, one for each number of a row that has so many axes: the same for all rows."""
    return numbers.data is not None and numbers.data.size == length == math.prod(numbers.lengths[-axes:])


def _softmax(m: Maker, node: Node) -> bool:
    if row_axes(node) is not None:
        return False
    x, rank = node.x, len(node.x.lengths)
    axis = int(node.attributes.get("axis", -1)) % rank
    axes = list(range(axis, rank)) if node.attributes.get("flattened") else [axis]
    e = m.do("Exp", m.do("Sub", x, m.reduce("ReduceMax", x, axes)))
    m.do("Div", e, m.reduce("ReduceSum", e, axes), y=node.y)
    return True


def _log_softmax(m: Maker, node: Node) -> bool:
    x, rank = node.x, len(node.x.lengths)
    axis = int(node.attributes.get("axis", -1)) % rank
    axes = list(range(axis, rank)) if node.attributes.get("flattened") else [axis]
    shifted = m.do("Sub", x, m.reduce("ReduceMax", x, axes))
    m.do("Sub", shifted, m.do("Log", m.reduce("ReduceSum", m.do("Exp", shifted), axes)), y=node.y)
    return True


def _normal(m: Maker, x: Value, axes: list[int], epsilon: float, factors: Any = None) -> Value:
    """(x - mean) / deviation over some axes; factors: numbers along the first two axes to multiply by."""
    mean, scale = m.moments(x, axes, epsilon, factors)
    return m.do("Mul", m.do("Sub", x, mean), scale)


def _layer_norm(m: Maker, node: Node) -> bool:
    if row_axes(node) is not None:
        return False
    rank = len(node.x.lengths)
    axes = list(range(int(node.attributes.get("axis", -1)) % rank, rank))
    gamma, beta = node.inputs[1], node.inputs[2] if len(node.inputs) > 2 else None
    assert gamma is not None
    normal = _normal(m, node.x, axes, node.attributes.get("epsilon", 1e-5))
    m.scaled(normal, gamma, beta)
    return True


def _rms_norm(m: Maker, node: Node) -> bool:
    if row_axes(node) is not None:
        return False
    x, rank, gamma = node.x, len(node.x.lengths), node.inputs[1]
    assert gamma is not None
    axes = list(range(int(node.attributes.get("axis", -1)) % rank, rank))
    spread = m.reduce("ReduceMean", m.do("Mul", x, x), axes)
    root = m.do("Sqrt", m.do("Add", spread, m.number(node.attributes.get("epsilon", 1e-5))))
    m.do("Mul", m.do("Div", x, root), gamma, y=node.y)
    return True


def _instance_norm(m: Maker, node: Node) -> bool:
    rank = len(node.x.lengths)
    _, gamma, beta = node.inputs
    assert gamma is not None and beta is not None
    axes, epsilon = list(range(2, rank)), node.attributes.get("epsilon", 1e-5)
    if gamma.data is None:
        m.scaled(_normal(m, node.x, axes, epsilon), m.along_channels(gamma, rank), m.along_channels(beta, rank))
    else:
        m.scaled(_normal(m, node.x, axes, epsilon, gamma.data), None, m.along_channels(beta, rank))
    return True


def _group_norm(m: Maker, node: Node) -> bool:
    """Moments are taken of groups and written for each channel, so that all else sees the shape that neighbours see."""
    shape, groups = node.x.lengths, int(node.attributes["num_groups"])
    _, gamma, beta = node.inputs
    if gamma is None or beta is None or gamma.data is None or beta.data is None:
        return False
    grouped = m.do("Reshape", node.x, m.whole(shape[0], groups, -1))
    factors, shifts = (np.repeat(each, shape[1] // len(each)) for each in (gamma.data, beta.data))
    to = (*shape[:2], *[1] * (len(shape) - 2))
    mean, scale = m.moments(grouped, [2], node.attributes.get("epsilon", 1e-5), factors, to)
    m.scaled(m.do("Mul", m.do("Sub", node.x, mean), scale), None, m.along_channels(m.graph.constant(shifts), len(shape)))
    return True


def _reduce_l2(m: Maker, node: Node) -> bool:
    """Norms and sums of squares: the squares in a chain, the sum after it."""
    x = node.x
    first = m.do("Abs", x) if node.op == "ReduceL1" else m.do("Mul", x, x)
    rest = [each for each in node.inputs[1:] if each is not None]
    if node.op in ("ReduceSumSquare", "ReduceL1"):
        m.do("ReduceSum", first, *rest, y=node.y, **node.attributes)
    else:
        m.do("Sqrt", m.do("ReduceSum", first, *rest, **node.attributes), y=node.y)
    return True


def _tile(m: Maker, node: Node) -> bool:
    """Repeats along an axis are an axis of their own before it, which views see as often as is asked."""
    repeats = whole(node, 1)
    if repeats is None or 0 in repeats:
        return False
    pairs = list(zip(repeats, node.x.lengths))
    apart = m.do("Reshape", node.x, m.whole(*(each for times, n in pairs for each in ((1, n) if times > 1 < n else (n,)))))
    seen = m.do("Expand", apart, m.whole(*(each for times, n in pairs for each in ((times, n) if times > 1 < n else (times * n,)))))
    m.do("Reshape", seen, m.whole(*node.y.lengths), y=node.y)
    return True


def _col2im(m: Maker, node: Node) -> bool:
    """Overlap-add along one axis: pieces of blocks, each as long as blocks are apart, lie side by side; sums of so many lines."""
    b = blocks(node)
    long = [i for i, size in enumerate(b.image) if size > 1 or b.before[i] or b.behind[i]]
    if len(long) != 1 or b.dilations[long[0]] != 1 or b.block[long[0]] % b.strides[long[0]] or math.prod(b.block) != b.block[long[0]]:
        return False
    axis = long[0]
    image, block, apart, count, before = (each[axis] for each in (b.image, b.block, b.strides, b.counts, b.before))
    n, channels, pieces = node.x.lengths[0], node.x.lengths[1] // block, block // apart
    if pieces > PIECES:
        return False
    columns = m.do("Reshape", node.x, m.whole(n, channels, pieces, apart, count))
    total: Value | None = None
    for i in range(pieces):
        piece = m.do("Transpose", m.do("Slice", columns, m.whole(i), m.whole(i + 1), m.whole(2)), perm=[0, 1, 2, 4, 3])
        line = m.do("Reshape", piece, m.whole(n, channels, count * apart))
        behind = max(before + image - (i + count) * apart, (pieces - 1 - i) * apart)
        line = m.do("Pad", line, m.whole(0, 0, i * apart, 0, 0, behind))
        total = line if total is None else m.do("Add", total, line)
    assert total is not None
    m.do("Reshape", m.do("Slice", total, m.whole(before), m.whole(before + image), m.whole(2)), m.whole(*node.y.lengths), y=node.y)
    return True


_WRITERS = {
    "Softmax": _softmax, "LogSoftmax": _log_softmax, "LayerNormalization": _layer_norm, "RMSNormalization": _rms_norm,
    "SimplifiedLayerNormalization": _rms_norm, "InstanceNormalization": _instance_norm, "GroupNormalization": _group_norm,
    "ReduceL2": _reduce_l2, "ReduceL1": _reduce_l2, "ReduceSumSquare": _reduce_l2, "Tile": _tile, "Col2Im": _col2im,
}  # fmt: skip
