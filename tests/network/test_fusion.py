"""Batch norms around pools, with factors of either sign: the same numbers as layer by layer, by fewer steps over the large map."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import kernels
from kernels import Layer, layer, sequence

DRAW = np.random.default_rng(0)
X = DRAW.standard_normal((2, 8, 24, 30), dtype=np.float32)
WEIGHT = DRAW.standard_normal((16, 8, 3, 3), dtype=np.float32) / 8
BIAS = DRAW.standard_normal(16, dtype=np.float32)
ACTIVATIONS = [None, "relu", "relu6", ("leaky_relu", 0.1), ("leaky_relu", -0.5), "elu", "tanh", "sigmoid", "gelu", "silu", "hardswish"]


def norm(sign: str) -> Layer:
    signs = {"positive": 1, "negative": -1, "mixed": DRAW.choice([-1, 1], 16), "zeros": np.arange(16) % 3 - 1}
    gamma = DRAW.uniform(0.5, 2, 16) * signs[sign]
    mean, var, beta = DRAW.standard_normal(16), DRAW.uniform(0.5, 2, 16), DRAW.standard_normal(16)
    return layer("batch_norm", *(each.astype(np.float32) for each in (mean, var, gamma, beta)))


def apart(layers: list[Layer], x: np.ndarray) -> np.ndarray:
    """Layer by layer in float64, so that nothing has anything to fuse with."""
    y = x.astype(np.float64)
    for each in layers:
        y = sequence([each], y.shape, dtype="float64", implementation="im2col")(y)
    return y


def check(layers: list[Layer], x: np.ndarray = X, **options: Any) -> kernels.Sequence:
    network = sequence(layers, x.shape, **options)
    expected = apart(layers, x)
    assert network(x).dtype == x.dtype
    np.testing.assert_allclose(network(x), expected, rtol=0, atol=2e-5 * max(1.0, np.abs(expected).max()))
    return network


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
@pytest.mark.parametrize("sign", ["positive", "negative", "mixed", "zeros"])
@pytest.mark.parametrize("kind", ["max", "avg"])
def test_a_batch_norm_between_an_activation_and_a_pool(kind: str, sign: str, activation: Any) -> None:
    check([layer("conv2d", WEIGHT, BIAS, padding=1, activation=activation), norm(sign), layer(f"{kind}_pool2d", 2)])


@pytest.mark.parametrize("activation", [None, "relu", "gelu"])
@pytest.mark.parametrize("sign", ["positive", "mixed"])
@pytest.mark.parametrize("kind", ["max", "avg"])
def test_a_batch_norm_behind_a_pool(kind: str, sign: str, activation: Any) -> None:
    tail = [layer("activation", activation)] if activation else []
    network = check([layer("conv2d", WEIGHT, BIAS, padding=1), layer(f"{kind}_pool2d", 2), norm(sign), *tail])
    commutes = kind == "avg" or sign == "positive"
    assert ("in place" in network.explain()) is not (commutes and (activation is None or (kind == "max" and activation == "relu")))
    check([layer("conv2d", WEIGHT, activation="relu", pool=(kind, 2)), norm(sign), *tail])


def test_what_trained_networks_have_is_done_on_the_pooled_map() -> None:
    layers = [layer("conv2d", WEIGHT, BIAS, padding=1), layer("activation", "relu"), norm("mixed"), layer("max_pool2d", 2)]
    lines = check(layers).explain().splitlines()[1:]
    assert [line for line in lines if "(2, 16, 24, 30)" in line] == [], "nothing is written before it is pooled"
    assert "max_pool2d" in lines[0] and "conv2d" in lines[0]


@pytest.mark.parametrize("case", ["transposed", "grouped", "own scale", "volume", "line", "overlapping", "branch", "follows"])
def test_signs_find_the_right_channels(case: str) -> None:
    x, signs, act = X, norm("mixed"), layer("activation", "relu")
    scale = DRAW.uniform(-1, 1, 16).astype(np.float32)
    layers = {
        "transposed": [layer("conv_transpose2d", DRAW.standard_normal((8, 8, 3, 3), dtype=np.float32) / 8, stride=2, groups=2), act, signs,
                       layer("max_pool2d", 2)],
        "grouped": [layer("conv2d", WEIGHT[:, :2], groups=4), act, signs, layer("max_pool2d", (2, 3))],
        "own scale": [layer("conv2d", WEIGHT, BIAS, scale=scale, shift=BIAS), act, signs, layer("max_pool2d", 2)],
        "volume": [layer("conv3d", WEIGHT[:, :, None]), act, signs, layer("max_pool3d", (1, 2, 2))],
        "line": [layer("conv1d", WEIGHT[:, :, 0], BIAS), act, signs, layer("max_pool1d", 4)],
        "overlapping": [layer("conv2d", WEIGHT), act, signs, layer("max_pool2d", 3, 1)],
        "branch": [layer("concatenate", [layer("conv2d", WEIGHT), act, signs, layer("max_pool2d", 2)], [layer("max_pool2d", 3, 2),
                   layer("conv2d", WEIGHT[:, :, :1, :1])])],
        "follows": [layer("conv2d", WEIGHT), act, signs, layer("max_pool2d", 2), norm("mixed"), layer("activation", "gelu")],
    }[case]  # fmt: skip
    if case == "volume":
        x = np.ascontiguousarray(X.reshape(2, 8, 2, 12, 30))
    if case == "line":
        x = X[:, :, 0]
    if case == "branch":
        network = sequence(layers, X.shape)
        ways = [apart(list(branch), X) for branch in layers[0].args]
        np.testing.assert_allclose(network(X), np.concatenate(ways, 1), atol=5e-5)
        return
    check(layers, np.ascontiguousarray(x))


def test_nan_and_inf_go_where_they_went() -> None:
    layers = [layer("conv2d", WEIGHT, BIAS, padding=1), layer("activation", "relu"), norm("mixed"), layer("max_pool2d", 2)]
    x = X.copy()
    x[0, 0, 5, 5], x[1, 0, 5, 5] = np.nan, np.inf
    network = sequence(layers, x.shape, accuracy="each")(x)
    assert np.array_equal(np.isnan(network), np.isnan(apart(layers, x)))


def test_an_activation_behind_a_linear_layer_of_any_rank() -> None:
    """Beside an axis of positions, the activation was a pass of its own."""
    weight, shift = DRAW.standard_normal((7, 30), dtype=np.float32), np.linspace(0, 1, 7, dtype=np.float32)
    network = check([layer("linear", weight), layer("batch_norm", shift, shift + 1, axis=-1), layer("activation", "relu")], X[0])
    assert "in place" not in network.explain()
