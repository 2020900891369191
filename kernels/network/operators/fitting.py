"""Shapes that a node's later inputs must have beside its first (https://onnx.ai/onnx/operators).

Whatever computes a node trusts them: compiled code reads as many numbers as go with the first input, and NumPy broadcasts what does
not fit.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

from kernels.network.graph import Node
from kernels.network.operators.recurrent import GATES
from kernels.network.operators.registry import axis, whole
from kernels.network.operators.shaping import text
from kernels.problem.errors import ProblemError

Lengths = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Broadcast:
    """What broadcasts to this shape without making it larger."""

    to: Lengths

    def __str__(self) -> str:
        return f"a shape that broadcasts to {self.to}"


@dataclasses.dataclass(frozen=True)
class Numbers:
    """So many numbers, in whatever shape."""

    count: int

    def __str__(self) -> str:
        return f"{self.count} number{'s' if self.count > 1 else ''}"


Wanted = dict[int, tuple[Lengths | Broadcast | Numbers, ...]]  # what an input may be, by its place


def _fits(found: Lengths, wanted: Lengths | Broadcast | Numbers) -> bool:
    if isinstance(wanted, Numbers):
        return math.prod(found) == wanted.count
    if isinstance(wanted, Broadcast):
        behind = wanted.to[max(len(wanted.to) - len(found), 0) :]
        return len(found) == len(behind) and all(n in (1, m) for n, m in zip(found, behind))
    return found == wanted


def _per_channel(node: Node) -> Wanted:
    shape, least = node.x.lengths, 1 if node.op == "BatchNormalization" else 2
    if len(shape) < least:
        raise ProblemError(f"{node.op} {node.label!r}: x has {len(shape)} axes, must have {least} or more")
    return dict.fromkeys(range(1, len(node.inputs)), ((shape[1] if len(shape) > 1 else 1,),))  # a row alone is one channel


def _per_group(node: Node) -> Wanted:
    channels, groups = node.x.lengths[1], int(node.attributes["num_groups"])
    if groups < 1 or channels % groups:
        raise ProblemError(f"{node.op} {node.label!r}: {channels} channels do not divide into num_groups={groups}")
    return {1: ((channels,), (groups,)), 2: ((channels,), (groups,))}  # opset 21, and 18


def _over_rows(node: Node) -> Wanted:
    return dict.fromkeys((1, 2), (Broadcast(node.x.lengths),))  # they may differ from row to row


def _added(node: Node) -> Wanted:
    a, b = (node.inputs[i].lengths for i in (0, 1))  # type: ignore[union-attr]
    return {2: (Broadcast((a[1 if node.attributes.get("transA") else 0], b[0 if node.attributes.get("transB") else 1])),)}


def _window(node: Node) -> Wanted:
    """Weights whose taps are as many as the node says; all else about them is checked with the layer."""
    weight, taps = node.inputs[1].lengths, node.attributes.get("kernel_shape")  # type: ignore[union-attr]
    return {} if taps is None else {1: ((*weight[:2], *taps),)}


def _recurrent(node: Node) -> Wanted:
    steps, batch, width = node.x.lengths
    if node.attributes.get("layout"):
        steps, batch = batch, steps
    directions = 2 if text(node.attributes.get("direction", "forward")) == "bidirectional" else 1
    hidden, gates = int(node.attributes.get("hidden_size", node.inputs[2].lengths[-1])), GATES[node.op]  # type: ignore[union-attr]
    state = (batch, directions, hidden) if node.attributes.get("layout") else (directions, batch, hidden)
    return {
        1: ((directions, gates * hidden, width),), 2: ((directions, gates * hidden, hidden),), 3: ((directions, 2 * gates * hidden),),
        4: ((batch,),), 5: (state,), 6: (state,), 7: ((directions, 3 * hidden),),
    }  # fmt: skip


def _padded(node: Node) -> Wanted:
    axes = whole(node, 3)
    return {1: (Numbers(2 * len(node.x.lengths if axes is None else axes)),), 2: (Numbers(1), (0,))}


def _sliced(node: Node) -> Wanted:
    starts = whole(node, 1)
    return {} if starts is None else {i: ((len(starts),),) for i in (2, 3, 4)}


def _quantised(node: Node) -> Wanted:
    shape, scale = node.x.lengths, node.inputs[1].lengths  # type: ignore[union-attr]
    if math.prod(scale) == 1:
        return {2: (Numbers(1),)}
    at, block = axis(node, int(node.attributes.get("axis", 1)), len(shape)), int(node.attributes.get("block_size", 0))
    several = (*shape[:at], -(-shape[at] // block), *shape[at + 1 :]) if block else shape[at : at + 1]
    return {1: (Numbers(1), several), 2: (scale,)}


def _scattered(node: Node) -> Wanted:
    indices = node.inputs[1].lengths  # type: ignore[union-attr]
    if node.op == "ScatterElements":
        return {2: (indices,)}
    return {2: ((*indices[:-1], *node.x.lengths[indices[-1] :]),)}


def _resized(node: Node) -> Wanted:
    axes = node.attributes.get("axes")
    count = len(node.x.lengths if axes is None else axes)
    wanted: Wanted = {2: (Numbers(count), (0,)), 3: (Numbers(count), (0,))}
    if text(node.attributes.get("coordinate_transformation_mode", "half_pixel")) == "tf_crop_and_resize":  # nobody else reads a region
        wanted[1] = (Numbers(2 * count),)
    return wanted


def _permuted(node: Node) -> Wanted:
    perm, rank = node.attributes.get("perm"), len(node.x.lengths)
    if perm and sorted(perm) != list(range(rank)):  # NumPy takes -1 for the last, which passes do not
        raise ProblemError(f"{node.op} {node.label!r}: perm is {list(perm)}, must have each axis of x once, 0 to {rank - 1}")
    return {}


def _one_each(node: Node) -> Wanted:
    return {i: (Numbers(1),) for i in range(1, len(node.inputs))}


WANTED: dict[str, Callable[[Node], Wanted]] = {
    **dict.fromkeys(("BatchNormalization", "InstanceNormalization"), _per_channel),
    **dict.fromkeys(("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization"), _over_rows),
    **dict.fromkeys(("LSTM", "GRU", "RNN"), _recurrent),
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), _quantised),
    **dict.fromkeys(("ScatterElements", "ScatterND"), _scattered),
    **dict.fromkeys(("Conv", "ConvTranspose"), _window),
    **dict.fromkeys(("Clip", "CumSum", "Trilu", "TopK"), _one_each),
    "GroupNormalization": _per_group, "Gemm": _added, "Pad": _padded, "Slice": _sliced, "Resize": _resized,
    "Transpose": _permuted,
    "Tile": lambda node: {1: ((len(node.x.lengths),),)},
    "ReverseSequence": lambda node: {1: ((node.x.lengths[int(node.attributes.get("batch_axis", 1))],),)},
    "OneHot": lambda node: {1: (Numbers(1),), 2: ((2,),)},
}  # fmt: skip


def check_inputs(node: Node) -> None:
    """Raises ProblemError that names the input, its shape, and the shapes that it may have."""
    for i, allowed in (WANTED[node.op](node) if node.op in WANTED else {}).items():
        value = node.inputs[i] if i < len(node.inputs) else None
        if value is not None and not any(_fits(value.lengths, each) for each in allowed):
            said = " or ".join(dict.fromkeys(map(str, allowed)))
            raise ProblemError(f"{node.op} {node.label!r}: input {i} has shape {value.lengths}, must have {said}")
