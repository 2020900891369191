"""What repeats and what overlaps as views, copies and sums: Tile, Col2Im."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kernels.network.graph import Graph
from kernels.network.model import Model
from kernels.network.passes.specialise import specialise
from kernels.network.twin import compute

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("shape", "repeats"), [((2, 3, 4), (1, 1, 5)), ((2, 1, 4), (3, 7, 1)), ((2, 3, 1, 2, 3, 1), (2, 2, 3, 1, 2, 4)), ((5,), (1,))]
)
def test_tiles_are_views(shape: tuple[int, ...], repeats: tuple[int, ...]) -> None:
    x, graph = RNG.standard_normal(shape).astype(np.float32), Graph()
    y = graph.node("Tile", graph.input("x", shape), graph.constant(np.array(repeats, np.int64)))
    graph.output("y", graph.node("Abs", y))
    model = Model(graph)
    np.testing.assert_array_equal(model(x), np.abs(np.tile(x, repeats)))
    assert "Tile" not in model.explain()


@pytest.mark.parametrize(
    ("image", "block", "strides", "pads", "lines"),
    [((30, 1), (6, 1), (3, 1), None, True), ((1, 31), (1, 8), (2, 1), None, True), ((1, 33), (1, 8), (1, 2), (0, 3, 0, 4), True),
     ((17,), (5,), (5,), None, True), ((17,), (5,), (3,), None, False), ((6, 7), (2, 3), (1, 1), None, False)],
)  # fmt: skip
def test_blocks_that_overlap_are_added(image: Any, block: Any, strides: Any, pads: Any, lines: bool) -> None:
    graph, axes = Graph(), len(image)
    pads = pads or (0,) * 2 * axes
    counts = [(n + pads[i] + pads[i + axes] - k) // s + 1 for i, (n, k, s) in enumerate(zip(image, block, strides))]
    shape = (2, 3 * int(np.prod(block)), int(np.prod(counts)))
    held = [graph.constant(np.array(each, np.int64)) for each in (image, block)]
    graph.output("y", graph.node("Col2Im", graph.input("x", shape), *held, strides=list(strides), pads=list(pads)))
    x, model = RNG.standard_normal(shape).astype(np.float32), Model(graph)
    np.testing.assert_allclose(model(x), compute(specialise(graph, {"x": shape}), {"x": x})["y"], atol=1e-5)
    assert ("Col2Im" not in model.explain()) == lines
