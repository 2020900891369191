"""Only what is read of a value is computed: a slice goes back through what is element by element, transposed or reshaped, into the rows of
products, norms and softmax and the output channels of layers. A transform written as complex products makes all its frequencies, of which
the half is read that a real signal has; of a transformer's last block the first token's row is read where that stands for the whole.

One walk back finds for each value the box of indices that somebody reads; one walk on gives nodes and values their new lengths.
"""

from __future__ import annotations

import functools

import numpy as np

from kernels.network.chains import KNOWN
from kernels.network.graph import Graph, Node, Value
from kernels.network.operators.shaping import RESHAPES, slices
from kernels.network.passes.affine import channel_axis

Box = tuple[tuple[int, int], ...]  # start and stop on each axis
_ELEMENTWISE = KNOWN - {"CastLike"}
_BY_ROWS = ("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization", "Softmax", "LogSoftmax")


def narrow(graph: Graph) -> int:
    """How many nodes compute less."""
    if not any(node.op == "Slice" or _picked(node) is not None for node in graph.nodes) or any(_nested(node) for node in graph.nodes):
        return 0
    need: dict[Value, Box] = {value: _full(value) for value in graph.outputs.values()}
    made: dict[Value, Box] = {}
    wanted: dict[Node, list[Box | None]] = {}
    for node in reversed(graph.nodes):
        full = _full(node.y)
        box = need.get(node.y, full)
        if box == full and node.op != "Slice" and _picked(node) is None:  # all of it is made, of all that it reads
            need |= {value: _full(value) for value in node.inputs if value is not None}
            continue
        made[node.y], wanted[node] = _back(node, box)
        for value, part in zip(node.inputs, wanted[node]):
            if value is not None and part is not None:
                need[value] = tuple((min(a, c), max(b, d)) for (a, b), (c, d) in zip(need.get(value, part), part))
    less = {node for node in wanted if node.op != "Slice" and made[node.y] != _full(node.y)}
    if not less:
        return 0
    nodes: list[Node] = []
    for node in graph.nodes:
        for i, (value, part) in enumerate(zip(node.inputs, wanted.get(node, ()))):
            if value is not None and part is not None:
                node.inputs[i] = _fitted(graph, nodes, value, made.get(value), part)
        if node in less or node.op == "Slice" or _picked(node) is not None:
            _narrow(graph, node, made[node.y])
        nodes.append(node)
    for value, box in made.items():
        value.shape = tuple(stop - start for start, stop in box)
    graph.nodes = nodes
    return len(less)


def _nested(node: Node) -> bool:
    return any(isinstance(each, Graph) for each in node.attributes.values())


def _full(value: Value) -> Box:
    return _whole(value.lengths)


@functools.lru_cache(maxsize=1024)  # a model's values have few shapes, and are asked for theirs again and again
def _whole(lengths: tuple[int, ...]) -> Box:
    return tuple((0, n) for n in lengths)


def _back(node: Node, box: Box) -> tuple[Box, list[Box | None]]:
    """(what a node makes of its output where this box is read, what it reads of each input for that; None: all, as it is)."""
    all_of: list[Box | None] = [None if value is None else _full(value) for value in node.inputs]
    everything = _full(node.y), all_of
    picked = _picked(node)
    if len(node.outputs) > 1 or (box == _full(node.y) and node.op != "Slice" and picked is None) or 0 in node.y.lengths:
        return everything
    if picked is not None:
        axis, i = picked
        kept = [*box[:axis], *box[len(box) - (len(node.x.lengths) - axis - 1) :]]
        return box, [(*kept[:axis], (i, i + 1), *kept[axis:]), None]
    if node.op == "Slice":
        starts = _starts(node)
        if starts is None:
            return everything
        return box, [tuple((a + start, b + start) for (a, b), start in zip(box, starts)), *[None] * (len(node.inputs) - 1)]
    if node.op in _ELEMENTWISE:
        return box, [None if value is None else _broadcast(value, box) for value in node.inputs]
    if node.op == "Transpose":
        perm = [int(i) for i in node.attributes.get("perm") or range(len(box))[::-1]]
        return box, [tuple(box[perm.index(axis)] for axis in range(len(box)))]
    if node.op in RESHAPES:
        made, read = _through(node.x.lengths, node.y.lengths, box)
        return made, [read, *[None] * (len(node.inputs) - 1)]
    if node.op in ("Conv", "Linear") and "weight" in node.attributes and node.attributes.get("group", 1) == 1:
        axis = channel_axis(node) % len(box)
        if node.op == "Linear":
            return box, [tuple((0, n) if i == axis else part for i, (part, n) in enumerate(zip(box, node.x.lengths)))]
        return tuple(part if i == axis else (0, n) for i, (part, n) in enumerate(zip(box, node.y.lengths))), all_of
    if node.op in _BY_ROWS:
        first = int(node.attributes.get("axis", -1)) % len(box)
        made = (*box[:first], *((0, n) for n in node.y.lengths[first:]))
        return made, [None if value is None else _broadcast(value, made) for value in node.inputs]
    if node.op == "MatMul" and all(len(each.lengths) > 1 for each in node.inputs if each is not None):
        a, b = (each for each in node.inputs if each is not None)
        left = (*_broadcast(a, (*box[:-1], (0, a.lengths[-1])))[:-1], (0, a.lengths[-1]))
        right = (*_broadcast(b, (*box[:-2], (0, 1), box[-1]))[:-2], (0, b.lengths[-2]), box[-1])
        return box, [left, right]
    return everything


def _picked(node: Node) -> tuple[int, int] | None:
    """(axis, index) of a Gather of one constant index."""
    indices = node.constant(1) if node.op == "Gather" else None
    if indices is None or indices.size != 1 or not node.x.lengths:
        return None
    axis = int(node.attributes.get("axis", 0)) % len(node.x.lengths)
    return axis, int(indices.reshape(())) % max(node.x.lengths[axis], 1)


def _starts(node: Node) -> list[int] | None:
    """Where a slice starts on each axis; None where it steps."""
    given = [node.constant(i) for i in (1, 2, 3, 4)]
    if given[0] is None or given[1] is None:
        return None
    starts = [0] * len(node.x.lengths)
    for axis, start, _, step in slices(node, node.x.lengths, given):
        if step != 1:
            return None
        starts[axis] = start
    return starts


def _broadcast(value: Value, box: Box) -> Box:
    """What is read of an input that is broadcast to the box's axes."""
    return tuple((0, 1) if n == 1 else part for n, part in zip(value.lengths, box[len(box) - len(value.lengths) :]))


def _through(shape: tuple[int, ...], wanted: tuple[int, ...], box: Box) -> tuple[Box, Box]:
    """(made, read) of a reshape from `shape` to `wanted`: runs of axes with the same product are narrowed along their first."""
    made, read = [(0, n) for n in wanted], [(0, n) for n in shape]
    axes_in, axes_out = ([i for i, n in enumerate(lengths) if n != 1] for lengths in (shape, wanted))
    i = j = 0
    while i < len(axes_in) and j < len(axes_out):
        first_in, first_out = axes_in[i], axes_out[j]
        inside, outside = shape[first_in], wanted[first_out]
        i, j = i + 1, j + 1
        while inside != outside:
            if inside < outside:
                inside, i = inside * shape[axes_in[i]], i + 1
            else:
                outside, j = outside * wanted[axes_out[j]], j + 1
        behind_in, behind_out = inside // shape[first_in], outside // wanted[first_out]
        start, stop = box[first_out][0] * behind_out, box[first_out][1] * behind_out
        start, stop = start // behind_in, -(-stop // behind_in)
        if start * behind_in % behind_out == 0 and stop * behind_in % behind_out == 0:
            read[first_in] = start, stop
            made[first_out] = start * behind_in // behind_out, stop * behind_in // behind_out
    return tuple(made), tuple(read)


def _fitted(graph: Graph, nodes: list[Node], value: Value, made: Box | None, part: Box) -> Value:
    """A value, of which `made` is there, as the part that a node reads."""
    made = _full(value) if made is None else made
    if made == part:
        return value
    if value.data is not None:
        return graph.constant(np.ascontiguousarray(value.data[tuple(slice(*each) for each in part)]))
    y = Value(f"{value.name}.part", tuple(stop - start for start, stop in part), value.dtype)
    nodes.append(Node("Slice", [value, *_slicing(graph, part, made)], [y], {}, value.name))
    return y


def _slicing(graph: Graph, part: Box, made: Box) -> list[Value]:
    """Starts, ends and axes of a part of what is there."""
    starts, ends = [a - c for (a, _), (c, _) in zip(part, made)], [b - c for (_, b), (c, _) in zip(part, made)]
    return [graph.constant(np.array(each, np.int64)) for each in (starts, ends, range(len(part)), [1] * len(part))]


def _narrow(graph: Graph, node: Node, box: Box) -> None:
    """Let a node make this box of what it made."""
    lengths = tuple(stop - start for start, stop in box)
    if node.op == "Slice":
        if _starts(node) is not None:  # its input is the part already
            node.inputs[1:] = _slicing(graph, tuple((0, n) for n in lengths), tuple((0, n) for n in lengths))
    elif node.op == "Gather":  # its input is the one index, whatever it is read as
        assert node.inputs[1] is not None and node.inputs[1].data is not None
        node.inputs[1] = graph.constant(np.zeros_like(node.inputs[1].data))
    elif node.op in RESHAPES:
        node.op, node.attributes = "Reshape", {}
        node.inputs[1:] = [graph.constant(np.array(lengths, np.int64))]
    elif node.op in ("Conv", "Linear"):
        start, stop = box[channel_axis(node)]
        bias = node.attributes["bias"]
        weight = node.attributes["weight"][start:stop]
        node.attributes |= {"weight": weight, "bias": None if bias is None else bias[start:stop]}
