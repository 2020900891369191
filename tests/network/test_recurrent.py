"""Compiled LSTM, GRU and RNN against the NumPy twin: directions, states, biases, tails of blocks, several rows, threads."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from kernels.network.graph import Graph
from kernels.network.model import Model
from kernels.network.twin import evaluate

LAYERS = [("LSTM", 4, 0), ("GRU", 3, 0), ("GRU", 3, 1), ("RNN", 1, 0)]
SIZES = [  # steps, batch, inputs, hidden
    (5, 1, 7, 13), (9, 3, 20, 64), (4, 2, 5, 128), (1, 1, 3, 130), (40, 4, 31, 70), (3, 19, 4, 8), (4, 1, 3, 350),
]  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("op, gates, linear_first", LAYERS)
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_against_the_twin(op: str, gates: int, linear_first: int, direction: str, dtype: Any) -> None:
    rng = np.random.default_rng(0)
    directions = 2 if direction == "bidirectional" else 1
    for (steps, batch, inputs, hidden), started in itertools.product(SIZES, (False, True)):
        graph = Graph()
        x = graph.input("x", (steps, batch, inputs), dtype)
        shapes = (gates * hidden, inputs), (gates * hidden, hidden), (2 * gates * hidden,)
        held = (rng.standard_normal((directions, *shape)) / max(4, shape[-1] ** 0.5) for shape in shapes)  # no chaos without gates
        w, r, b = (graph.constant(each.astype(dtype)) for each in held)
        names = ("h", "c")[: 2 if op == "LSTM" else 1] if started else ()
        states = [graph.input(name, (directions, batch, hidden), dtype) for name in names]
        more = {"linear_before_reset": 1} if linear_first else {}
        made = graph.several(op, x, w, r, b, None, *states, outputs=2 + (op == "LSTM"), hidden_size=hidden, direction=direction, **more)
        for i, value in enumerate(made):
            graph.output(f"y{i}", value)
        given = {value.name: rng.standard_normal(value.shape).astype(dtype) for value in graph.inputs}
        model = Model(graph, threads=2)
        wanted = evaluate(graph, given)
        for _ in range(2):  # the state before is copied, so a second call begins where the first did
            for name, array in model(given).items():
                np.testing.assert_allclose(array, wanted[name], atol=1e-5 if dtype == np.float32 else 1e-13)
        assert "compiled recurrence" in model.explain()
        parted = batch * directions == 1 and hidden == 350 and (op == "LSTM" or linear_first)
        if op != "RNN":  # whose step reads so little that the lanes of the machine decide
            assert ("state in 2 parts" in model.explain()) == parted


@pytest.mark.parametrize("op, gates, linear_first", LAYERS)
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("steps, hidden, of_rows", [(6, 13, [6, 3, 1, 0, 5]), (4, 350, [2]), (5, 40, [5, 5]), (3, 9, [1] * 19)])
def test_rows_of_other_lengths(op: str, gates: int, linear_first: int, direction: str, steps: int, hidden: int, of_rows: list[int]) -> None:
    """Their states stay as they are behind their last step, or before their first from the end; outputs are zero there."""
    rng, graph, batch = np.random.default_rng(0), Graph(), len(of_rows)
    directions = 2 if direction == "bidirectional" else 1
    x, lengths = graph.input("x", (steps, batch, 5), np.float32), graph.input("lengths", (batch,), np.int32)
    shapes = (gates * hidden, 5), (gates * hidden, hidden), (2 * gates * hidden,)
    held = [graph.constant((rng.standard_normal((directions, *shape)) / max(4, shape[-1] ** 0.5)).astype(np.float32)) for shape in shapes]
    states = [graph.input(name, (directions, batch, hidden), np.float32) for name in ("h", "c")[: 1 + (op == "LSTM")]]
    more = {"hidden_size": hidden, "direction": direction, "linear_before_reset": linear_first}
    for i, value in enumerate(graph.several(op, x, *held, lengths, *states, outputs=1 + len(states), **more)):
        graph.output(f"y{i}", value)
    model = Model(graph, threads=2)
    for numbers in (of_rows, [steps + 1] * batch, of_rows[::-1]):  # one plan serves all
        given = {value.name: rng.standard_normal(value.shape).astype(np.float32) for value in graph.inputs}
        given["lengths"] = np.array(numbers, np.int32)
        for name, wanted in evaluate(graph, given).items():
            np.testing.assert_allclose(model(given)[name], wanted, atol=1e-5)
    assert "compiled recurrence" in model.explain()


@pytest.mark.parametrize("op, gates, linear_first", LAYERS)
@pytest.mark.parametrize("perm", [(1, 3, 0, 2), (2, 3, 0, 1), (0, 1, 3, 2), (2, 0, 1, 3)])
def test_states_that_are_handed_out_in_another_order(op: str, gates: int, linear_first: int, perm: tuple[int, ...]) -> None:
    """An output that is only seen in another order of axes lies in that of the caller's array: the numbers of a state apart there."""
    rng, graph = np.random.default_rng(0), Graph()
    x, hidden = graph.input("x", (6, 3, 5), np.float32), 4
    shapes = (2, gates * hidden, 5), (2, gates * hidden, hidden), (2, 2 * gates * hidden)
    w, r, b = (graph.constant(rng.standard_normal(shape).astype(np.float32)) for shape in shapes)
    more = {"linear_before_reset": 1} if linear_first else {}
    y = graph.node(op, x, w, r, b, hidden_size=hidden, direction="bidirectional", **more)
    graph.output("mean", graph.node("GlobalAveragePool", y))
    graph.output("y", graph.node("Transpose", y, perm=list(perm)))
    given = {"x": rng.standard_normal((6, 3, 5)).astype(np.float32)}
    for name, array in Model(graph, threads=1)(given).items():
        np.testing.assert_allclose(array, evaluate(graph, given)[name], atol=1e-5)


@pytest.mark.parametrize("direction", ["reverse", "bidirectional"])
@pytest.mark.parametrize("steps, batch, hidden, of_rows", [(6, 1, 25, None), (5, 19, 8, None), (4, 1, 350, None), (5, 3, 13, [5, 0, 2])])
def test_peepholes(direction: str, steps: int, batch: int, hidden: int, of_rows: list[int] | None) -> None:
    rng, graph = np.random.default_rng(0), Graph()
    directions = 2 if direction == "bidirectional" else 1
    x = graph.input("x", (steps, batch, 5), np.float32)
    shapes = (4 * hidden, 5), (4 * hidden, hidden), (8 * hidden,), (3 * hidden,)
    w, r, b, peepholes = (graph.constant((rng.standard_normal((directions, *shape)) / 4).astype(np.float32)) for shape in shapes)
    lengths = None if of_rows is None else graph.constant(np.array(of_rows, np.int32))
    states = [graph.input(name, (directions, batch, hidden), np.float32) for name in ("h", "c")]
    made = graph.several("LSTM", x, w, r, b, lengths, *states, peepholes, outputs=3, hidden_size=hidden, direction=direction)
    for i, value in enumerate(made):
        graph.output(f"y{i}", value)
    given = {value.name: rng.standard_normal(value.shape).astype(np.float32) for value in graph.inputs}
    model = Model(graph, threads=2)
    for name, wanted in evaluate(graph, given).items():
        np.testing.assert_allclose(model(given)[name], wanted, atol=1e-5)
    assert "compiled recurrence" in model.explain()
    assert ("state in 2 parts" in model.explain()) == (hidden == 350 and directions == 1)


@pytest.mark.parametrize("op, activations", [("LSTM", ["Tanh", "Relu", "Sigmoid"]), ("GRU", ["Tanh", "Relu"]), ("RNN", ["Relu"])])
def test_other_activations_in_each_direction(op: str, activations: list[str]) -> None:
    rng, graph, gates = np.random.default_rng(0), Graph(), {"LSTM": 4, "GRU": 3, "RNN": 1}[op]
    x = graph.input("x", (7, 2, 5), np.float32)
    shapes = (2, gates * 9, 5), (2, gates * 9, 9)
    w, r = (graph.constant((rng.standard_normal(shape) / 4).astype(np.float32)) for shape in shapes)
    usual = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}[op]
    graph.output("y", graph.node(op, x, w, r, hidden_size=9, direction="bidirectional", activations=[*activations, *usual]))
    given, model = {"x": rng.standard_normal((7, 2, 5)).astype(np.float32)}, Model(graph, threads=2)
    np.testing.assert_allclose(model(given), evaluate(graph, given)["y"], atol=1e-5)
    assert "compiled recurrence" in model.explain()


def test_hard_sigmoids_take_their_numbers_in_turn() -> None:
    rng, graph = np.random.default_rng(0), Graph()
    x = graph.input("x", (1, 2, 3), np.float32)
    w, r = (graph.constant((rng.standard_normal(shape)).astype(np.float32)) for shape in ((2, 4, 3), (2, 4, 4)))
    words = {"activations": ["HardSigmoid"] * 2, "activation_alpha": [0.3, 0.1], "activation_beta": [0.4]}
    graph.output("y", graph.node("RNN", x, w, r, hidden_size=4, direction="bidirectional", **words))
    given = rng.standard_normal((1, 2, 3)).astype(np.float32)
    assert w.data is not None
    sums = np.einsum("tbi,dhi->tdbh", given, w.data)
    wanted = np.clip(sums * np.array([0.3, 0.1])[:, None, None] + np.array([0.4, 0.5])[:, None, None], 0, 1)
    np.testing.assert_allclose(Model(graph)(given), wanted, atol=1e-6)
