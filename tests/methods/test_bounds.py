"""Error bounds hold as they are stated, as shares of sum |x| |w|: under cancellation, at the ends of the range, in padding."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import reference

import kernels
from kernels import ProblemError, RefusedError

METHODS = "direct", "im2col", "jit", "depthwise", "winograd", "fft"
LOCAL = METHODS[:4]


def exact(x: np.ndarray, weight: np.ndarray, stride: int = 1, groups: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """(the outputs in float64, the sums of magnitudes of their products)."""
    axes = weight.ndim - 2
    window = (stride,) * axes, ((0, 0),) * axes, (1,) * axes, groups
    return reference.conv(x, weight, None, *window), reference.conv(np.abs(x), np.abs(weight), None, *window)


def each(x: np.ndarray, weight: np.ndarray, names: tuple[str, ...] = METHODS, **options: Any) -> Any:
    """(name, plan, result) of every method that can do it."""
    for name in names:
        try:
            plan = kernels.plan(f"conv{weight.ndim - 2}d", x.shape, weight, implementation=name, **options)
        except RefusedError:
            continue
        yield name, plan, plan(x).astype(np.float64)


def zero_mean(draw: np.random.Generator, *shape: int) -> np.ndarray:
    weight = draw.standard_normal(shape)
    return (weight - weight.mean(tuple(range(2, len(shape))), keepdims=True)).astype(np.float32)


CANCELLING = {
    "33 taps": ((1, 8, 1500), (4, 8, 33), {}), "3x3": ((1, 16, 24, 24), (8, 16, 3, 3), {}),
    "5x5 strided": ((1, 8, 30, 30), (8, 8, 5, 5), {"stride": 2}),
    "depthwise": ((1, 8, 24, 24), (8, 1, 3, 3), {"groups": 8}), "long": ((1, 1, 4000), (1, 1, 700), {}),
    "tall": ((1, 2, 60, 20), (4, 2, 40, 2), {}),
}  # fmt: skip


@pytest.mark.parametrize("offset", [0.0, 32000.0, -1e6])
@pytest.mark.parametrize("name", CANCELLING)
def test_bounds_hold_where_products_cancel(name: str, offset: float) -> None:
    """A signal with an offset under zero-mean kernels: outputs are small against their products. Local methods keep the bound output by
    output, the others against the largest."""
    shape, weights, options = CANCELLING[name]
    draw = np.random.default_rng(0)
    x, weight = (draw.standard_normal(shape) + offset).astype(np.float32), zero_mean(draw, *weights)
    right, sums = exact(x, weight, **options)
    done = []
    for method, plan, found in each(x, weight, **options):
        allowed = plan.error_bound * (sums if method in LOCAL else sums.max())
        assert (np.abs(found - right) <= allowed).all(), (method, np.abs(found - right).max(), plan.error_bound)
        done.append(method)
    assert "direct" in done and len(done) >= 3


def test_windows_that_see_padding_alone_are_zero_where_accuracy_is_each() -> None:
    """To the bit, and within the bound of the largest output by transforms, which spread errors into them."""
    draw = np.random.default_rng(1)
    x, weight = draw.standard_normal((1, 8, 40), dtype=np.float32), draw.standard_normal((4, 8, 9), dtype=np.float32)
    padding = ((30, 30),)
    for method, plan, found in each(x, weight, padding=padding):
        outside = np.concatenate([found[..., :21], found[..., -21:]], -1)
        if method in LOCAL:
            assert not outside.any(), method
        else:
            assert np.abs(outside).max() <= plan.error_bound * np.abs(found).max() * 10, method
    assert not kernels.conv1d(x, weight, padding=padding, accuracy="each")[..., :21].any()


def test_a_finite_answer_near_the_top_of_the_range_is_found_where_accuracy_is_each() -> None:
    """Transforms add numbers that no window adds, so theirs may overflow: kernels/api/README.md says from where."""
    draw = np.random.default_rng(2)
    x = (draw.uniform(0.5, 1, (1, 16, 40)) * np.where(np.arange(40) % 2, -1, 1) * 1.5e38).astype(np.float32)
    weight = np.full((8, 16, 2), 1 / 64, np.float32)
    right, _ = exact(x, weight)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for method, _, found in each(x, weight, LOCAL):
            np.testing.assert_allclose(found, right, rtol=0, atol=1e-5 * 1.5e38, err_msg=method)
        np.testing.assert_allclose(kernels.conv1d(x, weight, accuracy="each"), right, rtol=0, atol=1e-5 * 1.5e38)


def test_numbers_below_the_smallest_normal_one_count_as_zero_and_no_others() -> None:
    """Products of 1e-35 are kept by local methods: each adds at most the smallest normal number to the error."""
    draw = np.random.default_rng(3)
    tiny = float(np.finfo(np.float32).tiny)
    x, weight = draw.standard_normal((1, 16, 20, 20)) * 1e-20, draw.standard_normal((8, 16, 3, 3)) * 1e-15
    x, weight = x.astype(np.float32), weight.astype(np.float32)
    right, sums = exact(x, weight)
    for method, plan, found in each(x, weight, LOCAL):
        assert (np.abs(found - right) <= plan.error_bound * sums + tiny * plan.problem.summands).all(), method
    found = kernels.conv2d(x, weight, accuracy="each")
    assert np.abs(found - right).max() <= 1e-4 * np.abs(right).max()


def test_what_is_named_against_the_accuracy_is_refused_not_done() -> None:
    x, weight = np.ones((1, 16, 20, 20), np.float32), np.ones((16, 16, 3, 3), np.float32)
    with pytest.raises((RefusedError, ProblemError), match="rules it out"):
        kernels.conv2d(x, weight, implementation="fft", accuracy="each")


@pytest.mark.parametrize("channels", [48, 100, 512])
def test_winograd_sums_channels_in_blocks(channels: int) -> None:
    """Errors do not grow with the channels: 512 in one sum had 2e-5 of the largest output."""
    draw = np.random.default_rng(0)
    x = draw.standard_normal((1, channels, 24, 24)).astype(np.float32)
    weight = draw.standard_normal((32, channels, 3, 3)).astype(np.float32)
    found = kernels.conv2d(x, weight, padding=1, implementation="winograd")
    right = kernels.conv2d(x.astype(np.float64), weight.astype(np.float64), padding=1, implementation="direct")
    assert np.abs(found - right).max() <= 1e-5 * np.abs(right).max()
