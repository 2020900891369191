"""Programs of vector passes against NumPy: shapes, strides, broadcasting, types, several outputs, threads; buffers shared in turn."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

from kernels.primitives import vector_program as module
from kernels.primitives.vector_program import Layout, Operation, VectorProgram
from kernels.runtime.scratch import aligned

Array = np.ndarray


def test_docstrings() -> None:
    assert doctest.testmod(module).failed == 0


def layout(array: Array, shape: tuple[int, ...]) -> Layout:
    seen = np.broadcast_to(array, shape)
    return Layout(tuple(step // array.itemsize for step in seen.strides), array.dtype.name)


def run(shape: tuple[int, ...], inputs: list[Array], outputs: list[tuple[int, Array]], operations: list[Operation], threads: int = 2,
        dtype: type = np.float32) -> None:  # fmt: skip
    outs = [(slot, layout(array, shape)) for slot, array in outputs]
    program = VectorProgram(np.dtype(dtype), shape, [layout(array, shape) for array in inputs], outs, operations, threads)
    scratch = aligned(program.scratch_bytes)
    scratch.view(np.uint8)[...] = 0xFF
    before = [array.copy() for array in inputs]
    program.bind([*inputs, *(array for _, array in outputs)], scratch)()
    for array, copy in zip(inputs, before):
        np.testing.assert_array_equal(array, copy)


SHAPES = [(5, 172, 264), (3, 7), (1,), (2, 3, 4, 5, 6), (4000,), (100, 3), (3, 100), (64, 32, 17), (1, 1, 1), (2, 1, 2049), ()]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("threads", [1, 2])
def test_strides_broadcasts_and_types(shape: tuple[int, ...], threads: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape).astype(np.float32)
    last = rng.standard_normal(shape[-1:]).astype(np.float32)
    first = rng.standard_normal(shape[:1] + (1,) * (len(shape) - 1)).astype(np.float32)
    turned, truth = np.full(shape[::-1], np.nan, np.float32).T, np.zeros(shape, bool)
    steps = [Operation("mul", 3, (0, 1)), Operation("add", 4, (3, 2)), Operation("exp", 5, (4,)), Operation("less", 6, (0, 5))]
    run(shape, [x, last, first], [(5, turned), (6, truth)], steps, threads)
    np.testing.assert_allclose(turned, np.exp(x * last + first), rtol=1e-5)
    np.testing.assert_array_equal(truth, x < turned)


@pytest.mark.parametrize("dtype", [bool, np.int32, np.int64, np.float32, np.float64])
def test_what_is_read_and_written_in_other_types(dtype: type) -> None:
    x = np.array([[0, 1, 2, 1], [3, 0, 1, 0]]).astype(dtype)
    y = np.zeros((4, 2), dtype).T
    run((2, 4), [x], [(1, y)], [Operation("affine", 1, (0,), 2.0, 1.0)], dtype=np.float64)
    np.testing.assert_array_equal(y, (x.astype(np.float64) * 2 + 1).astype(dtype))


def test_reversed_and_stepped_views() -> None:
    base = np.arange(60, dtype=np.float32).reshape(6, 10)
    x, y = base[::-2, ::3], np.zeros((3, 4), np.float32)
    run((3, 4), [x], [(0, y)], [])
    np.testing.assert_array_equal(y, x)


def test_many_operations_share_buffers() -> None:
    x, y = np.linspace(-1, 1, 5000, dtype=np.float32), np.empty(5000, np.float32)
    steps = [Operation("affine", i + 1, (i,), 0.5, 1.0) for i in range(40)]
    run((5000,), [x], [(40, y)], steps)
    wanted = x
    for _ in range(40):
        wanted = wanted * np.float32(0.5) + np.float32(1)
    np.testing.assert_allclose(y, wanted, rtol=1e-6)


def test_an_input_and_a_result_handed_out_twice() -> None:
    x = np.arange(10, dtype=np.float32)
    a, b, c = np.empty((3, 10), np.float32)
    run((10,), [x], [(0, a), (1, b), (1, c)], [Operation("affine", 1, (0,), 2.0)])
    np.testing.assert_array_equal([a, b, c], [x, 2 * x, 2 * x])


def test_axes_that_cannot_be_joined_are_counted() -> None:
    odd = Layout((1, 2, 4, 8, 16, 32, 64, 128, 256), "float32")
    even = Layout(odd.strides[::-1], "float32")
    with pytest.raises(ValueError, match="more than 8"):
        VectorProgram(np.dtype(np.float32), (2,) * 9, [odd], [(0, even)], [], 1)


@pytest.mark.parametrize("shape", [(997, 32), (3, 64, 2049), (2, 3, 33, 31), (2, 700), (700, 2), (5, 40, 64), (1, 17, 16)], ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("threads", [1, 2])
def test_operands_whose_columns_lie_as_rows_do(shape: tuple[int, ...], dtype: type, threads: int) -> None:
    """Transposed on the way in, beside one as it lies, one whose rows are apart, a row for all and a transposed sum as a second output."""
    rng, last = np.random.default_rng(1), (*range(len(shape) - 2), len(shape) - 1, len(shape) - 2)
    turned = np.ascontiguousarray(rng.standard_normal(shape).transpose(last)).astype(dtype).transpose(last)
    wide = np.concatenate([rng.standard_normal(shape)] * 2, axis=-1).astype(dtype)[..., 1 : shape[-1] + 1]
    plain, row = rng.standard_normal(shape).astype(dtype), rng.standard_normal(shape[-1:]).astype(dtype)
    steps = [Operation("mul", 4, (0, 1)), Operation("add", 5, (4, 2)), Operation("sub", 6, (5, 3))]
    product, difference = np.full(np.array(shape)[list(last)], np.nan, dtype).transpose(last), np.full(shape, np.nan, dtype)
    run(shape, [turned, wide, plain, row], [(6, difference), (4, product)], steps, threads, dtype)
    np.testing.assert_allclose(product, turned * wide, rtol=1e-6)
    np.testing.assert_allclose(difference, turned * wide + plain - row, rtol=1e-4, atol=1e-4)
    copied = np.full(shape, np.nan, dtype)
    run(shape, [turned], [(0, copied)], [], threads, dtype)
    np.testing.assert_array_equal(copied, turned)
