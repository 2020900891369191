"""Convolution and pooling over three axes, and adaptive pooling over one to three, by every implementation, against float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import reference
from cases import PRECISION, ConvCase, PoolCase, conv, pool
from memory import Guarded, given

import kernels
from kernels import implementations
from kernels.dispatch.plan import Plan
from kernels.methods import load, registry
from kernels.methods.lowered import volume

load()
Array = np.ndarray
CONVS = [
    conv("cube", (5, 6, 7), (3, 3, 3), 3, 4, padding=1),
    conv("cube_many_channels", (4, 5, 9), (3, 3, 3), 4, 9, padding=1),
    conv("strides", (7, 6, 9), (3, 2, 3), 2, 3, stride=(2, 1, 3), n=2),
    conv("dilated_deep", (9, 5, 6), (3, 2, 2), 2, 3, dilation=(3, 1, 2), padding=((2, 3), (0, 1), (1, 0))),
    conv("window_of_all_planes", (3, 5, 8), (3, 3, 3), 3, 5, n=3),
    conv("planes_alone", (4, 5, 8), (1, 3, 3), 2, 3, n=2),
    conv("pointwise", (3, 4, 5), (1, 1, 1), 5, 4),
    conv("depth_alone", (9, 2, 3), (4, 1, 1), 2, 3, stride=(2, 1, 1)),
    conv("groups", (4, 5, 6), (2, 3, 2), 6, 4, groups=2),
    conv("depthwise", (4, 5, 6), (1, 3, 3), 3, 6, groups=3, padding=1),
    conv("depthwise_deep", (4, 5, 6), (2, 3, 3), 3, 3, groups=3),
    conv("padding_past_the_input", (1, 2, 2), (2, 3, 3), 2, 3, padding=3),
    conv("batch_0", (3, 4, 5), (2, 2, 2), 2, 3, n=0),
]
POOLS = [
    pool("cube", (4, 6, 9), (2, 2, 3)),
    pool("overlapping", (5, 7, 11), (3, 3, 3), stride=(2, 1, 2), padding=1, n=2),
    pool("overhanging", (6, 7, 10), (3, 2, 3), stride=2, padding=((1, 0), (0, 1), (1, 1)), ceil_mode=True),
    pool("dilated", (9, 6, 9), (2, 3, 2), stride=(1, 1, 2), dilation=(4, 2, 3), padding=((2, 1), (0, 0), (1, 1))),
    pool("whole", (3, 4, 5), (3, 4, 5), channels=3),
    pool("depth_alone", (8, 3, 4), (3, 1, 1), stride=(2, 1, 1)),
    pool("batch_0", (2, 4, 6), (2, 2, 2), n=0),
]
AVERAGES: dict[str, dict[str, Any]] = {"padding": {}, "input": {"count_include_pad": False}, "3": {"divisor_override": 3}}
ADAPTIVE = [((13,), (5,)), ((3,), (8,)), ((7, 9), (3, 4)), ((8, 10), (4, 3)), ((5, 6, 7), (2, 3, 4)), ((4, 6, 9), (3, 1, 9))]


def able(op: str, name: str, x_shape: tuple[int, ...], *args: Any, **options: Any) -> Plan | None:
    """The plan, or None where the implementation refuses, which naming it must raise too."""
    options |= PRECISION.get(name, {}) if options.get("dtype") != "float64" else {}
    sentence = implementations(op, x_shape, *args, **options)[name]
    if sentence is None:
        plan = kernels.plan(op, x_shape, *args, implementation=name, **options)
        assert plan.implementation == name and kernels.parse(str(plan.problem)) == plan.problem and str(plan.problem) in plan.explain()
        return plan
    with pytest.raises(kernels.RefusedError) as refusal:
        kernels.plan(op, x_shape, *args, implementation=name, **options)
    assert sentence in str(refusal.value)
    return None


def called(plan: Plan, x: Array, dtype: str) -> Any:
    """One call into guarded, poisoned memory."""
    source, target = given(x), Guarded(plan.out_shape, dtype)
    result = plan(source.array, out=target.array)
    assert source.unchanged() and target.zones_untouched()
    return result


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CONVS, ids=lambda case: case.name)
@pytest.mark.parametrize("name", registry.every("conv3d"))
def test_convolution(name: str, case: ConvCase, dtype: str, poisoned_scratch: None) -> None:
    x, weight, bias = case.arrays(dtype)
    plan = able(case.op, name, x.shape, weight, bias, dtype=dtype, **case.options)
    if plan is not None:
        expected = reference.conv(x, weight, bias, case.stride, case.padding, case.dilation, case.groups)
        result = called(plan, x, dtype)
        assert result.shape == expected.shape
        assert reference.share(result, expected) <= plan.error_bound + reference.rounding(case.summands)


@pytest.mark.parametrize("name", registry.every("conv3d"))
def test_some_planes_at_a_time(name: str, monkeypatch: pytest.MonkeyPatch, poisoned_scratch: None) -> None:
    """Blocks that end inside an image and go on in the next, the last one short; with all that may follow."""
    case = CONVS[1 if name == "winograd" else 9 if name == "depthwise" else 2]
    x, weight, bias = case.arrays("float32")
    monkeypatch.setattr(volume, "items", lambda problem: 4)
    options: dict[str, Any] = {**case.options, "scale": 2 * bias, "shift": bias, "activation": "relu", "pool": ("max", 2, 1)}
    plan = able(case.op, name, x.shape, weight, bias, **options)
    assert plan is not None
    y = reference.conv(x, weight, bias, case.stride, case.padding, case.dilation, case.groups)
    column = bias.reshape(-1, 1, 1, 1).astype(np.float64)
    y = np.maximum(y * 2 * column + column, 0)
    expected = reference.max_pool(y, (2, 2, 2), (1, 1, 1), [(0, 0)] * 3, (1, 1, 1), False)[0]
    assert reference.share(plan(x), expected) <= 4 * plan.error_bound


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", POOLS, ids=lambda case: case.name)
@pytest.mark.parametrize("name", registry.every("pool3d"))
def test_pooling(name: str, case: PoolCase, dtype: str, poisoned_scratch: None) -> None:
    x = case.x(dtype)
    maxima, where = reference.max_pool(x, *case.window)
    for indices in (False, True):
        plan = able("max_pool3d", name, x.shape, case.kernel, dtype=dtype, return_indices=indices, **case.options)
        if plan is not None:
            result = called(plan, x, dtype)
            if indices:
                result, positions = result
                np.testing.assert_array_equal(positions, where)
            np.testing.assert_array_equal(result, maxima)
    for options in AVERAGES.values():
        plan = able("avg_pool3d", name, x.shape, case.kernel, dtype=dtype, **case.options, **options)
        if plan is not None:
            expected = reference.avg_pool(x, *case.window, options.get("count_include_pad", True), options.get("divisor_override"))
            assert reference.share(called(plan, x, dtype), expected) <= plan.error_bound + reference.rounding(math.prod(case.kernel))


@pytest.mark.parametrize("name", registry.every("pool3d"))
def test_maximum_of_what_is_not_a_number(name: str) -> None:
    x = np.zeros((1, 1, 4, 6, 8), np.float32)
    x[0, 0, 1, 2, 3], x[0, 0, 1, 3, 2], x[0, 0, 3, 5, 7] = np.nan, np.nan, np.inf
    values, positions = kernels.max_pool3d(x, 2, return_indices=True, implementation=name)
    maxima, where = reference.max_pool(x, (2, 2, 2), (2, 2, 2), [(0, 0)] * 3, (1, 1, 1), False)
    np.testing.assert_array_equal(values, maxima)
    np.testing.assert_array_equal(positions, where)


@pytest.mark.parametrize("size, outputs", ADAPTIVE, ids=str)
@pytest.mark.parametrize("name", registry.every("adaptive_pool"))
def test_adaptive(name: str, size: tuple[int, ...], outputs: tuple[int, ...]) -> None:
    x = np.round(4 * np.random.default_rng(7).standard_normal((2, 3, *size)).astype(np.float32)) / 4
    for kind in ("max", "avg"):
        expected, where = reference.adaptive_pool(x, outputs, kind)
        op, flags = f"adaptive_{kind}_pool{len(size)}d", [{"return_indices": True}] if kind == "max" else []
        for options in ({}, *flags):
            plan = able(op, name, x.shape, outputs, **options)
            if plan is None:
                continue
            result = called(plan, x, "float32")
            if options:
                result, positions = result
                np.testing.assert_array_equal(positions, where)
            assert reference.share(result, expected) <= plan.error_bound


def test_which_do_adaptive_pools() -> None:
    uneven = implementations("adaptive_avg_pool1d", (1, 2, 13), 5)
    assert uneven["naive"] is None and uneven["jit"] is None and "one length and step" in str(uneven["window"])
    for size, outputs in ((12, 4), (7, 3), (9, 1), (6, 6)):  # windows that are all alike, side by side or overlapping
        assert set(implementations("adaptive_max_pool1d", (1, 2, size), outputs).values()) == {None}
        x = np.random.default_rng(size).standard_normal((1, 2, size))
        np.testing.assert_array_equal(kernels.adaptive_max_pool1d(x, outputs), reference.adaptive_pool(x, (outputs,), "max")[0])


def test_lengths_that_stay() -> None:
    x = np.random.default_rng(8).standard_normal((3, 7, 10))
    y = kernels.adaptive_avg_pool2d(x, (None, 4))
    np.testing.assert_allclose(y, reference.adaptive_pool(x[None], (7, 4), "avg")[0][0], rtol=0, atol=1e-14)
    np.testing.assert_array_equal(kernels.adaptive_max_pool2d(x, None), x)
    last = kernels.adaptive_avg_pool2d(x.transpose(1, 2, 0), (None, 4), layout="channels_last")
    np.testing.assert_array_equal(last.transpose(2, 0, 1), y)


@pytest.mark.parametrize("output_size", [0, -1, 2.5, (2, 3), "2", ()])
def test_output_sizes_that_are_none(output_size: Any) -> None:
    with pytest.raises(kernels.ProblemError, match="output_size"):
        kernels.adaptive_avg_pool1d(np.ones((1, 1, 8)), output_size)


def test_global_pools_of_volumes() -> None:
    x = np.random.default_rng(9).standard_normal((2, 3, 4, 5, 6))
    np.testing.assert_allclose(kernels.global_avg_pool(x), x.mean(axis=(2, 3, 4), keepdims=True), rtol=0, atol=1e-14)
    np.testing.assert_array_equal(kernels.global_max_pool(x), x.max(axis=(2, 3, 4), keepdims=True))
