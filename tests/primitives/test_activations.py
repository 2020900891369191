"""Activations in vectors: their errors in units of the last place, their limits, and the contract of the pass over lines."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable

import numpy as np
import pytest
import scipy.special
from memory import Guarded
from micro_kernels import at, invoke

from kernels.primitives import activations as smooth
from kernels.primitives import register_post_ops as outer

Array = np.ndarray
WIDEST = {"float32": 16, "float64": 8}


def bits(number: float) -> int:
    """The bits of a float64, as micro-kernels take a slope."""
    return int(struct.unpack("q", struct.pack("d", number))[0])


def applied(name: str, x: Array, slope: float = 1.0) -> Array:
    """An activation of a copy of x by its micro-kernel."""
    y = x.copy()
    lanes = WIDEST[x.dtype.name]
    literals = smooth.FORMS[name], lanes, x.itemsize
    invoke(smooth.lines(*literals), *literals, at(y), 0, 1, y.size, 0, 0, 0, bits(slope))
    return y


def logistic(x: Array) -> Array:
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


ROOT_2_PI = np.sqrt(2 / (4 * np.arctan(np.longdouble(1))))
# the definitions in long double, where nothing here cancels; GELU's normal distribution in float64, which is within a unit of it
DEFINITIONS: dict[str, Callable[[Array], Array]] = {
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "gelu": lambda x: x * scipy.special.ndtr(x.astype(np.float64)),
    "gelu_tanh": lambda x: x * logistic(2 * ROOT_2_PI * (x + np.longdouble("0.044715") * x**3)),
    "sigmoid": logistic,
    "tanh": np.tanh,
    "silu": lambda x: x * logistic(x),
    "hardswish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "hardsigmoid": lambda x: np.clip(x + 3, 0, 6) / 6,
}
# (for x > 0, for x < 0): in units of the result's last place, but GELU's for x < 0 in those of x
UNITS = {
    "elu": (0.1, 1.5), "tanh": (3, 3), "sigmoid": (3, 3), "hardsigmoid": (1.5, 1.5), "hardswish": (3, 3), "silu": (4, 4), "gelu": (5, 2.2),
    "gelu_tanh": (3, 1),
}  # fmt: skip


def test_every_form_is_measured() -> None:
    assert set(DEFINITIONS) == set(UNITS) == set(smooth.FORMS)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", DEFINITIONS)
def test_error_in_units_of_the_last_place(name: str, dtype: str) -> None:
    """Evenly and logarithmically spaced arguments on either side, from where the function is a line to where it has reached its limit."""
    spaced = np.geomspace(1e-9, 80, 100_000)
    x = np.concatenate([np.linspace(-20, 20, 200_001), spaced, -spaced]).astype(dtype)
    y = applied(name, x)
    expected = DEFINITIONS[name](x.astype(np.longdouble))
    smallest = float(np.finfo(dtype).tiny)
    to_the_right, to_the_left = UNITS[name]
    last = np.spacing(np.maximum(np.abs(expected), smallest).astype(dtype))
    if name.startswith("gelu"):
        last = np.where(x > 0, last, np.spacing(np.abs(x)))
    error = np.abs(y - expected)
    error[np.abs(expected) < 100 * smallest] -= 100 * smallest  # those may be zero
    assert float((error / last)[x > 0].max()) <= to_the_right
    assert float((error / last)[x < 0].max()) <= to_the_left


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", DEFINITIONS)
def test_limits(name: str, dtype: str) -> None:
    """Far out on both sides, infinities, NaN; nowhere anything but the limit. -inf * 0 is NaN, as in PyTorch."""
    far = np.array([-1e30, -1e4, -800, 800, 1e4, 1e30, np.inf], dtype)
    floor = {"elu": -1.0, "tanh": -1.0}.get(name, 0.0)
    ceiling = np.ones(4, dtype) if name in ("sigmoid", "tanh", "hardsigmoid") else far[3:]
    np.testing.assert_array_equal(applied(name, far), [floor] * 3 + list(ceiling))
    infinite = np.nan if name in ("silu", "gelu", "gelu_tanh", "hardswish") else floor
    middle = 0.5 if "sigmoid" in name else 0.0
    np.testing.assert_array_equal(applied(name, np.array([-np.inf, np.nan, 0.0, -0.0], dtype)), [infinite, np.nan, middle, middle])


@pytest.mark.parametrize("name", DEFINITIONS)
def test_pytorchs_answers(name: str) -> None:
    """PyTorch's own formulas round too: both are within a few units of x's last place."""
    torch = pytest.importorskip("torch")
    function = getattr(torch.nn.functional, name.removesuffix("_tanh"))
    options = {"approximate": "tanh"} if name == "gelu_tanh" else {}
    x = np.linspace(-30, 30, 100_001)
    for dtype, atol in (("float32", 1.5e-6), ("float64", 3e-15)):
        theirs = function(torch.from_numpy(x.astype(dtype)), **options).numpy()
        np.testing.assert_allclose(applied(name, x.astype(dtype)), theirs, rtol=6 * float(np.finfo(dtype).eps), atol=atol)


@pytest.mark.parametrize("lanes,dtype", [*((lanes, "float32") for lanes in (4, 8, 16)), *((lanes, "float64") for lanes in (2, 4, 8))])
@pytest.mark.parametrize("name", ["", "elu", "hardswish"])
def test_lines(name: str, lanes: int, dtype: str) -> None:
    """In place on lines some way apart, the last vector full, short or missing; scaled and shifted first, nothing written between."""
    size = np.dtype(dtype).itemsize
    form = smooth.FORMS.get(name, 0)
    address = smooth.lines(form, lanes, size)
    scale, shift = np.array([-2], dtype), np.array([3], dtype)
    for count, (lines, gap), scaled in itertools.product((1, lanes - 1, lanes, 3 * lanes + 1), ((1, 0), (3, 5)), (False, True)):
        values = np.random.default_rng(count).integers(-4, 5, (lines, count + gap)).astype(dtype)
        y = Guarded(values.shape, dtype)
        y.array[...] = values
        addresses = (at(scale), at(shift)) if scaled else (0, 0)
        activation = 0 if name else outer.ACTIVATIONS["relu6"]
        invoke(address, form, lanes, size, at(y.array), count + gap, lines, count, *addresses, activation, bits(0.5))
        x = values[:, :count].astype(np.float64) * (-2 if scaled else 1) + (3 if scaled else 0)
        if name == "elu":
            expected = np.where(x > 0, x, 0.5 * np.expm1(np.minimum(x, 0)))
        else:
            expected = x * np.clip(x + 3, 0, 6) / 6 if name else np.clip(x, 0, 6)
        np.testing.assert_allclose(y.array[:, :count], expected, rtol=4 * float(np.finfo(dtype).eps), atol=0)
        np.testing.assert_array_equal(y.array[:, count:], values[:, count:])
        assert y.zones_untouched()
