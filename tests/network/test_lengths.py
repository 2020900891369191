"""Plans of one model for many lengths: how many are kept, and what they share."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from test_model import onnx_model, small_net

import kernels
from kernels.network.model import Model
from kernels.runtime import constants

onnx = pytest.importorskip("onnx")


def test_plans_are_kept_for_a_bounded_number_of_shapes_those_used_last() -> None:
    model, first = kernels.load(small_net()), np.ones((1, 2, 8, 3), np.float32)
    model(first)
    kept = model._last
    for length in range(4, 4 + 2 * Model.KEPT):
        model(np.ones((1, 2, 8, length), np.float32))
        model(first)
    assert len(model._programs) == Model.KEPT
    assert model._last is kept


def test_lengths_share_what_is_made_of_the_weights() -> None:
    """Batch norms in weights, layers joined, products, packed weights: one copy for all lengths, gone with the model; the same answers."""
    rng = np.random.default_rng(5)
    make = onnx.helper.make_node
    nodes = [
        make("Conv", ["x", "w1"], ["a"], pads=[1, 1]), make("Mul", ["a", "s"], ["b"]), make("Relu", ["b"], ["r"]),
        make("Mul", ["r", "s"], ["c"]), make("Conv", ["c", "w2"], ["d"]), make("Mul", ["d", "s"], ["e"]),
        make("Conv", ["c", "w3"], ["f"]), make("Mul", ["f", "s"], ["g"]),
        make("Mul", ["e", "g"], ["h"]), make("ConvTranspose", ["h", "w4"], ["i"], strides=[2]),
        make("Transpose", ["i"], ["j"], perm=[0, 2, 1]), make("MatMul", ["j", "w5"], ["y"]),
    ]  # fmt: skip
    shapes = {"w1": (32, 3, 3), "s": (1, 32, 1), "w2": (32, 32, 1), "w3": (32, 32, 1), "w4": (32, 24, 4), "w5": (24, 20)}
    weights = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    proto = onnx_model(nodes, {"x": (onnx.TensorProto.FLOAT, [1, 3, "time"])}, ["y"], weights)
    gc.collect()
    before = len(constants._made)
    model, counts = kernels.load(proto, threads=2), []
    for length in (900, 901, 903, 900, 950):
        x = rng.standard_normal((1, 3, length)).astype(np.float32)
        assert np.array_equal(model(x), kernels.load(proto, threads=2)(x))
        gc.collect()
        counts.append(len(constants._made) - before)
    assert counts[0] >= 5 and counts == counts[:1] * 5, counts
    del model
    gc.collect()
    assert len(constants._made) == before
