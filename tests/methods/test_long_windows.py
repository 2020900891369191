"""Long windows and padded windows side by side: the same as loop by loop, local, and by work that does not grow with the window."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

import kernels
from kernels.methods import load
from kernels.methods.pooling import long_windows, window

load()
DRAW = np.random.default_rng(0)


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of any length as if they were long."""
    monkeypatch.setattr(window, "is_long", lambda problem: not problem.return_indices)


def check(op: str, x: np.ndarray, **options: Any) -> None:
    expected = getattr(kernels, op)(x, implementation="naive" if x.size < 400 else "jit", **options)
    close = 1e-5 if x.dtype == np.float32 else 1e-13
    for threads in (1, 2):
        plan = kernels.plan(op, x.shape, dtype=x.dtype, implementation="window", threads=threads, **options)
        out = np.full(plan.out_shape, np.nan, x.dtype)
        np.testing.assert_allclose(plan(x, out=out), expected, rtol=close, atol=close / 10, err_msg=f"{op} {options} {x.shape}")


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("op", ["max_pool1d", "avg_pool1d"])
def test_lines(op: str, dtype: Any) -> None:
    for k, stride, dilation, length in itertools.product((1, 7, 33), (1, 3, 40), (1, 3), (100, 101)):
        x = DRAW.standard_normal((2, 3, length)).astype(dtype)
        if (k - 1) * dilation < length:
            check(op, x, kernel_size=k, stride=stride, padding=k // 2, dilation=dilation)
            check(op, x[:1, :1], kernel_size=k, stride=stride, dilation=dilation, ceil_mode=dilation == 1)


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("op", ["max_pool2d", "avg_pool2d", "max_pool3d"])
def test_planes(op: str) -> None:
    for kernel, stride, ceil in itertools.product(((1, 9), (9, 1), (20, 5)), ((1, 1), (2, 30)), (False, True)):
        options: dict[str, Any] = {"kernel_size": kernel, "stride": stride, "padding": tuple(k // 2 for k in kernel), "ceil_mode": ceil}
        if "3d" in op:
            options = {name: value if name == "ceil_mode" else (2, *value) for name, value in options.items()} | {"padding": 0}
        if op == "avg_pool2d":
            options |= {"count_include_pad": ceil, "divisor_override": 7 if stride == (1, 1) else None}
        check(op, DRAW.standard_normal((2, 2, *(4,) * ("3d" in op), 30, 70), dtype=np.float32), **options)


@pytest.mark.parametrize("spoiler", [math.nan, math.inf, -math.inf, 1e30, -1e9])
@pytest.mark.parametrize("op", ["max_pool1d", "avg_pool1d"])
def test_what_a_window_does_not_see_leaves_it_alone(op: str, spoiler: float) -> None:
    """Running sums that subtract what has left would not."""
    for dtype in (np.float32, np.float64):
        x = DRAW.standard_normal((1, 1, 20_000)).astype(dtype)
        plan = kernels.plan(op, x.shape, 1000, 1, dtype=dtype, implementation="window")
        assert "long windows" in plan.explain()
        clean = plan(x)
        x[0, 0, 9000] = spoiler
        spoilt = plan(x)
        seen = slice(9000 - 999, 9001)
        untouched = np.delete(np.arange(clean.size), seen)
        np.testing.assert_array_equal(spoilt[..., untouched], clean[..., untouched])
        if math.isnan(spoiler):
            assert np.isnan(spoilt[..., seen]).all()
        elif op == "avg_pool1d" and math.isinf(spoiler):
            assert (spoilt[..., seen] == spoiler).all()


def test_averages_are_accurate_where_most_of_the_sum_cancels() -> None:
    """Against exact sums: float32 within a rounding, float64 within a few."""
    for dtype, bound in ((np.float32, 1.2e-7), (np.float64, 4e-16)):
        x = (DRAW.standard_normal(30_000) + 1e4 * np.sign(np.sin(np.arange(30_000.0)))).astype(dtype)
        found = kernels.avg_pool1d(x[None, None], 5000, 1)[0, 0]
        for at in range(0, found.size, 997):
            exact = math.fsum(x[at : at + 5000].astype(np.float64)) / 5000
            assert abs(found[at] - exact) <= bound * max(abs(exact), np.abs(x).max() * (1e-3 if dtype == np.float64 else 0))


def test_a_window_of_a_million_ends() -> None:
    x = DRAW.standard_normal((1, 1, 2_000_000), dtype=np.float32)
    for op, expected in (("max_pool1d", x[..., :1_000_001].max()), ("avg_pool1d", x[..., :1_000_000].mean(dtype=np.float64))):
        plan = kernels.plan(op, x.shape, 1_000_000, 1)
        assert plan.seconds is not None and plan.seconds < 1
        assert plan(x)[0, 0, 0] == pytest.approx(expected, rel=1e-5)


def test_the_estimate_decides_and_tells() -> None:
    for kernel, stride, long in ((4411, 1, True), (2, 2, False), (3, 1, False), (4096, 4096, False), (16, 1, False)):
        text = kernels.plan("max_pool1d", (1, 1, 220_500), kernel, stride, implementation="window").explain()
        assert ("long windows" in text) == long, (kernel, stride)


def test_short_ones_load_every_tap() -> None:
    problem = kernels.plan("max_pool2d", (1, 64, 96, 1366), 3, 1).problem
    assert not long_windows.is_long(problem)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("op", ["max_pool2d", "avg_pool2d"])
def test_padded_windows_side_by_side(op: str, dtype: Any) -> None:
    """Whose first and last columns see padding: the others are done as unpadded ones are."""
    for k, (h, w), ceil in itertools.product((2, 3, 5, 8), ((1, 9), (9, 131), (12, 64), (8, 7)), (False, True)):
        kernel = min(k, h), min(k, w)
        for padding in {(0, kernel[1] // 2), (kernel[0] // 2, kernel[1] // 2), (0, 1 if kernel[1] > 1 else 0)}:
            options: dict[str, Any] = {"kernel_size": kernel, "padding": padding, "ceil_mode": ceil}
            if op == "avg_pool2d":
                options["count_include_pad"] = ceil
            check(op, DRAW.standard_normal((2, 9, h, w)).astype(dtype), **options)
    check(op, DRAW.standard_normal((1, 3, 4, 50)).astype(dtype), kernel_size=(2, 4), padding=((1, 0), (0, 3)))
