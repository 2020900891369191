"""The public functions: what they accept, in which order, and what comes back."""

from __future__ import annotations

import doctest
import inspect
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import reference
import scipy.signal
from patience import PATIENCE

import kernels

Array = np.ndarray
ZERO = ((0, 0), (0, 0))


def normal(*shape: int, dtype: str = "float32", seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def test_public_names_outlive_the_first_plan() -> None:
    """Importing submodules later must not put modules in the place of functions."""
    code = (
        "import kernels\n"
        "kernels.conv1d([[[1.0, 2.0]]], [[[1.0]]])\n"
        "assert [name for name in kernels.__all__ if type(getattr(kernels, name)).__name__ == 'module'] == []\n"
        "assert kernels.implementations('global_max_pool', (1, 1, 4))['naive'] is None\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr


def test_all_is_sorted_and_there() -> None:
    assert list(kernels.__all__) == sorted(kernels.__all__)
    for name in kernels.__all__:
        assert getattr(kernels, name).__doc__, f"{name} has no docstring"


FUNCTIONS = [name for name in kernels.__all__ if inspect.isfunction(getattr(kernels, name))]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_example_in_docstring(name: str) -> None:
    """Every public function has an example, and it prints what it says."""
    found = doctest.DocTestFinder().find(getattr(kernels, name), name, globs={**vars(kernels), "np": np})
    assert found and found[0].examples, f"{name} has no example"
    runner = doctest.DocTestRunner()
    runner.run(found[0])
    assert runner.failures == 0


def test_positional_order_is_that_of_pytorch() -> None:
    orders: dict[Callable[..., Any], str] = {
        kernels.conv1d: "x weight bias stride padding dilation groups",
        kernels.conv2d: "x weight bias stride padding dilation groups",
        kernels.conv3d: "x weight bias stride padding dilation groups",
        kernels.conv_transpose1d: "x weight bias stride padding output_padding groups dilation",
        kernels.conv_transpose2d: "x weight bias stride padding output_padding groups dilation",
        kernels.conv_transpose3d: "x weight bias stride padding output_padding groups dilation",
        kernels.max_pool1d: "x kernel_size stride padding dilation ceil_mode return_indices",
        kernels.max_pool2d: "x kernel_size stride padding dilation ceil_mode return_indices",
        kernels.avg_pool1d: "x kernel_size stride padding ceil_mode count_include_pad divisor_override",
        kernels.avg_pool2d: "x kernel_size stride padding ceil_mode count_include_pad divisor_override",
        kernels.max_pool3d: "x kernel_size stride padding dilation ceil_mode return_indices",
        kernels.avg_pool3d: "x kernel_size stride padding ceil_mode count_include_pad divisor_override",
        **{getattr(kernels, f"adaptive_avg_pool{d}d"): "x output_size" for d in (1, 2, 3)},
        **{getattr(kernels, f"adaptive_max_pool{d}d"): "x output_size return_indices" for d in (1, 2, 3)},
        kernels.global_avg_pool: "x",
        kernels.global_max_pool: "x",
    }
    for function, order in orders.items():
        parameters = inspect.signature(function).parameters.values()
        assert [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD] == order.split()
        assert {"implementation", "layout", "out", "threads"} <= {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}


# --- forms of padding


PADDINGS = {
    "int": (2, ((2, 2), (2, 2))),
    "numpy_int": (np.int64(1), ((1, 1), (1, 1))),
    "tuple": ((1, 3), ((1, 1), (3, 3))),
    "list": ([1, 3], ((1, 1), (3, 3))),
    "pairs": (((0, 2), (3, 1)), ((0, 2), (3, 1))),
    "list_of_lists": ([[0, 2], [3, 1]], ((0, 2), (3, 1))),
    "list_of_tuples": ([(1, 0), (0, 4)], ((1, 0), (0, 4))),
    "valid": ("valid", ZERO),
    # kernel 4x3, dilation 1x2 on 9x12, stride 2x1: 5 outputs reach over (5-1)*2+4 = 12 rows, so 3 more; 12 over 16 columns, so 4 more
    "same": ("same", ((1, 2), (2, 2))),
    "same_lower": ("same_lower", ((2, 1), (2, 2))),
}


@pytest.mark.parametrize("padding, pairs", PADDINGS.values(), ids=PADDINGS)
def test_every_form_of_padding(padding: Any, pairs: Any) -> None:
    x, weight = normal(1, 2, 9, 12), normal(3, 2, 4, 3, seed=1)
    y = kernels.conv2d(x, weight, stride=(2, 1), padding=padding, dilation=(1, 2))
    expected = reference.conv(x, weight, None, (2, 1), pairs, (1, 2), 1)
    assert y.shape == expected.shape
    assert reference.share(y, expected) < 1e-5
    if padding in ("same", "same_lower"):
        assert y.shape[2:] == (5, 12)


@pytest.mark.parametrize("padding, pairs", [(2, (2, 2)), ([1], (1, 1)), ([(0, 3)], (0, 3)), ("same", (1, 2)), ("same_lower", (2, 1))])
def test_every_form_of_padding_1d(padding: Any, pairs: tuple[int, int]) -> None:
    x, weight = normal(2, 3, 20), normal(4, 3, 4, seed=1)
    expected = reference.conv(x, weight, None, (1,), (pairs,), (1,), 1)
    y = kernels.conv1d(x, weight, padding=padding)
    assert y.shape == expected.shape and reference.share(y, expected) < 1e-5


def test_padding_of_pools() -> None:
    x = normal(1, 2, 7, 10)
    forms: tuple[Any, ...] = (
        (1, ((1, 1), (1, 1))), (((0, 2), (1, 0)), ((0, 2), (1, 0))), ("same", ((1, 1), (0, 1))), ("same_lower", ((1, 1), (1, 0))),
    )  # fmt: skip
    for padding, pairs in forms:
        maxima = reference.max_pool(x, (3, 2), (2, 1), pairs, (1, 1), False)[0]
        np.testing.assert_array_equal(kernels.max_pool2d(x, (3, 2), (2, 1), padding), maxima)
        for counted in (True, False):
            average = reference.avg_pool(x, (3, 2), (2, 1), pairs, (1, 1), False, counted, None)
            assert reference.share(kernels.avg_pool2d(x, (3, 2), (2, 1), padding, count_include_pad=counted), average) < 1e-5


# --- dtypes


DTYPES = [
    ("float32", "float32", "float32"), ("float64", "float64", "float64"), ("float32", "float64", "float64"),
    ("float64", "float32", "float64"), ("float16", "float16", "float16"), ("float16", "float32", "float32"),
    ("float16", "float64", "float64"), ("bool", "float32", "float32"), ("int8", "int8", "float32"), ("uint8", "float32", "float32"),
    ("int16", "float16", "float32"), ("int32", "int32", "float32"), ("int64", "float32", "float64"), ("int64", "int64", "float64"),
    ("uint64", "int8", "float64"), (">f4", "<f4", "float32"), (">f8", ">f8", "float64"),
]  # fmt: skip


@pytest.mark.parametrize("of_x, of_weight, result", DTYPES)
def test_dtypes(of_x: str, of_weight: str, result: str) -> None:
    draw = np.random.default_rng(5)
    x, weight = draw.integers(0, 2, (1, 2, 9)).astype(of_x), draw.integers(0, 3, (3, 2, 4)).astype(of_weight)
    y = kernels.conv1d(x, weight)
    assert y.dtype == np.dtype(result) and y.dtype.isnative
    np.testing.assert_allclose(y, reference.conv(x, weight, None, (1,), ((0, 0),), (1,), 1), rtol=0, atol=1e-5)


def test_float16_is_computed_in_float32() -> None:
    """A thousand products near one: a sum kept in float16 would stop growing at 2048."""
    x, weight = np.full((1, 1, 3000), 1.0, np.float16), np.full((1, 1, 3000), 1.0, np.float16)
    assert kernels.conv1d(x, weight)[0, 0, 0] == 3000
    assert kernels.max_pool1d(normal(1, 2, 8, dtype="float16"), 2).dtype == np.float16
    assert kernels.avg_pool1d(np.arange(8, dtype=np.int32)[None, None], 2).dtype == np.float32


@pytest.mark.parametrize("values", [
    np.ones((1, 1, 4), complex), np.full((1, 1, 4), "a"), np.full((1, 1, 4), None), np.ones((1, 1, 4), "M8[s]"),
], ids=["complex", "text", "object", "datetime"])  # fmt: skip
def test_dtypes_that_are_refused(values: Array) -> None:
    with pytest.raises(kernels.ProblemError, match=r"conv1d: x has dtype .* not computed; convert it to float32 or float64"):
        kernels.conv1d(values, np.ones((1, 1, 2), np.float32))
    with pytest.raises(kernels.ProblemError, match="conv1d: weight has dtype"):
        kernels.conv1d(np.ones((1, 1, 9), np.float32), values)
    with pytest.raises(kernels.ProblemError, match="max_pool1d: x has dtype"):
        kernels.max_pool1d(values, 2)


# --- what arrays may be


def test_nested_lists() -> None:
    y = kernels.conv1d([[[1, 2, 3, 4]]], [[[1, 10]]], [0.5])
    np.testing.assert_array_equal(y, [[[21.5, 32.5, 43.5]]])
    assert isinstance(y, np.ndarray) and y.dtype == np.float64
    with pytest.raises(kernels.ProblemError, match="conv1d: x cannot be read as an array"):
        kernels.conv1d([[[1, 2], [3]]], [[[1.0]]])


class OnlyDLPack:
    """An array that can be had through DLPack alone."""

    def __init__(self, array: Array) -> None:
        self._array = array

    def __dlpack__(self, **options: Any) -> Any:
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self._array.__dlpack_device__()


def test_dlpack() -> None:
    x, weight = normal(1, 2, 12), normal(3, 2, 4, seed=1)
    np.testing.assert_array_equal(kernels.conv1d(OnlyDLPack(x), OnlyDLPack(weight)), kernels.conv1d(x, weight))


def test_without_a_batch_axis() -> None:
    x, weight = normal(2, 8, 11), normal(3, 2, 3, 3, seed=1)
    np.testing.assert_array_equal(kernels.conv2d(x, weight, padding=1), kernels.conv2d(x[None], weight, padding=1)[0])
    line = normal(5, 8, 3, seed=2)
    np.testing.assert_array_equal(kernels.conv1d(x[0], line), kernels.conv1d(x[:1], line)[0])
    np.testing.assert_array_equal(kernels.max_pool2d(x, 2), kernels.max_pool2d(x[None], 2)[0])
    values, where = kernels.max_pool1d(x[0], 2, return_indices=True)
    assert values.shape == where.shape == (8, 5)
    out = np.empty((3, 8, 11), np.float32)
    assert kernels.conv2d(x, weight, padding=1, out=out) is out


@pytest.mark.parametrize("axes", [1, 2])
def test_channels_last(axes: int) -> None:
    x, weight = normal(2, 4, *(9, 12)[:axes]), normal(6, 2, *(3, 4)[:axes], seed=1)
    bias, scale, shift = normal(6, seed=2), normal(6, seed=3), normal(6, seed=4)
    function = getattr(kernels, f"conv{axes}d")
    options = {"stride": 2, "padding": 1, "groups": 2, "scale": scale, "shift": shift, "activation": "relu", "pool": ("max", 2, 1)}
    first = function(x, weight, bias, **options)
    last = function(np.moveaxis(x, 1, -1), np.moveaxis(weight, (1, 0), (-2, -1)), bias, layout="channels_last", **options)
    assert last.shape == (2, *first.shape[2:], 6) and last.flags.c_contiguous
    np.testing.assert_allclose(np.moveaxis(last, -1, 1), first, rtol=0, atol=1e-5)
    pooled = getattr(kernels, f"max_pool{axes}d")
    values, where = pooled(np.moveaxis(x, 1, -1), 2, return_indices=True, layout="channels_last")
    first_values, first_where = pooled(x, 2, return_indices=True)
    np.testing.assert_array_equal(np.moveaxis(values, -1, 1), first_values)
    np.testing.assert_array_equal(np.moveaxis(where, -1, 1), first_where)
    unbatched = function(np.moveaxis(x[0], 0, -1), np.moveaxis(weight, (1, 0), (-2, -1)), groups=2, layout="channels_last")
    np.testing.assert_allclose(np.moveaxis(unbatched, -1, 0), function(x[0], weight, groups=2), rtol=0, atol=1e-5)
    out = np.full(last.shape, np.nan, np.float32)
    assert function(np.moveaxis(x, 1, -1), np.moveaxis(weight, (1, 0), (-2, -1)), bias, layout="channels_last", out=out, **options) is out
    np.testing.assert_array_equal(out, last)


def test_flip_is_scipy_convolve() -> None:
    x, weight = normal(1, 1, 9, 12, dtype="float64"), normal(1, 1, 3, 4, dtype="float64", seed=1)
    expected = scipy.signal.convolve(x[0, 0], weight[0, 0], mode="valid", method="direct")
    np.testing.assert_allclose(kernels.conv2d(x, weight, flip=True)[0, 0], expected, rtol=0, atol=1e-12)
    full = scipy.signal.convolve(x[0, 0], weight[0, 0], mode="full", method="direct")
    np.testing.assert_allclose(kernels.conv2d(x, weight, padding=(2, 3), flip=True)[0, 0], full, rtol=0, atol=1e-12)
    line = scipy.signal.convolve(x[0, 0, 0], weight[0, 0, 0], mode="full", method="direct")
    np.testing.assert_allclose(kernels.conv1d(x[0, :, 0], weight[0, :, :1], padding=3, flip=True)[0], line, rtol=0, atol=1e-12)


def test_global_pools() -> None:
    for shape in ((2, 3, 17), (2, 3, 7, 9)):
        x = normal(*shape)
        spatial = tuple(range(2, len(shape)))
        np.testing.assert_array_equal(kernels.global_max_pool(x), x.max(axis=spatial, keepdims=True))
        np.testing.assert_allclose(kernels.global_avg_pool(x), x.mean(axis=spatial, keepdims=True), rtol=0, atol=1e-6)
        last = kernels.global_avg_pool(np.moveaxis(x, 1, -1), layout="channels_last")
        np.testing.assert_allclose(np.moveaxis(last, -1, 1), kernels.global_avg_pool(x), rtol=0, atol=1e-6)


def test_the_result_is_fresh_memory() -> None:
    x, weight = normal(1, 2, 6, 6), normal(2, 2, 1, 1, seed=1)
    one, two = kernels.conv2d(x, weight), kernels.conv2d(x, weight)
    one[...] = 0
    assert not np.shares_memory(one, two) and two.any()
    assert not np.shares_memory(kernels.max_pool2d(x, 1), x)
