"""Every implementation of pooling on every named problem: right to its bound, and it touches nothing but its output."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import reference
from cases import POOL, PoolCase
from memory import Guarded, given

import kernels
from kernels import implementations
from kernels.dispatch.plan import Plan
from kernels.methods import load, registry
from kernels.runtime.machine import pretend

load()
NAMES = list(registry.every("pool"))
CELLS = [(name, case) for name in NAMES for case in POOL]
AVERAGES: dict[str, dict[str, Any]] = {
    "counting_padding": {}, "not_counting_padding": {"count_include_pad": False}, "divided_by_3": {"divisor_override": 3},
}  # fmt: skip


def prepared(name: str, op: str, case: PoolCase, dtype: str, threads: int, **options: Any) -> Plan | None:
    """The plan, or None where the implementation refuses, after checking that it refuses by the rules."""
    shape = case.n, case.channels, *case.size
    options |= case.options
    sentence = implementations(op, shape, case.kernel, dtype=dtype, **options)[name]
    if sentence is None:
        return kernels.plan(op, shape, case.kernel, dtype=dtype, implementation=name, threads=threads, **options)
    assert isinstance(sentence, str) and len(sentence.split()) >= 3, f"{sentence!r} is no sentence"
    with pytest.raises(kernels.RefusedError) as refusal:
        kernels.plan(op, shape, case.kernel, dtype=dtype, implementation=name, threads=threads, **options)
    assert sentence in str(refusal.value) and name in str(refusal.value)
    return None


def called(plan: Plan, x: np.ndarray, dtype: str) -> Any:
    """One call into guarded, poisoned memory."""
    source, target = given(x), Guarded(plan.out_shape, dtype)
    result = plan(source.array, out=target.array)
    assert (result[0] if isinstance(result, tuple) else result) is target.array
    assert source.unchanged(), "the input was written to"
    assert target.zones_untouched(), "something was written outside the output"
    return result


def check_max(plan: Plan | None, case: PoolCase, dtype: str, x: np.ndarray, indices: bool) -> None:
    if plan is None:
        return
    result = called(plan, x, dtype)
    maxima, where = reference.max_pool(x, *case.window)
    if indices:
        result, positions = result
        assert positions.dtype == np.int64
        seen = maxima > -math.inf
        np.testing.assert_array_equal(positions[seen], where[seen])
    np.testing.assert_array_equal(result, maxima)


def check_avg(plan: Plan | None, case: PoolCase, dtype: str, x: np.ndarray, options: dict[str, Any]) -> None:
    if plan is None:
        return
    expected = reference.avg_pool(x, *case.window, options.get("count_include_pad", True), options.get("divisor_override"))
    assert reference.share(called(plan, x, dtype), expected) <= plan.error_bound + reference.rounding(math.prod(case.kernel))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name, case", CELLS, ids=[f"{name}-{case.name}" for name, case in CELLS])
def test_maximum(name: str, case: PoolCase, dtype: str, poisoned_scratch: None) -> None:
    x = case.x(dtype)
    for threads in (1, 2):
        for indices in (False, True):
            plan = prepared(name, f"max_pool{len(case.size)}d", case, dtype, threads, return_indices=indices)
            check_max(plan, case, dtype, x, indices)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name, case", CELLS, ids=[f"{name}-{case.name}" for name, case in CELLS])
def test_average(name: str, case: PoolCase, dtype: str, poisoned_scratch: None) -> None:
    x = case.x(dtype)
    for threads in (1, 2):
        for options in AVERAGES.values():
            check_avg(prepared(name, f"avg_pool{len(case.size)}d", case, dtype, threads, **options), case, dtype, x, options)


@pytest.mark.parametrize("vector_bytes", [16, 32, 64])
@pytest.mark.parametrize("case", POOL[:10] + [case for case in POOL if "width" in case.name][::4], ids=lambda case: case.name)
@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("naive", "jit")])  # these two know no vectors
def test_every_vector_width(name: str, case: PoolCase, vector_bytes: int, poisoned_scratch: None) -> None:
    for dtype in ("float32", "float64"):
        with pretend(vector_bytes=vector_bytes, registers=32 if vector_bytes == 64 else 16):
            check_max(prepared(name, f"max_pool{len(case.size)}d", case, dtype, 2), case, dtype, case.x(dtype), False)
            check_avg(prepared(name, f"avg_pool{len(case.size)}d", case, dtype, 2), case, dtype, case.x(dtype), {})


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("op", ["max", "avg"])
def test_is_able_at_all(name: str, op: str) -> None:
    """An implementation that refuses everything would pass everything."""
    able = []
    for case in POOL:
        shape = case.n, case.channels, *case.size
        if implementations(f"{op}_pool{len(case.size)}d", shape, case.kernel, **case.options)[name] is None:
            able.append(case.name)
    assert len(able) >= 3
    assert name not in ("naive", "jit") or len(able) == len(POOL), "the definition refuses nothing"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("threads", [1, 2])
def test_maximum_of_what_is_not_a_number(name: str, threads: int) -> None:
    """NaN is kept and its first position given; -inf in the input is a value like any other, padding is not."""
    x = np.arange(2 * 10 * 40, dtype=np.float32).reshape(1, 2, 10, 40) % 7
    x[0, 0, 3, 5], x[0, 0, 3, 6], x[0, 1, 9, 39], x[0, 1, 2, 2] = np.nan, np.nan, np.nan, np.inf
    x[0, 1, 4:9, 10:30] = -np.inf
    arguments = (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1), False
    maxima, where = reference.max_pool(x, *arguments)
    assert np.isnan(maxima).any() and np.isneginf(maxima).any() and np.isposinf(maxima).any()
    # a method may refuse indices; it may not get the values wrong
    np.testing.assert_array_equal(kernels.max_pool2d(x, 3, 2, 1, implementation=name, threads=threads), maxima)
    if implementations("max_pool2d", x.shape, 3, 2, 1, return_indices=True)[name] is None:
        values, positions = kernels.max_pool2d(x, 3, 2, 1, return_indices=True, implementation=name, threads=threads)
        np.testing.assert_array_equal(values, maxima)
        np.testing.assert_array_equal(positions, where)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_averages_spoil_only_what_sees_them(name: str, value: float) -> None:
    x = np.random.default_rng(1).standard_normal((1, 2, 9, 50)).astype(np.float32)
    clean = kernels.avg_pool2d(x, (3, 5), 1, (1, 2), implementation=name)
    x[0, 1, 4, 20] = value
    y = kernels.avg_pool2d(x, (3, 5), 1, (1, 2), implementation=name)
    sees = np.zeros(y.shape, bool)
    sees[0, 1, 3:6, 18:23] = True
    assert not np.isfinite(y[sees]).any()
    np.testing.assert_allclose(y[~sees], clean[~sees], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_view_as_output(name: str) -> None:
    x = np.random.default_rng(2).standard_normal((2, 3, 8, 36)).astype(np.float32)
    whole = np.full((2, 3, 4, 18, 2), 5.0, np.float32)
    view = whole[..., 1]
    view[...] = np.nan
    assert kernels.max_pool2d(x, 2, implementation=name, out=view) is view
    np.testing.assert_array_equal(view, reference.max_pool(x, (2, 2), (2, 2), ((0, 0), (0, 0)), (1, 1), False)[0])
    assert (whole[..., 0] == 5.0).all()


@pytest.mark.parametrize("name", ["naive", "jit", "window"])
def test_a_first_window_may_overhang_with_ceil_mode(name: str) -> None:
    """As in PyTorch: one output, over what there is, where the overhang is shorter than the stride."""
    x = np.arange(1.0, 5.0, dtype=np.float32).reshape(1, 1, 2, 2)
    assert kernels.max_pool2d(x, 3, 2, ceil_mode=True, implementation=name).tolist() == [[[[4.0]]]]
    assert kernels.avg_pool2d(x, 3, 2, ceil_mode=True, implementation=name).tolist() == [[[[2.5]]]]
    with pytest.raises(kernels.ProblemError, match="shorter than the dilated kernel"):
        kernels.max_pool2d(x, 3, 1, ceil_mode=True, implementation=name)
