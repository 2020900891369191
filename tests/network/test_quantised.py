"""Pairs of QuantizeLinear and DequantizeLinear as rounded floats: the numbers are NumPy's, pairs that are none stay."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kernels.network.graph import Graph, Value
from kernels.network.model import Model
from kernels.network.passes.quantised import rounded_floats
from kernels.network.passes.specialise import specialise
from kernels.network.twin import evaluate

SHAPE = 3, 4, 50


def pair(graph: Graph, x: Value, scale: Any, zero: Any, **axis: int) -> tuple[Value, Value]:
    held = [graph.constant(np.asarray(scale, x.dtype or np.float32)), *([] if zero is None else [graph.constant(zero)])]
    bytes_of = graph.node("QuantizeLinear", x, *held, **axis)
    return bytes_of, graph.node("DequantizeLinear", bytes_of, *held, **axis)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("scale", "zero", "axis"),
    [(0.03, np.uint8(128), {}), (0.01, np.int8(-3), {}), (0.1, None, {}), ([0.03], np.array([7], np.uint8), {}), (1e-3, np.int16(99), {}),
     ([0.1, 0.02, 0.3, 0.01], np.array([0, 9, 200, 255], np.uint8), {}), ([0.1, 0.02, 0.3], np.array([0, -128, 127], np.int8), {"axis": 0}),
     (np.linspace(0.01, 0.2, 50), np.zeros(50, np.int8), {"axis": -1})],
)  # fmt: skip
def test_numbers_stay(scale: Any, zero: Any, axis: dict[str, int], dtype: Any) -> None:
    graph = Graph()
    x = graph.input("x", SHAPE, dtype)
    graph.output("y", graph.node("Sin", pair(graph, x, scale, zero, **axis)[1]))
    given = {"x": 4 * np.random.default_rng(1).standard_normal(SHAPE).astype(dtype)}
    given["x"].flat[:5] = 0, 1e30, -1e30, 0.5 * np.ravel(scale)[0], -2.5 * np.ravel(scale)[0]  # beyond the limits, ties
    planned = specialise(graph, {"x": SHAPE})
    assert rounded_floats(planned) == 1 and {node.op for node in planned.nodes} == {"Div", "Round", "Max", "Min", "Mul", "Sin"}
    model = Model(graph)
    np.testing.assert_allclose(model(given), evaluate(graph, given)["y"], rtol=0, atol=4 * np.finfo(dtype).eps)
    assert "NumPy" not in model.explain()


def test_layers_between_pairs_give_what_numpy_gives() -> None:
    """Scales go into weights on both sides; what is rounded is not moved."""
    rng, graph = np.random.default_rng(2), Graph()
    x = graph.input("x", (1, 4, 30), np.float32)
    weight = graph.constant(rng.standard_normal((6, 4, 3)).astype(np.float32))
    held = [graph.constant(np.float32(0.05)), graph.constant(np.uint8(120))]
    inner = pair(graph, graph.node("Conv", pair(graph, x, 0.02, np.uint8(128))[1], weight), 0.5, np.int8(0))[1]
    both = graph.node("QuantizeLinear", graph.node("Relu", inner), *held)
    for i in range(2):  # two layers read the same bytes
        read = graph.node("DequantizeLinear", both, *held)
        graph.output(f"y{i}", graph.node("Conv", read, graph.constant(rng.standard_normal((2, 6, 1)).astype(np.float32))))
    given = {"x": np.round(rng.standard_normal((1, 4, 30)).astype(np.float32), 1)}
    model, wanted = Model(graph), evaluate(graph, given)
    made = model(given)
    assert "NumPy" not in model.explain()
    for name, y in made.items():
        np.testing.assert_allclose(y, wanted[name], rtol=0, atol=1e-5 * np.abs(wanted[name]).max())


@pytest.mark.parametrize("why", ["the bytes are an output", "somebody else reads them", "another zero point", "another axis"])
def test_what_is_no_pair_stays(why: str) -> None:
    graph = Graph()
    x = graph.input("x", (4, 4), np.float32)
    scale, zero = graph.constant(np.full(4, 0.1, np.float32)), graph.constant(np.zeros(4, np.uint8))
    bytes_of = graph.node("QuantizeLinear", x, scale, zero)
    other = graph.constant(np.ones(4, np.uint8)) if why == "another zero point" else zero
    graph.output("y", graph.node("DequantizeLinear", bytes_of, scale, other, **({"axis": 0} if why == "another axis" else {})))
    if why == "the bytes are an output":
        graph.output("bytes", bytes_of)
    if why == "somebody else reads them":
        graph.output("sum", graph.node("Cast", bytes_of, to=np.dtype(np.float32)))
    given = {"x": np.random.default_rng(0).standard_normal((4, 4)).astype(np.float32)}
    assert not rounded_floats(specialise(graph, {"x": (4, 4)}))
    made = Model(graph)(given)
    for name, wanted in evaluate(graph, given).items():
        np.testing.assert_array_equal(made[name] if isinstance(made, dict) else made, wanted)
