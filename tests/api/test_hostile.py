"""Arrays that nobody should pass and somebody will. Every operation either answers as it does for the plain array, or says which
argument is wrong; nothing ends the process, changes an input or writes past the output."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import layers
import numpy as np
import pytest
from memory import Guarded, given

import kernels
from kernels.methods import load, registry

load()

Array = np.ndarray


# --- arrays


def misaligned(array: Array) -> Array:
    raw = np.zeros(array.nbytes + 1, np.uint8)
    view = raw[1:].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


FORMS: dict[str, Callable[[Array], Any]] = {
    "big_endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "misaligned": misaligned,
    "fortran": np.asfortranarray,
    "negative_strides": lambda a: np.flip(np.flip(a).copy()),
    "every_second": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "lists": lambda a: a.astype(np.float64).tolist(),
    "masked_nowhere": np.ma.asarray,
    "memory_view": lambda a: memoryview(np.ascontiguousarray(a)),
    "subclass": lambda a: a.view(type("Named", (np.ndarray,), {})),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("op", layers.OPS)
def test_any_form_of_array_gives_the_plain_answer(op: str, form: str) -> None:
    plain = layers.arrays(op)
    expected = layers.call(op, *plain)
    answer = layers.call(op, *(FORMS[form](array) for array in plain))
    assert type(answer) is np.ndarray and answer.dtype == ("float64" if form == "lists" else "float32")
    np.testing.assert_allclose(answer, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("op", layers.OPS)
def test_one_number_seen_everywhere(op: str) -> None:
    """Arrays of stride 0: x, weight and bias hold one number each, and still do afterwards."""
    plain = [np.full_like(array, value) for array, value in zip(layers.arrays(op), (2.0, 0.5, 1.0))]
    spread = [np.broadcast_to(array.ravel()[:1].copy(), array.shape) for array in plain]
    np.testing.assert_array_equal(layers.call(op, *spread), layers.call(op, *plain))
    assert [array.max() for array in spread] == [2.0, 0.5, 1.0][: len(spread)]


@pytest.mark.parametrize("op", layers.OPS)
def test_writes_the_output_and_nothing_else(op: str) -> None:
    """Inputs between zones in read-only memory, outputs between zones, contiguous and not, aligned and not."""
    inputs = [given(array) for array in layers.arrays(op)]
    operands = [guarded.array for guarded in inputs]
    expected = layers.call(op, *operands)
    guarded = Guarded(expected.shape, "float32")
    assert layers.call(op, *operands, out=guarded.array) is guarded.array
    np.testing.assert_array_equal(guarded.array, expected)
    assert guarded.zones_untouched()
    wide = Guarded((*expected.shape, 2), "float32")
    layers.call(op, *operands, out=wide.array[..., 0])
    np.testing.assert_array_equal(wide.array[..., 0], expected)
    assert wide.zones_untouched() and np.isnan(wide.array[..., 1]).all()
    odd = misaligned(np.zeros_like(expected))
    np.testing.assert_array_equal(layers.call(op, *operands, out=odd), expected)
    assert all(guarded.unchanged() for guarded in inputs)


REFUSED: dict[str, Callable[[tuple[int, ...]], Any]] = {
    "complex": lambda shape: np.ones(shape, complex),
    "object": lambda shape: np.full(shape, None),
    "numbers_as_objects": lambda shape: np.ones(shape).astype(object),
    "text": lambda shape: np.full(shape, "1"),
    "bytes": lambda shape: np.full(shape, b"1"),
    "datetime": lambda shape: np.ones(shape, "M8[s]"),
    "timedelta": lambda shape: np.ones(shape, "m8[s]"),
    "structured": lambda shape: np.zeros(shape, "f4,f4"),
    "longdouble": lambda shape: np.ones(shape, np.longdouble),
    "masked": lambda shape: np.ma.masked_less(np.arange(float(np.prod(shape))).reshape(shape), 3),
    "ragged": lambda shape: [[1.0, 2.0], [3.0]],
    "none": lambda shape: None,
    "one_number": lambda shape: np.float32(3),
    "empty_list": lambda shape: [],
    "no_channels": lambda shape: np.ones((2, 0, *shape[2:]), np.float32),
    "an_empty_axis": lambda shape: np.ones((*shape[:-1], 0), np.float32),
    "a_generator": lambda shape: (number for number in range(9)),
    "a_dictionary": lambda shape: {"x": 1},
    "more_axes": lambda shape: np.ones((1, 1, 1, *shape), np.float32),
    "fewer_axes": lambda shape: np.ones(shape[3:], np.float32),
}


@pytest.mark.filterwarnings("ignore:Casting complex")
@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_array_of_numbers(kind: str) -> None:
    for op in layers.OPS:
        operands = layers.arrays(op)
        for position, name in enumerate(("x", "weight", "bias")[: len(operands)]):
            if name == "bias" and kind in ("none", "no_channels"):  # no bias is a bias; and one axis has no channels to leave out
                continue
            wrong = list(operands)
            wrong[position] = REFUSED[kind](operands[position].shape)
            with pytest.raises(kernels.ProblemError):
                layers.call(op, *wrong)


def test_an_empty_batch() -> None:
    for op in layers.OPS:
        x, *operands = layers.arrays(op)
        full = layers.call(op, x, *operands)
        empty = layers.call(op, x[:0], *operands)
        assert empty.shape == (0, *full.shape[1:]) and empty.dtype == full.dtype


def test_tensors() -> None:
    torch = pytest.importorskip("torch")
    for op in layers.OPS:
        plain = layers.arrays(op)
        expected = layers.call(op, *plain)
        tensors = [torch.from_numpy(array) for array in plain]
        turned = [tensor.transpose(0, -1).contiguous().transpose(0, -1) for tensor in tensors]
        for given_ in (tensors, turned):
            np.testing.assert_allclose(layers.call(op, *given_), expected, rtol=0, atol=1e-5)
        for wrong, message in ((tensors[0].clone().requires_grad_(), "detach"), (tensors[0].bfloat16(), r"float\(\)")):
            with pytest.raises(kernels.ProblemError, match=f"x cannot be read as an array.*{message}"):
                layers.call(op, wrong, *tensors[1:])


# --- out


@pytest.mark.parametrize("op", layers.OPS)
def test_out_that_overlaps_an_operand(op: str) -> None:
    """Whatever happens to the operand on its way (another order, another dtype, reversed), the caller's memory is compared."""
    operands = layers.arrays(op)
    result = layers.call(op, *operands)
    for position, name in enumerate(("x", "weight", "bias")[: len(operands)]):
        memory = np.zeros(operands[position].size + result.size, np.float32)
        shared, out = memory[: operands[position].size], memory[operands[position].size - 1 : -1].reshape(result.shape)
        for form in (shared, shared.view(np.int32)):
            lent = list(operands)
            lent[position] = form.reshape(operands[position].shape)
            with pytest.raises(kernels.ProblemError, match=f"out overlaps {name} in memory"):
                layers.call(op, *lent, out=out)
            assert not memory.any()


def test_out_that_overlaps_a_weight_in_another_order() -> None:
    x, weight = np.ones((1, 9, 4), np.float32), np.zeros(400, np.float32)
    out = weight[100:].reshape(1, -1, 30)[:, :7]
    for more in ({}, {"flip": True}, {"scale": weight[:30]}):
        with pytest.raises(kernels.ProblemError, match="out overlaps weight in memory"):
            kernels.conv1d(x, weight[:360].reshape(3, 4, 30), layout="channels_last", out=out, **more)


# --- values


@pytest.mark.parametrize("name", registry.every("pool"))
@pytest.mark.parametrize("dtype, least", [("float32", 1e-45), ("float64", 5e-324)])
def test_maxima_are_inputs_however_small(name: str, dtype: str, least: float) -> None:
    x = (np.random.default_rng(1).integers(-9, 9, (1, 2, 9, 40)) * np.dtype(dtype).type(least)).astype(dtype)
    for window, stride in (((2, 2), 2), ((3, 3), (1, 2)), ((9, 40), 1), ((3, 3), (2, 7))):
        expected = kernels.max_pool2d(x, window, stride, implementation="naive")
        np.testing.assert_array_equal(kernels.max_pool2d(x, window, stride, implementation=name), expected)


@pytest.mark.parametrize("name", registry.every("conv"))
def test_denormal_sums_are_right_or_zero(name: str) -> None:
    draw = np.random.default_rng(2)
    x, weight = draw.random((1, 8, 9, 20)).astype(np.float32) * 1e-39, draw.random((8, 8, 3, 3)).astype(np.float32)
    if kernels.implementations("conv2d", x.shape, weight)[name] is None:
        y = kernels.conv2d(x, weight, implementation=name)
        exact = kernels.conv2d(x.astype(np.float64), weight.astype(np.float64), implementation="naive")
        assert np.abs(y - exact).max() <= 72 * np.finfo(np.float32).tiny  # each of the 72 products may be flushed to zero
    larger = kernels.conv2d(np.ones((1, 1, 1, 1), np.float32) * np.float32(1e-38), np.ones((1, 1, 1, 1), np.float32))
    np.testing.assert_array_equal(larger, np.float32(1e-38) if larger.any() else 0)
    assert np.float32(1e-38) / np.float32(4) > 0  # the thread's own arithmetic still has denormals


@pytest.mark.filterwarnings("error")
def test_nothing_warns() -> None:
    """Infinities and NaN are values: they pass through without a word, and float16 overflows to infinity."""
    x, weight = np.full((1, 1, 9), 6e4, np.float16), np.ones((1, 1, 3), np.float16)
    assert np.isposinf(kernels.conv1d(x, weight)).all()
    odd = np.array([np.inf, -np.inf, np.nan, 3e38, -3e38, 0, 1, 2, 3], np.float32).reshape(1, 1, 9)
    calls = [("relu", name) for name in registry.every("conv")]
    calls += [(activation, "im2col") for activation in ("elu", "gelu", "gelu_tanh", "sigmoid", "tanh", "silu", "hardswish")]
    for activation, name in calls:
        if kernels.implementations("conv1d", odd.shape, weight)[name] is None:
            kernels.conv1d(odd, weight, scale=[np.inf], shift=[1.0], activation=activation, implementation=name)
    kernels.avg_pool1d(odd, 2)
