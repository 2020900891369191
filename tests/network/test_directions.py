"""Layers of reversed steps, pairs of directions, batches first: one compiled layer, the numbers stay."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kernels.network.graph import Graph, Value
from kernels.network.model import Model
from kernels.network.twin import evaluate

STEPS, BATCH, INPUTS, HIDDEN = 9, 2, 5, 6
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def _layer(graph: Graph, rng: np.random.Generator, op: str, x: Value, states: list[Value], outputs: int = 0, **more: Any) -> list[Value]:
    n, bias, peepholes = GATES[op] * HIDDEN, (1, 2 * GATES[op] * HIDDEN), []
    shapes = [(1, n, INPUTS), (1, n, HIDDEN), bias]
    held = [graph.constant((rng.standard_normal(shape) / 3).astype(np.float32)) for shape in shapes]
    if op == "LSTM":
        states = [*states, *[None] * (2 - len(states))]  # type: ignore[list-item]
        peepholes = [graph.constant((rng.standard_normal((1, 3 * HIDDEN)) / 3).astype(np.float32))]
    outputs = outputs or (3 if op == "LSTM" else 2)
    return graph.several(op, x, *held, None, *states, *peepholes, outputs=outputs, hidden_size=HIDDEN, **more)


def _reversed(graph: Graph, x: Value, axis: int = 0) -> Value:
    limits = [graph.constant(np.array([each], np.int64)) for each in (-1, np.iinfo(np.int64).min, axis, -1)]
    return graph.node("Slice", x, *limits)


def _answers(graph: Graph, layers: int) -> None:
    rng = np.random.default_rng(5)
    given = {value.name: rng.standard_normal(value.shape).astype(np.float32) for value in graph.inputs}
    model = Model(graph, threads=2)
    found = model(given)
    found = found if isinstance(found, dict) else {"y": found}
    for name, wanted in evaluate(graph, given).items():
        np.testing.assert_allclose(found[name], wanted, atol=1e-5)
    steps = [step for step in model._last.steps if "compiled recurrence" in step.method]
    assert len(steps) == layers, model.explain()


@pytest.mark.parametrize("op", list(GATES))
@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize("squeezed", [False, True])
def test_a_reversed_copy_and_a_layer_of_its_own(op: str, started: bool, squeezed: bool) -> None:
    """As frameworks without layers of two directions write them, with moves between reversal and layer."""
    rng, graph = np.random.default_rng(0), Graph()
    rows = 1 if squeezed else BATCH
    x = graph.input("x", (STEPS, INPUTS) if squeezed else (STEPS, rows, INPUTS), np.float32)
    one = graph.constant(np.array([1], np.int64))

    def side(x: Value, name: str) -> list[Value]:
        names = [f"{name}{letter}" for letter in ("hc" if op == "LSTM" else "h")] if started else []
        states = [graph.input(each, (1, rows, HIDDEN), np.float32) for each in names]
        return _layer(graph, rng, op, graph.node("Unsqueeze", x, one) if squeezed else x, states)

    there, back = side(x, "there"), side(_reversed(graph, x), "back")
    y = graph.node("Squeeze", back[0], one)
    graph.output("both", graph.node("Concat", graph.node("Squeeze", there[0], one), _reversed(graph, y), axis=2))
    for i, value in enumerate((*there[1:], *back[1:])):
        graph.output(f"state{i}", value)
    _answers(graph, layers=1)


def test_what_waits_for_the_other_direction_stays_alone() -> None:
    rng, graph = np.random.default_rng(0), Graph()
    x = graph.input("x", (STEPS, BATCH, INPUTS), np.float32)
    there = _layer(graph, rng, "GRU", x, [])
    graph.output("y", _layer(graph, rng, "GRU", x, [graph.node("Neg", there[1])], direction="reverse")[0])
    _answers(graph, layers=2)


@pytest.mark.parametrize("perm", [[1, 0, 2], [2, 1, 0]])
def test_reversals_of_other_axes_stay(perm: list[int]) -> None:
    """The first axis of what is reversed is not that of the steps."""
    rng, graph = np.random.default_rng(0), Graph()
    x = graph.input("x", (STEPS, BATCH, INPUTS), np.float32)
    y = graph.node("Transpose", _reversed(graph, graph.node("Transpose", x, perm=perm)), perm=np.argsort(perm).tolist())
    graph.output("y", _layer(graph, rng, "RNN", y, [])[0])
    _answers(graph, layers=1)


@pytest.mark.parametrize("op", list(GATES))
@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_batches_first(op: str, direction: str) -> None:
    rng, graph = np.random.default_rng(0), Graph()
    x = graph.input("x", (BATCH, STEPS, INPUTS), np.float32)
    states = [graph.input(name, (BATCH, 1, HIDDEN), np.float32) for name in ("hc" if op == "LSTM" else "h")]
    for i, value in enumerate(_layer(graph, rng, op, x, states, layout=1, direction=direction)):
        graph.output(f"y{i}", value)
    _answers(graph, layers=1)
