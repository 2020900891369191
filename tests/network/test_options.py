"""Options of operators that ONNX's node tests leave out, against onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

import kernels

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def compare(op: str, given: Mapping[str, Any], constants: Mapping[str, Any], order: str, outputs: int = 1, **attributes: Any) -> None:
    """One node whose inputs are named in order, "-" for one that is left out."""
    helper = onnx.helper
    names = [f"out{i}" for i in range(outputs)]
    node = helper.make_node(op, [name.strip("-") for name in order.split()], names, **attributes)
    inputs = [helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for name, a in given.items()]
    numbers = [onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
    graph = helper.make_graph([node], "test", inputs, [helper.make_empty_tensor_value_info(name) for name in names], numbers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    wanted = onnxruntime.InferenceSession(model.SerializeToString()).run(names, dict(given))
    results = kernels.load(model)(dict(given))
    for name, array in zip(names, wanted):
        got = results[name] if isinstance(results, dict) else results
        assert got.dtype == array.dtype
        np.testing.assert_allclose(got, array, rtol=1e-5, atol=1e-5, strict=True)


@pytest.mark.parametrize("op, gates", [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("lengths", [False, True])
def test_recurrent_layers_that_clip(op: str, gates: int, direction: str, clip: float | None, lengths: bool) -> None:
    two, hidden = 1 + (direction == "bidirectional"), 5
    constants = {"w": random(two, gates * hidden, 4), "r": random(two, gates * hidden, hidden, seed=1), "n": np.array([6, 1, 4], np.int32)}
    constants |= {"b": random(two, 2 * gates * hidden, seed=2), "h": random(two, 3, hidden, seed=3)}
    options = {"hidden_size": hidden, "direction": direction} | ({"clip": clip} if clip else {})
    compare(op, {"x": 2 * random(6, 3, 4)}, constants, f"x w r b {'n' if lengths else '-'} h", 2, **options)


@pytest.mark.parametrize("dtype", ["int64", "int32", "float32"])
@pytest.mark.parametrize("largest", [0, 1])
def test_ranks_of_both_signs(dtype: str, largest: int) -> None:
    x = np.array([[-3, 7, 0, 7, -8], [2, -2, 1, -1, 0]], dtype)
    compare("TopK", {"x": x}, {"k": np.array([4])}, "x k", 2, largest=largest)


def test_one_number_is_gathered() -> None:
    compare("GatherND", {"x": random(5, 3), "at": np.array([4, -2])}, {}, "x at")


@pytest.mark.parametrize("rounding", ["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"])
@pytest.mark.parametrize("where", ["asymmetric", "half_pixel", "pytorch_half_pixel"])
@pytest.mark.parametrize("scale", [1 / 3, 2 / 3, 1 / 5, 1 / 7, 0.7, 7 / 3])
def test_neighbours_that_float32_decides(scale: float, where: str, rounding: str) -> None:
    """A third, seen in float64, is more than a third: 3 * (1/3) lies before 1, and ten times 0.7 is less than 7."""
    for n in (6, 10, 21, 35):
        modes = {"mode": "nearest", "nearest_mode": rounding, "coordinate_transformation_mode": where}
        compare("Resize", {"x": random(1, 1, n, 2)}, {"by": np.array([1, 1, scale, 1], np.float32)}, "x - by", **modes)


@pytest.mark.parametrize("rounding", ["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"])
@pytest.mark.parametrize("where", ["asymmetric", "align_corners", "half_pixel"])
@pytest.mark.parametrize("n, m", [(13, 7), (11, 13), (7, 2), (13, 3)])
def test_neighbours_by_stated_lengths(n: int, m: int, where: str, rounding: str) -> None:
    """13 * float32(7/13) is more than 7, and 1 / float32(2/7) less than 3.5: a sixth of 12 and a half stay what they are."""
    modes = {"mode": "nearest", "nearest_mode": rounding, "coordinate_transformation_mode": where}
    compare("Resize", {"x": random(1, 1, n, 2)}, {"to": np.array([1, 1, m, 2])}, "x - - to", **modes)


@pytest.mark.parametrize("m, k, n", [(0, 3, 4), (2, 0, 4), (2, 3, 0)])
@pytest.mark.parametrize("constant", ["", "a", "b"])
def test_products_of_empty_matrices(m: int, k: int, n: int, constant: str) -> None:
    both = {"a": random(m, k), "b": random(k, n)}
    constants = {name: each for name, each in both.items() if name == constant}
    given = {name: each for name, each in both.items() if name != constant}
    compare("MatMul", given, constants, "a b")
    compare("Gemm", given, constants | {"c": random(n)}, "a b c", alpha=0.5)


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax", "Hardmax"])
@pytest.mark.parametrize("shape", [(0, 3), (3, 0)])
def test_rows_of_nothing(op: str, shape: tuple[int, ...]) -> None:
    """Constants are folded, inputs computed."""
    for axis in (0, 1):
        compare(op, {}, {"x": np.zeros(shape, np.float32)}, "x", axis=axis)
        compare(op, {"x": np.zeros(shape, np.float32)}, {}, "x", axis=axis)


@pytest.mark.parametrize("shape", [(0, 3, 2), (2, 0, 3), (3, 2, 0)])
def test_padding_of_nothing_is_all_padding(shape: tuple[int, ...]) -> None:
    constants = {"pads": np.array([1, 2, 0, 1, 0, 1]), "value": np.float32(7)}
    compare("Pad", {"x": random(*shape)}, constants, "x pads value")


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32"])
def test_whole_numbers_between_neighbours(dtype: str) -> None:
    x = np.random.default_rng(0).integers(0 if dtype == "uint8" else -100, 100, (1, 2, 5, 4)).astype(dtype)
    for scale in (2, 4, 0.5):  # whose weights are exact, so that what is cut off is the same
        compare("Resize", {"x": x}, {"by": np.array([1, 1, 2, scale], np.float32)}, "x - by", mode="linear")


@pytest.mark.parametrize("exponent", [0, 0.5, -0.5, -1, 3, np.inf])
def test_powers_of_numbers_at_the_ends(exponent: float) -> None:
    ends = [2] if exponent == np.inf else [0.0, -0.0, 1, 2, np.inf] + [np.nan, -np.inf] * (abs(exponent) != 0.5)
    compare("Pow", {"x": np.array(ends, np.float32)}, {"by": np.float32(exponent)}, "x by")


def test_products_keep_the_sign_of_zeros() -> None:
    x = np.array([0.0, -0.0], np.float32)
    y = onnx.helper.make_node("Mul", ["x", "two"], ["y"])
    two = onnx.numpy_helper.from_array(np.float32(2), "two")
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph([y], "test", [value("x", 1, [2])], [value("y", 1, [2])], [two])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 19)], ir_version=9)
    assert np.signbit(kernels.load(model)(x)).tolist() == [False, True]
