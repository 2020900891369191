"""Transforms of frames in a graph: folded where their rows are even and odd, as they are where not, for one signal and several."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kernels.network.graph import Graph
from kernels.network.model import Model
from tests.network.test_mirrored import transform

Array = np.ndarray


def model_of(weight: Array, n: int, length: int, hop: int, dtype: Any, bias: Array | None = None, relu: bool = False) -> Model:
    graph = Graph()
    inputs = [graph.input("x", (n, 1, length), dtype), graph.constant(weight[:, None].astype(dtype))]
    if bias is not None:
        inputs.append(graph.constant(bias.astype(dtype)))
    y = graph.node("Conv", *inputs, strides=[hop], kernel_shape=[weight.shape[1]])
    graph.output("y", graph.node("Relu", y) if relu else y)
    return Model(graph, threads=2)


def framed(x: Array, weight: Array, hop: int) -> Array:
    """The same in float64."""
    frames = np.lib.stride_tricks.sliding_window_view(x[:, 0].astype(np.float64), weight.shape[1], axis=1)[:, ::hop]
    return np.einsum("kt,nft->nkf", weight, frames)


@pytest.mark.parametrize("dtype, bound", [(np.float32, 1e-6), (np.float64, 1e-9)])
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("periodic", [True, False])
def test_transforms_are_folded(periodic: bool, n: int, dtype: Any, bound: float) -> None:
    rng, weight = np.random.default_rng(n), transform(256, periodic).astype(dtype).astype(np.float64)
    x = rng.standard_normal((n, 1, 256 + 64 * 150 + 7)).astype(dtype)
    bias = rng.standard_normal(len(weight)).astype(dtype)
    model = model_of(weight, n, x.shape[-1], 64, dtype, bias, relu=True)
    assert model.explain().count("even frames") == n == model.explain().count("odd frames")
    wanted = np.maximum(framed(x, weight, 64) + bias[:, None], 0)
    np.testing.assert_allclose(model(x), wanted, atol=bound * wanted.max(), rtol=0)


def test_other_rows_stay_as_they_are() -> None:
    rng, weight = np.random.default_rng(0), transform(256, True)
    weight[7] += 1e-3 * rng.standard_normal(256)
    x = rng.standard_normal((1, 1, 256 + 64 * 150)).astype(np.float32)
    model = model_of(weight, 1, x.shape[-1], 64, np.float32)
    assert "frames" in model.explain() and "even frames" not in model.explain()
    wanted = framed(x, weight, 64)
    np.testing.assert_allclose(model(x), wanted, atol=1e-6 * np.abs(wanted).max(), rtol=0)


@pytest.mark.parametrize("method, bias", [("even frames", np.full(258, 2.0**-20)), ("spectra of frames", None)])
def test_quiet_outputs_of_a_loud_signal(method: str, bias: Array | None) -> None:
    """A tone between noise a million times quieter: each output is right by its own frame's sum of magnitudes."""
    weight = transform(256, True).astype(np.float32).astype(np.float64)
    t = np.arange(256 + 64 * 150)
    x = (np.sin(2 * np.pi * 40 * t / 256) + 1e-6 * np.random.default_rng(0).standard_normal(len(t))).astype(np.float32)[None, None]
    model = model_of(weight, 1, x.shape[-1], 64, np.float32, bias)
    assert method in model.explain()
    error = np.abs(model(x) - framed(x, weight, 64) - (0 if bias is None else bias[0]))
    bound = 260 * 2.0**-24 * framed(np.abs(x), np.abs(weight), 64)
    assert (error <= bound + 2.0**-40 * np.abs(weight).sum(1).max()).all()  # sines of multiples of pi are all rounding
