"""Fourier transforms of frames that are written as smaller products become STFT.

Where an exporter has no operator for it, a transform of a b numbers is written as products with matrices of a and of b cosines and sines
and, between them, one with twiddle factors. How differs; what comes out does not: nodes that compute polynomials of single frames (products
with constants, sums, squares, moves) are computed here for a few frames of random numbers, and a value that is the real part, the
imaginary part or the power of their spectra is replaced. Polynomials that agree on random numbers agree on all (Schwartz and Zippel).
"""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np

from kernels.methods.fft.frames import transforms
from kernels.network.chains import scalar
from kernels.network.graph import Graph, Node, Value
from kernels.network.operators.registry import OPERATORS
from kernels.network.operators.shaping import RESHAPES, slices
from kernels.network.passes.framing import Framing, framing

Array = np.ndarray

LEAST, LONGEST = 64, 1 << 15  # numbers of a frame; shorter ones are not worth a pass over memory of their own, longer ones are signals
LARGEST = 1 << 20  # numbers of a constant; matrices of smaller transforms have fewer
PROBES = 3  # frames of random numbers
ALIKE = 2.0**-17  # of the largest number of a spectrum: how far products of float32 constants may be off
_POLYNOMIAL = ("MatMul", "Mul", "Add", "Sub", "Div", "Neg", "Pow", "Transpose", "Slice", *RESHAPES)


@dataclasses.dataclass(frozen=True)
class _Frames:
    """A value whose last axis may hold frames: (..., length)."""

    value: Value
    spectra: Array  # of the random frames

    @property
    def lead(self) -> int:
        return len(self.value.lengths) - 1


@dataclasses.dataclass(frozen=True)
class _Seen:
    """What a value holds for the random frames: (1, ..., PROBES, *axes of a frame)."""

    of: _Frames
    numbers: Array


def written_transforms(graph: Graph) -> int:
    """How many values are parts of spectra."""
    seen: dict[Value, _Seen] = {}
    made: dict[Value, tuple[Value, Value]] = {}
    nodes: list[Node] = []
    makers, changed = graph.makers(), 0
    for node in graph.nodes:
        if node.op == "Reshape" and node.x not in seen:
            _begin(node, seen)
        found = _follow(node, seen)
        part = found and _part(node.y, found)
        if found is not None and part:
            source = found.of.value
            if source not in made:
                made[source] = _transform(graph, nodes, framing(graph, source, makers))
            _write(graph, nodes, node, part, made[source])
            changed += 1
            continue
        if found is not None:
            seen[node.y] = found
        nodes.append(node)
    if changed:
        graph.nodes = nodes
        graph.drop_dead()
    return changed


def _begin(node: Node, seen: dict[Value, _Seen]) -> None:
    """A transform by smaller ones begins with a frame that is split in two axes."""
    x = node.x
    if x.data is not None or x.kind not in (np.float32, np.float64) or len(x.lengths) < 2:
        return
    lead, length = x.lengths[:-1], x.lengths[-1]
    axes = [n for n in node.y.lengths[len(lead) :] if n > 1]
    if not LEAST <= length <= LONGEST or not math.prod(lead) or node.y.lengths[: len(lead)] != lead or len(axes) < 2:
        return
    if transforms(length):
        frames, spectra = _random_frames(length, len(lead))
        seen[x] = _Seen(_Frames(x, spectra), frames)


@functools.lru_cache(maxsize=8)
def _random_frames(length: int, lead: int) -> tuple[Array, Array]:
    """Frames behind so many axes, and their spectra."""
    frames = np.random.default_rng(length).standard_normal((*[1] * (lead - 1), PROBES, length))
    return frames, np.fft.rfft(frames)


def _follow(node: Node, seen: dict[Value, _Seen]) -> _Seen | None:
    """What a node makes of random frames; None where it is no polynomial of single ones."""
    given = [value for value in node.inputs if value is not None]
    known, others = [seen[value] for value in given if value in seen], [value.data for value in given if value not in seen]
    if node.op not in _POLYNOMIAL or not known or any(data is None or data.size > LARGEST for data in others):
        return None
    of, lead, frames = known[0].of, known[0].of.lead, known[0].numbers.shape[: known[0].of.lead]
    if any(each.of is not of for each in known) or node.y.lengths[:lead] != of.value.lengths[:-1] or not _each_alone(node, seen, lead):
        return None
    if node.op in RESHAPES:
        return _Seen(of, known[0].numbers.reshape(*frames, *node.y.lengths[lead:]))
    arrays = [None if value is None else seen[value].numbers if value in seen else value.data for value in node.inputs]
    with np.errstate(all="ignore"):
        numbers = OPERATORS[node.op].compute(node, *arrays)
    return _Seen(of, numbers) if numbers.shape[:lead] == frames else None  # a slice may count frames


def _each_alone(node: Node, seen: dict[Value, _Seen], lead: int) -> bool:
    """Whether a node computes each frame by itself, and all alike."""
    rank = len(node.y.lengths)
    if node.op in RESHAPES:
        return True
    if node.op == "Transpose":
        order = node.attributes.get("perm") or range(rank)[::-1]
        return tuple(order)[:lead] == tuple(range(lead))
    if node.op == "Slice":
        cuts = slices(node, node.x.lengths, [node.constant(i) for i in (1, 2, 3, 4)])
        return node.x.lengths[:lead] == node.y.lengths[:lead] and all(step == 1 for axis, _, _, step in cuts if axis < lead)
    other = node.inputs[1] if len(node.inputs) > 1 else None
    if (node.op == "Pow" and scalar(other) != 2) or (node.op == "Div" and other in seen):
        return False
    if node.op == "MatMul" and other in seen and rank < lead + 2:
        return False
    axes = rank - lead  # of a frame
    return all(len(each.lengths) == rank if each in seen else _fits(each, axes) for each in node.inputs if each is not None)


def _fits(constant: Value, axes: int) -> bool:
    """Whether a constant has no more than so many axes, but for those of length 1 before them."""
    return math.prod(constant.lengths) == math.prod(constant.lengths[max(len(constant.lengths) - axes, 0) :])


def _part(y: Value, found: _Seen) -> str:
    """Which part of a spectrum a value is, in the order of frequencies; "" where it is none."""
    wanted = found.of.spectra
    if found.numbers.shape != wanted.shape:
        return ""
    parts = {"real": wanted.real, "imaginary": wanted.imag, "conjugate": -wanted.imag, "power": np.abs(wanted) ** 2}
    for name, part in parts.items():
        if np.abs(found.numbers - part).max() <= ALIKE * np.abs(part).max():
            return name
    return ""


def _transform(graph: Graph, nodes: list[Node], found: Framing) -> tuple[Value, Value]:
    """Real and imaginary parts, (1, frames, frequencies, 1) each."""
    signal, shape = found.signal, (1, found.frames, found.length // 2 + 1)
    nodes += found.nodes
    window = None if found.window is None else graph.constant(found.window, signal.kind)
    hop, length, halves = (graph.constant(numbers, np.int64) for numbers in ([found.hop], [found.length], [1, 1]))
    made = ("spectra", 2), ("real", 1), ("imaginary", 1)
    whole, *parts = (Value(f"{signal.name}.{name}", (*shape, count), signal.dtype) for name, count in made)
    nodes.append(Node("STFT", [signal, hop, window, length], [whole], {"onesided": 1}, whole.name))
    nodes.append(Node("Split", [whole, halves], parts, {"axis": 3}, whole.name))
    return parts[0], parts[1]


def _write(graph: Graph, nodes: list[Node], node: Node, part: str, spectrum: tuple[Value, Value]) -> None:
    """What makes the node's value of a spectrum."""
    shape = graph.constant(node.y.lengths, np.int64)

    def new(op: str, *inputs: Value) -> Value:
        nodes.append(Node(op, list(inputs), [Value(f"{node.y.name}.{op.lower()}", node.y.shape, node.y.dtype)], {}, node.label))
        return nodes[-1].y

    real, imaginary = (new("Reshape", each, shape) for each in spectrum)
    if part == "power":
        new("Add", new("Mul", real, real), new("Mul", imaginary, imaginary))
    elif part == "conjugate":
        new("Neg", imaginary)
    else:
        new("Identity", real if part == "real" else imaginary)
    nodes[-1].outputs = node.outputs
