"""Element-by-element nodes as operations of a vector program: which nodes can be part of one, and what each becomes there."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kernels.network.graph import Node, Value
from kernels.network.operators.elementwise import slope
from kernels.network.operators.shaping import text

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
TRUTH = np.dtype(bool)
READ = (*FLOATS, TRUTH, np.dtype(np.int32), np.dtype(np.int64))  # what a program reads at its edge

_PLAIN = {
    "Abs": "abs", "Sqrt": "sqrt", "Exp": "exp", "Log": "log", "Sin": "sin", "Cos": "cos", "Erf": "erf", "Floor": "floor", "Ceil": "ceil",
    "Round": "round", "Sign": "sign", "Relu": "relu", "Sigmoid": "sigmoid", "Tanh": "tanh", "Not": "not", "IsNaN": "is_nan",
}  # fmt: skip
_SLOPED = {"LeakyRelu": "leaky_relu", "Elu": "elu", "ThresholdedRelu": "", "HardSigmoid": "", "Swish": "", "Celu": "", "Selu": ""}
_BINARY = {
    "Add": "add", "Sub": "sub", "Mul": "mul", "Div": "div", "Max": "max", "Min": "min", "Sum": "add", "Mean": "add", "Less": "less",
    "LessOrEqual": "less_equal", "Equal": "equal", "Greater": "less", "GreaterOrEqual": "less_equal", "And": "mul", "Or": "max",
    "Xor": "xor",
}  # fmt: skip
_OTHER = {"Reciprocal", "HardSwish", "Softplus", "Softsign", "Mish", "Gelu", "Clip", "PRelu", "Where", "Pow", "Cast", "CastLike",
          "Identity", "Neg"}  # fmt: skip
KNOWN = {*_PLAIN, *_SLOPED, *_BINARY, *_OTHER}


def scalar(value: Value | None) -> float | None:
    """The one number of a constant; None of anything else."""
    if value is None or value.data is None or value.data.size != 1:
        return None
    return float(value.data.reshape(()))


def computed(node: Node) -> np.dtype | None:
    """The float type that a node computes in as part of a program; None where it cannot be part of one."""
    if node.op not in KNOWN or len(node.outputs) != 1 or node.y.dtype not in (*FLOATS, TRUTH) or len(node.y.lengths) > 8:
        return None
    present = [each for each in node.inputs if each is not None]
    kinds = {each.kind for each in present}
    if node.op in ("Cast", "CastLike"):
        source = node.x.kind
        if source not in READ or (node.y.kind not in FLOATS and source not in FLOATS):
            return None
        return node.y.kind if node.y.kind in FLOATS else source
    floats = kinds & set(FLOATS)
    if not kinds <= {*FLOATS, TRUTH} or len(floats) > 1:
        return None
    if node.op == "Pow" and scalar(node.inputs[1]) is None:
        return None
    if node.op == "Clip" and any(each is not None and scalar(each) is None for each in node.inputs[1:]):
        return None
    return floats.pop() if floats else np.dtype(np.float32)  # truth alone is exact in either


class Chain:
    """Gathers the operations of nodes. `slot` numbers what comes in from outside; `emit` appends a node."""

    def __init__(self, dtype: np.dtype) -> None:
        self.dtype = dtype
        self.inputs: list[Value] = []
        self.operations: list[tuple[str, int, tuple[int, ...], float, float]] = []  # as `vector_program.Operation` takes them
        self._slots: dict[Value, int] = {}
        self._next = 0

    def read(self, values: Sequence[Value]) -> None:
        """What the chain reads from outside, in the order of the program's inputs."""
        for value in values:
            self._slots[value] = self._next
            self._next += 1
        self.inputs = list(values)

    def slot(self, value: Value) -> int:
        """Where a value of the chain lies."""
        return self._slots[value]

    def _do(self, name: str, *slots: int, p: float = 0.0, q: float = 0.0) -> int:
        self.operations.append((name, self._next, slots, p, q))
        self._next += 1
        return self._next - 1

    def emit(self, node: Node) -> None:
        """The operations of one node."""
        self._slots[node.y] = self._of(node)

    def _of(self, node: Node) -> int:
        op = node.op
        if op in _PLAIN:
            return self._do(_PLAIN[op], self.slot(node.x))
        if op in _SLOPED:
            return self._sloped(node)
        if op in _BINARY:
            return self._fold(node)
        found: int = _SPECIAL[op](self, node)
        return found

    def _fold(self, node: Node) -> int:
        """Any number of arguments, combined from the left; single constant numbers become part of an operation."""
        first, *others = [each for each in node.inputs if each is not None]
        number = scalar(first)
        if number is not None and first not in self._slots and others and scalar(others[0]) is None:
            total = self._number_first(node.op, number, self.slot(others[0]))
            others = others[1:]
        else:
            total = self.slot(first)
        for other in others:
            number = scalar(other)
            if number is None or other in self._slots:
                total = self._pair(node.op, total, self.slot(other))
            else:
                total = self._with_number(node.op, total, number)
        return self._do("affine", total, p=1 / len(node.inputs)) if node.op == "Mean" else total

    def _pair(self, op: str, a: int, b: int) -> int:
        if op in ("Greater", "GreaterOrEqual"):
            a, b = b, a
        if op == "Xor":
            return self._do("not", self._do("equal", self._do("is", a), self._do("is", b)))
        return self._do(_BINARY[op], a, b)

    def _with_number(self, op: str, a: int, number: float) -> int:
        affine = {"Add": (1.0, number), "Sum": (1.0, number), "Mean": (1.0, number), "Sub": (1.0, -number)}
        affine["Mul"] = number, -0.0  # keeps the sign of zeros
        if op in affine:
            return self._do("affine", a, p=affine[op][0], q=affine[op][1])
        if op in ("Div", "Max", "Min"):
            return self._do({"Div": "div_by", "Max": "at_least", "Min": "at_most"}[op], a, p=number)
        return self._pair(op, a, self._constant(number, a))

    def _number_first(self, op: str, number: float, b: int) -> int:
        if op == "Sub":
            return self._do("affine", b, p=-1.0, q=number)
        if op == "Div":
            return self._do("divide", b, p=number)
        if op in ("Add", "Sum", "Mean", "Mul", "Max", "Min"):
            return self._with_number(op, b, number)
        return self._pair(op, self._constant(number, b), b)

    def _constant(self, number: float, like: int) -> int:
        return self._do("fill", like, p=number)

    def _sloped(self, node: Node) -> int:
        x, alpha = self.slot(node.x), slope(node)
        if node.op in ("LeakyRelu", "Elu"):
            return self._do(_SLOPED[node.op], x, p=alpha)
        if node.op == "HardSigmoid":
            return self._do("clip", self._do("affine", x, p=alpha, q=float(node.attributes.get("beta", 0.5))), p=0.0, q=1.0)
        if node.op == "Swish":
            return self._do("mul", x, self._do("sigmoid", self._do("affine", x, p=alpha)))
        if node.op == "ThresholdedRelu":
            zero = self._constant(0.0, x)
            return self._do("where", self._do("less", self._constant(alpha, x), x), x, zero)
        if node.op == "Selu":
            return self._do("affine", self._do("elu", x, p=alpha), p=float(node.attributes.get("gamma", 1.0507009873554805)))
        inner = self._do("elu", self._do("div_by", self._do("at_most", x, p=0.0), p=alpha), p=1.0)
        return self._do("add", self._do("relu", x), self._do("affine", inner, p=alpha))  # Celu


def _softplus(chain: Chain, x: int) -> int:
    """log(1 + exp(x)) as max(x, 0) + log(1 + exp(-|x|))."""
    small = chain._do("exp", chain._do("affine", chain._do("abs", x), p=-1.0))
    return chain._do("add", chain._do("relu", x), chain._do("log", chain._do("affine", small, p=1.0, q=1.0)))


def _hard_swish(chain: Chain, node: Node) -> int:
    x = chain.slot(node.x)
    return chain._do("mul", x, chain._do("clip", chain._do("affine", x, p=1 / 6, q=0.5), p=0.0, q=1.0))


def _softsign(chain: Chain, node: Node) -> int:
    x = chain.slot(node.x)
    return chain._do("div", x, chain._do("affine", chain._do("abs", x), p=1.0, q=1.0))


def _mish(chain: Chain, node: Node) -> int:
    x = chain.slot(node.x)
    return chain._do("mul", x, chain._do("tanh", _softplus(chain, x)))


def _clip(chain: Chain, node: Node) -> int:
    limits = [scalar(node.inputs[i]) if len(node.inputs) > i else None for i in (1, 2)]
    low, high = (-math.inf if limits[0] is None else limits[0]), (math.inf if limits[1] is None else limits[1])
    return chain._do("clip", chain.slot(node.x), p=low, q=high)


def _pow(chain: Chain, node: Node) -> int:
    x, exponent = chain.slot(node.x), scalar(node.inputs[1])
    assert exponent is not None
    if exponent == 0:
        return chain._constant(1.0, x)  # of every x, also of zero and of NaN
    if exponent in (1.0, 2.0, 3.0, 4.0):
        square = x if exponent == 1 else chain._do("mul", x, x)
        return square if exponent <= 2 else chain._do("mul", square, x if exponent == 3 else square)
    if exponent in (0.5, -0.5, -1.0):
        x = x if exponent == -1 else chain._do("affine", x, p=1.0)  # powers of -0.0 are 0 and inf, sqrt's -0.0 and 1 / sqrt's -inf
        root = x if exponent == -1 else chain._do("sqrt", x)
        return root if exponent > 0 else chain._do("divide", root, p=1.0)
    name = "power" if not exponent.is_integer() else "power_odd" if exponent % 2 else "power_even"
    return chain._do(name, x, p=exponent)


def _where(chain: Chain, node: Node) -> int:
    """Numbers that stand for a whole argument fill one."""
    slots: list[int] = []
    present = [each for each in node.inputs if each is not None]
    like = next(chain.slot(each) for each in present if scalar(each) is None)
    for each in present:
        number = scalar(each)
        slots.append(chain.slot(each) if number is None or each in chain._slots else chain._constant(number, like))
    return chain._do("where", *slots)


def _cast(chain: Chain, node: Node) -> int:
    return chain._do("is" if node.y.kind == TRUTH else "copy", chain.slot(node.x))


_SPECIAL: dict[str, Callable[[Chain, Node], Any]] = {
    "Reciprocal": lambda chain, node: chain._do("divide", chain.slot(node.x), p=1.0), "HardSwish": _hard_swish,
    "Softplus": lambda chain, node: _softplus(chain, chain.slot(node.x)), "Softsign": _softsign, "Mish": _mish,
    "Gelu": lambda chain, node: chain._do("gelu_tanh" if text(node.attributes.get("approximate", "none")) == "tanh" else "gelu",
                                          chain.slot(node.x)),
    "Clip": _clip, "PRelu": lambda chain, node: chain._do("prelu", chain.slot(node.x), chain.slot(node.inputs[1])),  # type: ignore[arg-type]
    "Where": _where, "Pow": _pow, "Cast": _cast, "CastLike": _cast, "Identity": lambda chain, node: chain.slot(node.x),
    "Neg": lambda chain, node: chain._do("affine", chain.slot(node.x), p=-1.0, q=-0.0),  # -0.0 keeps the sign of zeros
}  # fmt: skip


def numbers_inside(node: Node) -> set[int]:
    """The inputs of a node that become numbers of an operation, so that a program does not read them."""
    present = [i for i, each in enumerate(node.inputs) if each is not None]
    if node.op in ("Pow", "Clip"):
        return {i for i in present if i > 0}
    if node.op == "CastLike":
        return {1}
    if node.op in _BINARY or node.op == "Where":
        found = {i for i in present if scalar(node.inputs[i]) is not None}
        if len(found) == len(present):
            return set()
        if node.op != "Where" and present[0] in found and len(present) > 1 and present[1] in found:
            found.discard(present[0])  # the first two are combined first
        return found
    return set()
