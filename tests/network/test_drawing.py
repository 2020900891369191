"""Random numbers of a model: anew in each call and each node, also where their shape is constant; with a seed the same again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kernels.network.graph import Graph
from kernels.network.model import Model


@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize(
    ("op", "words", "mean", "deviation"),
    [("RandomNormalLike", {}, 0, 1), ("RandomNormalLike", {"mean": 3.0, "scale": 0.5}, 3, 0.5), ("RandomUniformLike", {}, 0.5, 12**-0.5),
     ("RandomUniformLike", {"low": -2.0, "high": 4.0}, 1, 3**0.5)],
)  # fmt: skip
def test_numbers_are_drawn_anew(op: str, words: dict[str, Any], mean: float, deviation: float, constant: bool) -> None:
    graph = Graph()
    x = graph.input("x", (20, 1000), np.float32)
    like = graph.constant(np.zeros((20, 1000), np.float32)) if constant else x
    for name in ("a", "b"):
        graph.output(name, graph.node("Mul", graph.node("Add", graph.node(op, like, **words), x), graph.constant(np.float32(2))))
    model, zeros = Model(graph), np.zeros((20, 1000), np.float32)
    drawn = [array / 2 for _ in range(2) for array in model(zeros).values()]
    for array in drawn:
        assert abs(array.mean() - mean) < 0.05 * deviation and abs(array.std() - deviation) < 0.05 * deviation
    assert all(np.abs(a - b).max() > deviation for i, a in enumerate(drawn) for b in drawn[:i])


def test_a_seed_gives_the_same_again() -> None:
    graph = Graph()
    x = graph.input("x", (3, 7), np.float32)
    for name, seed in (("a", 1.5), ("b", 1.5), ("c", 2.5)):
        graph.output(name, graph.node("RandomNormalLike", x, seed=seed, dtype=np.dtype(np.float64)))
    first, second = (Model(graph)(np.zeros((3, 7), np.float32)) for _ in range(2))
    assert first["a"].dtype == np.float64
    np.testing.assert_array_equal(first["a"], second["a"])
    np.testing.assert_array_equal(first["a"], first["b"])
    assert not np.array_equal(first["a"], first["c"])
