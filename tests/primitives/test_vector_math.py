"""Operations on whole vectors against long doubles, in units of the last place; special values; tails of lines."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import special

from kernels.primitives.vector_math import EMITTERS
from kernels.primitives.vector_pass import bits, line
from kernels.runtime.machine import machine

Array = np.ndarray


def run(name: str, *arrays: Array, p: float = 0.0, q: float = 0.0) -> Array:
    x = arrays[0]
    lanes = machine().lanes(x.itemsize)
    address, form = line(name, lanes, x.itemsize)
    y = np.full(len(x) + 8, np.nan, x.dtype)
    places = [each.ctypes.data for each in (*arrays, x, x)[:3]]
    ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 10)(address)(form, lanes, x.itemsize, y.ctypes.data, *places, len(x), bits(p), bits(q))
    assert np.isnan(y[len(x) :]).all(), "wrote past the end"
    return y[: len(x)]


def units(got: Array, wanted: Array, least: float = 0.0) -> float:
    """The largest error in units of the last place of what is wanted, or of `least`."""
    wanted64 = wanted.astype(np.float64)
    same = (got == wanted64) | (np.isnan(got) & np.isnan(wanted64))
    with np.errstate(all="ignore"):
        unit = np.spacing(np.maximum(np.abs(wanted64), least).astype(got.dtype)).astype(np.float64)
        error = np.where(same, 0, np.abs(got - wanted64) / unit)
    assert not np.isnan(error).any()
    return float(error.max())


SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan]
FUNCTIONS: dict[str, tuple[Callable[[Any], Any], tuple[float, float], float, float]] = {
    "exp": (np.exp, (-80, 80), 2, 0), "log": (np.log, (1e-30, 1e30), 2, 0), "sin": (np.sin, (-1e5, 1e5), 2, 1),
    "cos": (np.cos, (-1e5, 1e5), 2, 1), "erf": (special.erf, (-5, 5), 3, 1), "sqrt": (np.sqrt, (0, 1e9), 1, 0),
    "floor": (np.floor, (-99, 99), 0, 0), "ceil": (np.ceil, (-99, 99), 0, 0), "round": (np.rint, (-99, 99), 0, 0),
    "sign": (np.sign, (-2, 2), 0, 0), "abs": (np.abs, (-2, 2), 0, 0),
}  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name: str, dtype: Any) -> None:
    function, (low, high), most, least = FUNCTIONS[name]
    rng = np.random.default_rng(0)
    spread = np.exp(rng.uniform(np.log(low), np.log(high), 2001)) if name == "log" else rng.uniform(low, high, 2001)
    x = np.concatenate([spread, rng.standard_normal(1000), SPECIAL, [0.5, 1.5, -2.5]]).astype(dtype)
    with np.errstate(all="ignore"):
        wanted = function(x.astype(np.float64 if name == "erf" else np.longdouble))
    assert units(run(name, x), np.asarray(wanted), least) <= most


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_exponentials_at_the_ends_of_the_range(dtype: Any) -> None:
    limits = np.finfo(dtype)
    ends = np.log([float(limits.smallest_subnormal), float(limits.tiny), float(limits.max)])
    x = np.concatenate([np.linspace(end - 2, end + 2, 4001) for end in ends] + [[-1e4, 1e4, -1e30, 1e30]]).astype(dtype)
    with np.errstate(all="ignore"):
        wanted = np.exp(x.astype(np.longdouble))
        got, rounded = run("exp", x), wanted.astype(dtype)
        assert (np.isinf(got) == np.isinf(rounded)).mean() > 0.999 and (got[np.isinf(got)] == np.inf).all()
        finite = np.isfinite(got) & np.isfinite(rounded)
        error = np.abs(got[finite] - wanted[finite]) / np.spacing(np.maximum(rounded[finite], limits.smallest_subnormal))
    assert error.max() <= 2


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("exponent", [0.3, -1.7, 2.5, 5.0, -2.0])
def test_powers(dtype: Any, exponent: float) -> None:
    x = np.random.default_rng(1).uniform(0.01, 50, 999).astype(dtype)
    name = "power" if exponent % 1 else "power_odd" if exponent % 2 else "power_even"
    if not exponent % 1:
        x = np.concatenate([x, -x])
    wanted = x.astype(np.float64) ** exponent
    np.testing.assert_allclose(run(name, x, p=exponent), wanted, rtol=30 * np.finfo(dtype).eps)
    edge = np.array([0.0, np.inf], dtype)
    np.testing.assert_array_equal(run(name, edge, p=exponent), [0, np.inf] if exponent > 0 else [np.inf, 0])


@pytest.mark.parametrize("count", [1, 7, 16, 33])
def test_operands_and_tails(count: int) -> None:
    rng = np.random.default_rng(count)
    a, b, c = rng.standard_normal((3, count)).astype(np.float32)
    wanted = {
        "add": a + b, "sub": a - b, "mul": a * b, "div": a / b, "max": np.maximum(a, b), "min": np.minimum(a, b), "less": a < b,
        "less_equal": a <= b, "equal": a == b, "where": np.where(a != 0, b, c), "copy": a, "fill": np.full(count, 2.5),
        "at_least": np.maximum(a, 2.5), "at_most": np.minimum(a, 2.5), "div_by": a / np.float32(2.5), "divide": np.float32(2.5) / a,
        "is": a != 0, "not": a == 0, "is_nan": np.isnan(a), "relu": np.maximum(a, 0), "leaky_relu": np.where(a < 0, a * np.float32(2.5), a),
        "prelu": np.where(a < 0, a * b, a), "clip": np.clip(a, 2.5, 3), "affine": a * 2.5 + 3, "fma": a * b + c,
        "axpy": a * np.float32(2.5) + b, "add_square": a + (b - c) ** 2, "hardsigmoid": np.clip(a + 3, 0, 6) / 6,
        "hardswish": a * np.clip(a + 3, 0, 6) / 6,
    }  # fmt: skip
    for name, result in wanted.items():
        np.testing.assert_allclose(run(name, a, b, c, p=2.5, q=3.0), result, rtol=1e-6, atol=1e-6, err_msg=name)
    assert set(wanted) | set(FUNCTIONS) | {"power", "power_odd", "power_even"} >= set(EMITTERS) - {
        "elu", "gelu", "gelu_tanh", "sigmoid", "tanh", "silu"}  # fmt: skip


def test_nan_is_kept_by_maxima() -> None:
    a, b = np.array([np.nan, 1.0], np.float32), np.array([1.0, np.nan], np.float32)
    for name in ("max", "min"):
        assert np.isnan(run(name, a, b)).all()
    assert np.isnan(run("clip", a[:1], p=0.0, q=1.0)).all()
