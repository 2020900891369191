"""Scales and shifts that go into the weights behind them: which do, which stay, and that the numbers stay (by the NumPy twin)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from test_passes import SHAPE, Built, conv, number, numbers

from kernels.network.graph import Graph, Value
from kernels.network.model import Model
from kernels.network.passes.affine_ahead import into_weights_behind
from kernels.network.passes.weights import hold_weights


def given_back(graph: Graph) -> None:
    """The weights that layers hold as inputs again, which the twin reads."""
    for node in graph.nodes:
        if node.op == "Conv":
            held = [None if node.attributes[name] is None else graph.constant(node.attributes.pop(name)) for name in ("weight", "bias")]
            node.inputs = [node.x, *held]


@pytest.mark.parametrize("pads", [{}, {"pads": [1, 1, 1, 1]}, {"auto_pad": "SAME_UPPER"}])
@pytest.mark.parametrize("group", [1, 3])
@pytest.mark.parametrize("bias", [False, True])
def test_scales_and_shifts_go_into_weights_behind(bias: bool, group: int, pads: dict[str, Any]) -> None:
    """A shift stays before a layer that pads, and what stands before it."""

    def layer(g: Graph, x: Value) -> Value:
        return g.node("Relu", g.node("Conv", x, numbers(g, 3, 3, 1, 1)))

    def make(g: Graph, x: Value) -> Value:
        y = g.node("Mul", numbers(g, 3, 1, 1), g.node("Add", layer(g, x), numbers(g, 1, 3, 1, 1)))
        y = g.node("Div", g.node("Sub", y, number(g, 0.3)), number(g, -2.0))
        return g.node("Conv", y, numbers(g, 6, 3 // group, 3, 3), *([numbers(g, 6)] if bias else []), group=group, **pads)

    built = Built(make)
    hold_weights(built.graph)
    assert into_weights_behind(built.graph) == (1 if pads else 4)
    assert built.ops == ["Conv", "Relu", *(["Add", "Mul", "Sub"] if pads else []), "Conv"]
    given_back(built.graph)
    built.unchanged()


def test_what_does_not_go_into_weights_behind() -> None:
    """What another reads too, numbers that differ along other axes, numbers over x, infinite ones, constants that widen x, factors with
    which weights would overflow or vanish, shifts of what no layer made."""

    def two(g: Graph, x: Value) -> Value:
        y = g.node("Mul", x, number(g, 2.0))
        return g.node("ReduceSum", g.node("Concat", conv(g, y), g.node("Conv", y, numbers(g, 5, 3, 3, 3)), axis=1), g.constant([1]))

    def one(op: str, *operands: Callable[[Graph, Value], Value]) -> Callable[[Graph, Value], Value]:
        return lambda g, x: conv(g, g.node(op, *(operand(g, x) for operand in operands)))

    def whole(g: Graph, x: Value) -> Value:
        return x

    makes = [
        two, one("Mul", whole, lambda g, x: numbers(g, 3, 4, 6)), one("Div", lambda g, x: number(g, 2.0), whole),
        one("Sub", lambda g, x: number(g, 2.0), whole), one("Add", whole, lambda g, x: number(g, np.inf)), one("Mul", whole, whole),
        one("Mul", whole, lambda g, x: number(g, 1e30)), one("Div", whole, lambda g, x: number(g, 1e30)),
        one("Sub", whole, lambda g, x: number(g, 1e4)), one("Add", lambda g, x: g.node("Relu", x), lambda g, x: number(g, -3e3)),
        one("Add", lambda g, x: g.node("ReduceMax", x, keepdims=1), lambda g, x: numbers(g, *SHAPE)),
    ]  # fmt: skip
    for make in makes:
        built = Built(make)
        hold_weights(built.graph)
        assert into_weights_behind(built.graph) == 0


def test_norms_between_rectifiers_and_layers_cost_nothing() -> None:
    def make(g: Graph, x: Value) -> Value:
        y = g.node("Relu", g.node("Conv", x, numbers(g, 8, 3, 1, 1), numbers(g, 8)))
        y = g.node("BatchNormalization", y, *(numbers(g, 8) for _ in range(3)), g.constant(np.ones(8, np.float32)))
        y = g.node("Transpose", g.node("Conv", y, numbers(g, 5, 8, 1, 1)), perm=[0, 2, 3, 1])
        return g.node("MatMul", g.node("Add", g.node("Tanh", y), numbers(g, 5)), numbers(g, 5, 7))

    built = Built(make)
    model = Model(built.graph, threads=1)
    np.testing.assert_allclose(model(built.x), built.wanted, atol=1e-4)
    assert "Mul" not in model.explain() and "Add" not in model.explain()


def test_a_mean_that_is_taken_off_the_input_costs_no_digits() -> None:
    def make(g: Graph, x: Value) -> Value:
        return g.node("Conv", g.node("Sub", g.node("Add", x, number(g, 1e4)), number(g, 1e4)), numbers(g, 6, 3, 3, 3))

    built = Built(make)
    np.testing.assert_allclose(Model(built.graph, threads=1)(built.x), built.wanted, atol=1e-5 * np.abs(built.wanted).max())
