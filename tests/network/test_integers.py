"""Models quantised while they run: integer products against exact arithmetic, as rounded floats against the NumPy twin."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kernels.network.graph import Graph, Value
from kernels.network.model import Model
from kernels.network.twin import evaluate

RNG = np.random.default_rng(0)


def _bytes(*shape: int, kind: Any = np.int8) -> np.ndarray:
    return RNG.integers(np.iinfo(kind).min, np.iinfo(kind).max, shape, endpoint=True).astype(kind)


def _product(graph: Graph, op: str, x: Value, weight: np.ndarray, zero: np.ndarray | None, **more: Any) -> Value:
    """As `quantize_dynamic` writes it: bytes, their product, a cast, both scales."""
    quantised, scale, point = graph.several("DynamicQuantizeLinear", x, outputs=3)
    zeros = [point] if zero is None else [point, graph.constant(zero)]
    y = graph.node("Cast", graph.node(op, quantised, graph.constant(weight), *zeros, **more), to=np.dtype(np.float32))
    return graph.node("Mul", y, graph.node("Mul", scale, graph.constant(np.float32(0.01))))


@pytest.mark.parametrize("kind", [np.int8, np.uint8])
@pytest.mark.parametrize("zero", [None, (), (17,)])
@pytest.mark.parametrize("shift", [0, 9, -9, "nothing"])
def test_products_of_rows(kind: Any, zero: Any, shift: Any) -> None:
    graph = Graph()
    x = graph.input("x", (2, 5, 300), np.float32)
    graph.output("y", _product(graph, "MatMulInteger", x, _bytes(300, 17, kind=kind), None if zero is None else _bytes(*zero, kind=kind)))
    given = np.zeros((2, 5, 300), np.float32) if shift == "nothing" else RNG.standard_normal((2, 5, 300)).astype(np.float32) + shift
    model, wanted = Model(graph, threads=1), evaluate(graph, {"x": given})["y"]
    np.testing.assert_allclose(model(given), wanted, rtol=0, atol=2e-6 * np.abs(wanted).max())
    assert "NumPy" not in model.explain()


@pytest.mark.parametrize("zero", [None, (), (6,)])
def test_convolutions(zero: Any) -> None:
    """What is padded is the zero point."""
    graph = Graph()
    x = graph.input("x", (1, 4, 9, 12), np.float32)
    weight = _bytes(6, 2, 3, 3, kind=np.uint8)
    point = None if zero is None else _bytes(*zero, kind=np.uint8)
    graph.output("y", _product(graph, "ConvInteger", x, weight, point, pads=[1, 1, 1, 1], strides=[1, 2], group=2))
    given = RNG.standard_normal((1, 4, 9, 12)).astype(np.float32) + 1
    model, wanted = Model(graph, threads=1), evaluate(graph, {"x": given})["y"]
    np.testing.assert_allclose(model(given), wanted, rtol=0, atol=2e-6 * np.abs(wanted).max())
    assert "NumPy" not in model.explain()


def test_integers_that_somebody_wants_stay_exact() -> None:
    graph = Graph()
    x = graph.input("x", (3, 40), np.float32)
    quantised, scale, point = graph.several("DynamicQuantizeLinear", x, outputs=3)
    weight = _bytes(40, 7)
    y = graph.node("MatMulInteger", quantised, graph.constant(weight), point)
    for name, value in (
        ("bytes", quantised),
        ("point", point),
        ("sums", y),
        ("scale", scale),
        ("floats", graph.node("Cast", y, to=np.dtype(np.float32))),
    ):
        graph.output(name, value)
    given = RNG.standard_normal((3, 40)).astype(np.float32)
    found = Model(graph)(given)
    low, high = given.min(), given.max()
    assert found["scale"] == pytest.approx((high - low) / 255) and found["point"] == np.rint(-low / ((high - low) / np.float32(255)))
    assert found["bytes"].dtype == np.uint8 and found["sums"].dtype == np.int32
    np.testing.assert_array_equal(found["sums"], (found["bytes"].astype(int) - int(found["point"])) @ weight.astype(int))
    np.testing.assert_array_equal(found["floats"], found["sums"].astype(np.float32))


def test_zero_points_of_rows() -> None:
    graph, a, b = Graph(), _bytes(3, 40, kind=np.uint8), _bytes(40, 7)
    points = _bytes(3, kind=np.uint8)
    x = graph.input("x", (3, 40), np.uint8)
    graph.output("y", graph.node("MatMulInteger", x, graph.constant(b), graph.constant(points)))
    np.testing.assert_array_equal(Model(graph)(a), (a.astype(int) - points[:, None].astype(int)) @ b.astype(int))
