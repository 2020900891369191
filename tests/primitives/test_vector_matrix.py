"""A row times matrices: layers one behind the other, whoever finishes the first does the rest."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from kernels.primitives.vector_matrix import SHARED, RowLayers, row_layer
from kernels.runtime.machine import pretend

ACTIVATIONS = [("relu", 0.0), None, ("leaky_relu", 0.25), ("relu6", 0.0)]


def computed(widths: list[int], threads: int, dtype: type, calls: int = 1, seed: int = 0) -> None:
    """Every layer's y, in buffers that hold NaN before, beside float64."""
    rng = np.random.default_rng(seed)
    pairs = list(itertools.pairwise(widths))
    weights = [(rng.standard_normal((out, count)) / count**0.5).astype(dtype) for count, out in pairs]
    biases = [rng.standard_normal(out).astype(dtype) if i % 2 == 0 else None for i, (_, out) in enumerate(pairs)]
    activations = [ACTIVATIONS[i % len(ACTIVATIONS)] for i in range(len(pairs))]
    chosen = [row_layer(*each) for each in zip(weights, biases, activations)]
    layers = RowLayers(chosen[:1], threads)
    for each in chosen[1:]:
        layers = layers.then(each)
    x, ys = np.empty(widths[0], dtype), [np.empty(out + 3, dtype) for out in widths[1:]]
    run = layers.bind([x, ys[-1], *ys[:-1]], np.full(layers.scratch_bytes, 0xFF, np.uint8))
    for _ in range(calls):
        x[:] = rng.standard_normal(widths[0])
        for y in ys:
            y.fill(np.nan)
        run()
        right = x.astype(np.float64)
        for y, weight, bias, activation in zip(ys, weights, biases, activations):
            right = weight.astype(np.float64) @ right + (0 if bias is None else bias)
            name, slope = activation or ("leaky_relu", 1.0)
            right = np.clip(right, 0, 6) if name == "relu6" else np.where(right > 0, right, (0 if name == "relu" else slope) * right)
            assert np.abs(y[:-3] - right).max() <= (1e-5 if dtype is np.float32 else 1e-13) * max(np.abs(right).max(), 1)
            assert np.isnan(y[-3:]).all(), "written past the end"


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("widths", [[7, 1], [33, 65, 3], [300, 20, 48], [1000, 70, 64, 1], [5, 200, 1, 17, 130]])
def test_layers_of_one_row(widths: list[int], dtype: type, threads: int) -> None:
    computed(widths, threads, dtype)


def test_a_large_first_layer_is_shared_and_the_rest_follows_in_every_call() -> None:
    widths = [SHARED // 256, 200, 90, 1]
    assert not row_layer(np.zeros((200, widths[0]), np.float32), None, None).small
    computed(widths, 2, np.float32, calls=500)


def test_what_an_interrupted_call_left_uncounted_does_not_matter() -> None:
    weights = np.eye(70, 5, dtype=np.float32), np.ones((2, 70), np.float32)
    first, second = (row_layer(weight, None, None) for weight in weights)
    layers = RowLayers([first, second], 1)
    x, y, hidden = np.ones(5, np.float32), np.empty(2, np.float32), np.empty(70, np.float32)
    run: Any = layers.bind([x, y, hidden], np.empty(layers.scratch_bytes, np.uint8))
    unfinished = dict(zip(run.__code__.co_freevars, run.__closure__))["unfinished"].cell_contents
    for count in (0, 1, -3, 1000):
        y.fill(np.nan)
        unfinished[0] = count
        run()
        assert np.array_equal(y, [5, 5])


@pytest.mark.parametrize("vector_bytes", [16, 32])
def test_lane_widths(vector_bytes: int) -> None:
    with pretend(vector_bytes=vector_bytes):
        computed([700, 65, 64, 3], 2, np.float32)
