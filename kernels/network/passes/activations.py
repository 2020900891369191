"""Activations that are written out in other operators get their name: LeakyRelu as Max(x, a x), SiLU as x sigmoid(x), GELUs."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from kernels.network.chains import scalar
from kernels.network.graph import Graph, Node, Value
from kernels.network.passes.sweep import Sweep


def named_activations(graph: Graph) -> int:
    """How many activations got their name."""
    sweep = Sweep(graph)
    for node in graph.nodes:
        found = _silu(sweep, node) or _leaky(sweep, node) or _hard(sweep, node) or _gelu(sweep, node) or _relu(node)
        if found:
            node.op, node.attributes, x = found
            node.inputs = [x]
            sweep.changed += 1
    graph.drop_dead()
    return sweep.changed


Found = tuple[str, dict[str, object], Value]


def _other(node: Node, maker: Node) -> Value | None:
    """The other argument of a node of two, of which one comes from `maker`."""
    a, b = node.inputs
    return b if a is maker.y else a


def _makers(sweep: Sweep, node: Node, op: str) -> list[Node]:
    """What makes the arguments of a node, where that is this operator."""
    found = [sweep.maker(value) for value in node.inputs]
    return [each for each in found if each is not None and each.op == op]


def _silu(sweep: Sweep, node: Node) -> Found | None:
    for maker in _makers(sweep, node, "Sigmoid") if node.op == "Mul" and len(node.inputs) == 2 else []:
        x = _other(node, maker)
        if x is maker.x and x.kind.kind == "f":
            return "Swish", {"alpha": 1.0}, x
    return None


def _leaky(sweep: Sweep, node: Node) -> Found | None:
    """Max(x, a x) with 0 <= a <= 1, and PRelu with one number."""
    if node.op == "PRelu" and (number := scalar(node.inputs[1])) is not None and node.x.lengths == node.y.lengths:
        return "LeakyRelu", {"alpha": number}, node.x
    for maker in _makers(sweep, node, "Mul") if node.op == "Max" and len(node.inputs) == 2 else []:
        x = _other(node, maker)
        for i in (0, 1):
            a = scalar(maker.inputs[1 - i])
            if x is maker.inputs[i] and x is not None and a is not None and 0 <= a <= 1:
                return "LeakyRelu", {"alpha": a}, x
    return None


def _hard(sweep: Sweep, node: Node) -> Found | None:
    """Clip(x + 3, 0, 6) / 6 is HardSigmoid; that times x, before or after the division, HardSwish."""
    for maker in _makers(sweep, node, "HardSigmoid") if node.op == "Mul" and len(node.inputs) == 2 else []:
        x = _other(node, maker)
        if x is maker.x and math.isclose(maker.attributes.get("alpha", 0.2), 1 / 6, rel_tol=1e-4):
            return "HardSwish", {}, x
    sixth = _sixth(node)
    if sixth is None:
        return None
    clip = sweep.maker(sixth)
    if (x := _clipped(sweep, clip)) is not None:
        return "HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}, x
    for maker in _makers(sweep, clip, "Clip") if clip is not None and clip.op == "Mul" else []:
        x = _clipped(sweep, maker)
        if x is not None and _other(clip, maker) is x:  # type: ignore[arg-type]
            return "HardSwish", {}, x
    return None


def _sixth(node: Node) -> Value | None:
    """What a node divides by six."""
    if node.op == "Div" and scalar(node.inputs[1]) == 6:
        return node.x
    if node.op == "Mul":
        for i in (0, 1):
            number = scalar(node.inputs[i])
            if number is not None and math.isclose(number, 1 / 6, rel_tol=1e-4):
                return node.inputs[1 - i]
    return None


def _clipped(sweep: Sweep, clip: Node | None) -> Value | None:
    """x of Clip(x + 3, 0, 6)."""
    if clip is None or clip.op != "Clip" or list(map(scalar, clip.inputs[1:])) != [0.0, 6.0]:
        return None
    add = sweep.maker(clip.x)
    if add is None or add.op != "Add":
        return None
    i = 0 if scalar(add.inputs[0]) == 3 else 1
    x = add.inputs[1 - i]
    return x if scalar(add.inputs[i]) == 3 and x is not None and x.kind.kind == "f" and x.lengths == add.y.lengths else None


def _relu(node: Node) -> Found | None:
    """Max(x, 0), and Clip from 0 up."""
    if node.op == "Max" and len(node.inputs) == 2:
        for i in (0, 1):
            value = node.inputs[i]
            if scalar(node.inputs[1 - i]) == 0 and value is not None and value.lengths == node.y.lengths and value.kind.kind == "f":
                return "Relu", {}, value
    if node.op == "Clip" and node.inputs[2:] in ([], [None]) and scalar((node.inputs + [None])[1]) == 0 and node.x.kind.kind == "f":
        return "Relu", {}, node.x
    return None


def _gelu(sweep: Sweep, node: Node) -> Found | None:
    """x * (1 + erf(x / sqrt(2))) / 2, or with tanh(sqrt(2 / pi) * (x + 0.044715 x^3)), in any order of the products."""
    if node.op != "Mul":
        return None
    factors: list[Value] = []
    waiting, number = [node], 1.0
    while waiting:
        for value in waiting.pop().inputs:
            maker = sweep.maker(value)
            if maker is not None and maker.op == "Mul" and sweep.alone(maker.y) and len(factors) < 4:
                waiting.append(maker)
            elif (known := scalar(value)) is not None:
                number *= known
            elif value is not None:
                factors.append(value)
    if len(factors) != 2 or not math.isclose(number, 0.5, rel_tol=1e-4):
        return None
    for x, other in (factors, factors[::-1]):
        add = sweep.maker(other)
        if add is None or add.op != "Add" or 1.0 not in map(scalar, add.inputs) or x.kind != np.dtype(node.y.kind):
            continue
        inner = next((maker for maker in map(sweep.maker, add.inputs) if maker is not None and maker.op in ("Erf", "Tanh")), None)
        wanted = _INSIDE.get(inner.op) if inner is not None else None
        found = _evaluated(sweep, inner.x, x) if inner is not None else None
        if inner is not None and wanted is not None and found is not None and np.allclose(found, wanted, rtol=1e-4):
            return "Gelu", {"approximate": "none" if inner.op == "Erf" else "tanh"}, x
    return None


_POINTS = np.array([-3.0, -1.0, -0.1, 0.2, 1.5, 4.0])
_INSIDE = {"Erf": _POINTS * math.sqrt(0.5), "Tanh": math.sqrt(2 / math.pi) * (_POINTS + 0.044715 * _POINTS**3)}


def _evaluated(sweep: Sweep, value: Value, x: Value, left: int = 8) -> np.ndarray | None:
    """What products, sums and powers of x with numbers give at _POINTS; None where there is more in a value."""
    if value is x:
        return _POINTS
    maker, known = sweep.maker(value), scalar(value)
    if known is not None:
        return np.full_like(_POINTS, known)
    if maker is None or maker.op not in _ARITHMETIC or len(maker.inputs) != 2 or left == 0:
        return None
    parts = [None if each is None else _evaluated(sweep, each, x, left - 1) for each in maker.inputs]
    if parts[0] is None or parts[1] is None:
        return None
    with np.errstate(all="ignore"):
        found: np.ndarray = _ARITHMETIC[maker.op](*parts)
    return found


_ARITHMETIC: dict[str, Callable[..., np.ndarray]] = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide, "Pow": np.power,
}  # fmt: skip
