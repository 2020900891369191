"""Which axis of a model's values is time, and which nodes compute every position along it from that position alone."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection

import numpy as np

from kernels.network.graph import Graph, Node, Value
from kernels.network.operators.reducing import REDUCTIONS, reduced_axes
from kernels.network.operators.registry import of_node, whole
from kernels.network.operators.resizing import resized
from kernels.network.operators.shaping import RESHAPES, pad_pairs, slices, text
from kernels.problem.errors import RefusedError

TO_THE_END = 1 << 62
Axes = dict[Value, int]  # that of time of the values that have one


def axes_of_time(graph: Graph, other: Graph) -> Axes:
    """The axes of time of a graph's values: those whose lengths differ from another's, which is the same graph for a signal of another
    length. What told nodes these lengths is told in a way that any length has in common from then on. Raises RefusedError with the first
    node in which the graphs differ: cut or padded to a length, chosen or scaled by it."""
    axes: Axes = {}
    for ours, theirs in zip(graph.inputs, other.inputs):
        axes |= _differing(ours, theirs, "the model's input")
    others: Axes = {theirs: axes[ours] for ours, theirs in zip(graph.inputs, other.inputs) if ours in axes}
    for mine, its in itertools.zip_longest(graph.nodes, other.nodes):
        if mine is None or its is None or mine.attributes is not its.attributes:
            raise _by_length(its or mine)
        for ours, theirs in zip(mine.outputs, its.outputs):
            found = _differing(ours, theirs, f"{mine.label} ({mine.op})")
            axes |= found
            others |= dict.fromkeys([theirs] * len(found), found.get(ours, 0))
        _for_any_length(graph, mine, axes)
        _for_any_length(other, its, others)
        if not all(map(_alike, mine.inputs, its.inputs)):
            raise _by_length(its)
    return axes


def _by_length(node: Node) -> RefusedError:
    return RefusedError(
        f"{node.label} ({node.op}) depends on how long the signal is, which no stream knows; export the model without it, or with numbers"
        " that are the same for any length"
    )


def _differing(ours: Value, theirs: Value, where: str) -> Axes:
    """A value's axis of time, where it has one."""
    found = [i for i, (n, m) in enumerate(zip(ours.lengths, theirs.lengths)) if n != m]
    if len(found) > 1:
        raise RefusedError(f"{where} has time along axes {found} of shape {ours.lengths}: all positions at once, which a stream never has")
    return {ours: found[0]} if found else {}


def _alike(one: Value | None, other: Value | None) -> bool:
    """Whether two inputs are the same: the results of the same nodes, or equal numbers."""
    if one is None or other is None:
        return one is other
    if one.data is None or other.data is None:
        return one.data is other.data and one.name == other.name
    return one.data is other.data or np.array_equal(one.data, other.data, equal_nan=one.kind.kind == "f")


def _for_any_length(graph: Graph, node: Node, axes: Axes) -> None:
    """Tell a node its shape, end or size along time as what is left, so many before the end, or a factor."""
    at = axes.get(node.y) if node.outputs else None
    if at is None or node.x not in axes:
        return
    shape = list(node.y.lengths)
    if node.op == "Reshape":
        shape[at] = -1
        node.inputs = [node.x, graph.constant(shape, np.int64)]
    elif node.op == "Expand":
        shape[at] = 1
        node.inputs = [node.x, graph.constant(shape, np.int64)]
    elif node.op == "Slice":
        cuts, n = slices(node, node.x.lengths, [node.constant(i) for i in range(1, 5)]), node.x.lengths[axes[node.x]]
        cuts = [(i, start, (end - n or TO_THE_END) if i == axes[node.x] and step > 0 else end, step) for i, start, end, step in cuts]
        along, starts, ends, steps = (graph.constant(column, np.int64) for column in zip(*cuts))
        node.inputs = [node.x, starts, ends, along, steps]
    elif node.op == "Resize" and len(node.inputs) > 3 and "keep_aspect_ratio_policy" not in node.attributes:
        scales = resized(node)[1]
        which = [int(each) % len(shape) for each in node.attributes.get("axes", range(len(shape)))]
        node.inputs = [node.x, node.inputs[1], graph.constant([scales[i] for i in which], np.float32)]


def check_timewise(node: Node, axes: Axes) -> None:
    """Raise RefusedError unless a node computes every position along time from the same position of all that it reads."""
    for value in node.inputs:
        if value is not None and value.data is None and value not in axes:
            raise RefusedError(f"{node.label} ({node.op}) reads {value.name}, which is computed of the whole signal")
    if node.y not in axes:
        raise RefusedError(f"{node.label} ({node.op}) makes one number of all positions along time; a stream never has all of them")
    mixes = _mixed(node)
    if mixes is None:
        raise RefusedError(f"{node.label} ({node.op}) does not stream: it is not known to take every position along time for itself")
    for i, value in enumerate(node.inputs):
        if value in axes and axes[value] in (each % len(value.lengths) for each in mixes(node, i)):
            raise RefusedError(
                f"{node.label} ({node.op}) works along axis {axes[value]} of shape {value.lengths}, which is time; a stream never has all"
                " of it"
            )
    if node.op in RESHAPES:
        _check_reshape(node, axes[node.x], axes[node.y])


def _check_reshape(node: Node, at: int, to: int) -> None:
    """Positions along time must stay in their order, and what each becomes must lie together."""
    before, after = node.x.lengths, node.y.lengths
    if math.prod(before[:at]) != math.prod(after[:to]) or after[to] % before[at]:
        raise RefusedError(f"{node.label} ({node.op}) from shape {before} to {after} mixes time (axis {at}) with other axes")


def multiple(node: Node, axes: Axes) -> int:
    """How many positions along time a node makes of one."""
    return node.y.lengths[axes[node.y]] // node.x.lengths[axes[node.x]] if node.op in (*RESHAPES, "Resize") and node.x in axes else 1


Mixes = Callable[[Node, int], Collection[int]]  # the axes of input i along which a node does more than take every position for itself


def _mixed(node: Node) -> Mixes | None:
    """None: it is not known."""
    known = of_node(node)
    if known is not None and known.elementwise:
        return _none
    return _MIXED.get(node.op)


def _none(node: Node, i: int) -> Collection[int]:
    return ()


def _from_axis(node: Node, i: int) -> Collection[int]:
    rank = len(node.x.lengths)
    return range(node.attributes.get("axis", -1) % rank, rank)


def _softmax(node: Node, i: int) -> Collection[int]:
    return _from_axis(node, i) if node.attributes.get("flattened") else (node.attributes.get("axis", -1),)


def _channels(node: Node, i: int) -> Collection[int]:
    return (1,)


def _but_batch(node: Node, i: int) -> Collection[int]:
    value = node.inputs[i]
    return range(1, len(value.lengths)) if value else ()


def _product(node: Node, i: int) -> Collection[int]:
    value = node.inputs[i]
    return (-1,) if value is None or i == 0 or len(value.lengths) == 1 else (-2,)


def _gemm(node: Node, i: int) -> Collection[int]:
    turned = bool(node.attributes.get("transA" if i == 0 else "transB"))
    return () if i == 2 else (int(turned if i else not turned),)


def _einsum(node: Node, i: int) -> Collection[int]:
    """Axes whose letter the result does not have, or which stands for an axis more."""
    terms, _, result = text(node.attributes["equation"]).replace(" ", "").partition("->")
    term = terms.split(",")[i]
    if "..." in terms or not result:
        return range(len(term))
    return [at for at, letter in enumerate(term) if letter not in result or term.count(letter) > 1]


def _along(node: Node, i: int) -> Collection[int]:
    return (node.attributes.get("axis", 0),) if i == 0 or node.op == "Concat" else ()


def _sliced(node: Node, i: int) -> Collection[int]:
    cuts = slices(node, node.x.lengths, [node.constant(k) for k in range(1, 5)])
    return [at for at, start, end, step in cuts if (start, end, step) != (0, node.x.lengths[at], 1)]


def _padded(node: Node, i: int) -> Collection[int]:
    return [at for at, pair in enumerate(pad_pairs(node, len(node.x.lengths))) if any(pair)]


def _tiled(node: Node, i: int) -> Collection[int]:
    return [at for at, times in enumerate(whole(node, 1) or ()) if times != 1]


def _scaled(node: Node, i: int) -> Collection[int]:
    """Axes of another length but those whose numbers are repeated."""
    scales = resized(node)[1]
    repeats = text(node.attributes.get("mode", "nearest")) == "nearest" and not node.attributes.get("antialias")
    how = text(node.attributes.get("coordinate_transformation_mode", "half_pixel"))
    floors = text(node.attributes.get("nearest_mode", "round_prefer_floor")) == ("floor" if how == "asymmetric" else "round_prefer_floor")
    repeats = repeats and floors and how in ("asymmetric", "half_pixel")
    return [at for at, scale in enumerate(scales) if scale != 1 and not (repeats and scale > 1 and float(scale).is_integer())]


def _steps(node: Node, i: int) -> Collection[int]:
    """A recurrence whose steps are not time."""
    return (1, 2) if node.attributes.get("layout") else (0, 2)


_MIXED: dict[str, Mixes] = {
    **dict.fromkeys((*RESHAPES, "Transpose", "Expand"), _none),
    **dict.fromkeys(REDUCTIONS, lambda node, i: reduced_axes(node)),
    **dict.fromkeys(("Softmax", "LogSoftmax"), _softmax),
    **dict.fromkeys(("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization"), _from_axis),
    "LpNormalization": lambda node, i: (node.attributes.get("axis", -1),),
    "BatchNormalization": _channels,
    **dict.fromkeys(("Conv", "ConvTranspose", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "InstanceNormalization",
                     "GroupNormalization"), _but_batch),
    "MatMul": _product, "Gemm": _gemm, "Einsum": _einsum, "Slice": _sliced, "Pad": _padded, "Tile": _tiled, "Resize": _scaled,
    **dict.fromkeys(("Concat", "Gather", "Split", "ArgMax", "ArgMin"), _along),
    **dict.fromkeys(("LSTM", "GRU", "RNN"), _steps),
}  # fmt: skip
