"""What arguments that make no layer are answered with: the argument, the axis, the arithmetic, and what would work."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import kernels

X, W = np.ones((1, 4, 9, 12), np.float32), np.ones((6, 4, 3, 3), np.float32)

CONV2D: dict[str, tuple[dict[str, Any], str]] = {
    "too_few_axes": ({"x": np.ones((9, 12))}, r"x has shape \(9, 12\), 2 axes; must have 4 in the order \(N, C, \*spatial\), or 3 without"),
    "too_many_axes": ({"x": np.ones((1, 1, 1, 9, 12))}, "x has shape .* 5 axes; must have 4"),
    "weight_axes": ({"weight": np.ones((6, 4, 3))}, r"weight has shape \(6, 4, 3\), 3 axes; must have 4 in the order \(C_out, C_in/groups"),
    "channels": ({"weight": np.ones((6, 3, 3, 3))}, "x has 4 channels but weight wants 3 per group x groups=1 = 3"),
    "channels_in_groups": ({"groups": 2}, "x has 4 channels but weight wants 4 per group x groups=2 = 8; pass weight with 4/2 = 2 input"),
    "groups_that_do_not_divide": ({"groups": 3}, "wants 4 per group x groups=3 = 12; 4 channels do not make 3 groups"),
    "groups_of_output": ({"weight": np.ones((7, 2, 3, 3)), "groups": 2}, r"7 output channels do not divide into groups=2 \(7 % 2 = 1\)"),
    "groups_0": ({"groups": 0}, "groups is 0, must be at least 1"),
    "groups_half": ({"groups": 0.5}, "groups is 0.5, must be a whole number"),
    "too_long": (
        {"dilation": (5, 1)},
        r"axis H: input 9 \+ padding \(0, 0\) is shorter than the dilated kernel 11 "
        r'\(kernel 3, dilation 5\); use padding of at least 2.*"same"',
    ),
    "too_wide": ({"dilation": (1, 6)}, "axis W: input 12 .* shorter than the dilated kernel 13"),
    "bias_length": ({"bias": np.ones(5)}, r"bias has shape \(5,\), must be \(6,\)"),
    "bias_axes": ({"bias": np.ones((6, 1))}, r"bias has shape \(6, 1\), must be \(6,\)"),
    "bias_number": ({"bias": 1.0}, r"bias has shape \(\), must be \(6,\)"),
    "scale_length": ({"scale": np.ones(4)}, r"scale has shape \(4,\), must be \(6,\)"),
    "shift_length": ({"shift": np.ones(4)}, r"shift has shape \(4,\), must be \(6,\)"),
    "stride_0": ({"stride": 0}, "stride is .*0.* must be at least 1|every number must be at least 1"),
    "stride_half": ({"stride": 1.5}, "stride is 1.5, must be a whole number or 2 of them"),
    "stride_count": ({"stride": (1, 2, 3)}, "stride has 3 numbers for 2 spatial axes"),
    "stride_text": ({"stride": "2"}, "stride is '2', must be a whole number"),
    "stride_none": ({"stride": None}, "stride is None, must be a whole number"),
    "dilation_negative": ({"dilation": -1}, "dilation .*must be at least 1"),
    "padding_negative": ({"padding": -1}, "padding is -1, must be at least 0"),
    "padding_flat": (
        {"padding": [1, 1, 2, 2]},
        r"padding \[1, 1, 2, 2\] is a flat list of 4 numbers, which PyTorch and ONNX read in different orders; pass 2",
    ),
    "padding_count": ({"padding": (1, 2, 3)}, "padding has 3 numbers for 2 spatial axes"),
    "padding_triples": ({"padding": ((1, 2, 3), (1, 2, 3))}, r"pass 2 \(before, after\) pairs"),
    "padding_one_pair": ({"padding": ((1, 2),)}, r"pass 2 \(before, after\) pairs"),
    "padding_word": ({"padding": "full"}, 'padding is \'full\', must be "valid", "same", "same_lower", a number or'),
    "padding_half": ({"padding": 0.5}, "padding is 0.5, must be a whole number"),
    "layout": ({"layout": "NHWC"}, 'layout is \'NHWC\', must be "channels_first" or "channels_last"'),
    "activation": ({"activation": "swish"}, "activation 'swish' is not known; use one of relu, relu6"),
    "activation_slope": ({"activation": ("relu", 0.1)}, "activation is .*must be None, a name, or"),
    "activation_number": ({"activation": 3}, "activation is 3, must be None, a name"),
    "pool_kind": ({"pool": ("min", 2)}, 'pool is .* must be \\("max" or "avg", kernel_size\\)'),
    "pool_word": ({"pool": "max"}, "pool is 'max', must be"),
    "pool_too_large": ({"pool": ("max", (8, 1))}, "axis H: input 7 .* shorter than the dilated kernel 8"),
    "implementation": ({"implementation": "fastest"}, "implementation 'fastest' does not exist; use \"auto\" or one of .*naive"),
    "threads_0": ({"threads": 0}, "threads is 0, must be a whole number of at least 1"),
    "threads_half": ({"threads": 1.5}, "threads is 1.5, must be a whole number"),
    "threads_true": ({"threads": True}, "threads is True, must be a whole number"),
}  # fmt: skip


@pytest.mark.parametrize("changes, message", CONV2D.values(), ids=CONV2D)
def test_conv2d(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(kernels.ProblemError, match=message) as wrong:
        kernels.conv2d(**({"x": X, "weight": W} | changes))
    pooled = "pool" in changes and "axis" in message  # the pool's own window is told under the pool's own name
    assert str(wrong.value).startswith("max_pool2d: " if pooled else "conv2d: ")


def test_one_dimension() -> None:
    x, weight = np.ones((1, 2, 9), np.float32), np.ones((3, 2, 4), np.float32)
    with pytest.raises(kernels.ProblemError, match=r"conv1d: padding \[1, 2\] is a flat list of 2 numbers.*pass 1 \(before, after\) pairs"):
        kernels.conv1d(x, weight, padding=[1, 2])
    with pytest.raises(kernels.ProblemError, match=r"conv1d: axis W: input 9 .* shorter than the dilated kernel 10"):
        kernels.conv1d(x, weight, dilation=3)
    with pytest.raises(kernels.ProblemError, match=r"conv1d: x has shape .* 4 axes; must have 3"):
        kernels.conv1d(np.ones((1, 1, 2, 9)), weight)


POOLS: dict[str, tuple[str, dict[str, Any], str]] = {
    "window_0": ("max_pool2d", {"kernel_size": 0}, "kernel.* every number must be at least 1"),
    "window_too_large": ("avg_pool2d", {"kernel_size": (10, 2)}, "axis H: input 9 .* shorter than the dilated kernel 10"),
    "window_none": ("max_pool2d", {"kernel_size": None}, "kernel_size is None, must be a whole number"),
    "padding_past_half": ("max_pool2d", {"kernel_size": 3, "padding": 2}, "padding 2 is more than half of the dilated kernel 3; use at"),
    "padding_past_all": ("max_pool2d", {"kernel_size": 3, "padding": ((3, 0), (0, 0))}, "axis H: padding .* reaches past the whole"),
    "divisor_0": ("avg_pool2d", {"kernel_size": 2, "divisor_override": 0}, "divisor_override is 0, must not be 0"),
    "stride_negative": ("avg_pool2d", {"kernel_size": 2, "stride": -2}, "stride .* every number must be at least 1"),
    "axes": ("global_avg_pool", {"x": np.ones((3, 4))}, "x has 2 axes; must have 3 to 5"),
}  # fmt: skip


@pytest.mark.parametrize("op, changes, message", POOLS.values(), ids=POOLS)
def test_pools(op: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(kernels.ProblemError, match=message) as wrong:
        getattr(kernels, op)(**({"x": X} | changes))
    assert str(wrong.value).startswith(f"{op}: ")


@pytest.mark.parametrize("call", [
    lambda: kernels.conv2d(X, W, strides=2), lambda: kernels.max_pool2d(X, 2, activation="relu"), lambda: kernels.conv2d(X),
    lambda: kernels.plan("conv2d", X.shape, W, strides=2), lambda: kernels.plan("max_pool2d", X.shape, 2, count_include_pad=True),
    lambda: kernels.plan("global_avg_pool", X.shape, 2),
])  # fmt: skip
def test_misspelt_and_missing_arguments_are_type_errors(call: Any) -> None:
    with pytest.raises(TypeError):
        call()


def test_out() -> None:
    good = (1, 6, 7, 10)
    overlapping = np.zeros(X.size + 420, np.float32)
    x = overlapping[: X.size].reshape(X.shape)
    read_only = np.empty(good, np.float32)
    read_only.flags.writeable = False
    for out, message in (
        (np.empty((1, 6, 7, 9), np.float32), r"out has shape \(1, 6, 7, 9\) and dtype float32, must have shape \(1, 6, 7, 10\)"),
        (np.empty((6, 7, 10), np.float32), r"out has shape \(6, 7, 10\)"),
        (np.empty(good, np.float64), "out has .* dtype float64, must have .* dtype float32"),
        (read_only, "out is read-only"),
        ([[0.0]], "out is a list, must be a NumPy array"),
        (overlapping[20:440].reshape(good), "out overlaps x in memory"),
        (np.lib.stride_tricks.as_strided(np.zeros(500, np.float32), good, (0, 280, 4, 4)), "out has strides .* may overlap"),
        (np.lib.stride_tricks.as_strided(np.zeros(500, np.float32), good, (0, 0, 40, 4)), "out has strides .* may overlap"),
    ):
        with pytest.raises(kernels.ProblemError, match=f"conv2d: {message}"):
            kernels.conv2d(x, W, out=out)  # type: ignore[arg-type]
    for order in ((0, 1, 3, 2), (1, 0, 2, 3), (3, 2, 1, 0)):  # any order of axes, either way, with gaps
        out = np.empty([2 * good[axis] for axis in order], np.float32).transpose(np.argsort(order))[::2, ::-2, ::2, ::-2]
        np.testing.assert_array_equal(kernels.conv2d(x, W, out=out), kernels.conv2d(x, W))
    weights = np.ones(W.size + 420, np.float32)
    with pytest.raises(kernels.ProblemError, match="out overlaps weight in memory"):
        kernels.conv2d(X, weights[: W.size].reshape(W.shape), out=weights[30:450].reshape(good))
    plan = kernels.plan("conv2d", x.shape, W)
    with pytest.raises(kernels.ProblemError, match="out overlaps x in memory"):
        plan(x, out=overlapping[20:440].reshape(good))
    # interleaved with x but sharing no element: allowed, or refused with a reason; never a wrong answer
    woven = np.zeros((2, 1, 4, 9, 12), np.float32).transpose(1, 2, 3, 4, 0)
    woven[..., 0] = 1
    try:
        result = kernels.max_pool2d(woven[..., 0], 1, out=woven[..., 1])
    except kernels.ProblemError as error:
        assert "overlaps" in str(error)
    else:
        assert (result == 1).all()


@pytest.mark.parametrize("call", [
    lambda: kernels.conv1d(np.ones((1, 1, 8), np.float32), np.ones((1, 1, 2), np.float32), padding=10**15),
    lambda: kernels.conv2d(np.broadcast_to(np.float32(1), (1, 1, 10**7, 10**7)), np.ones((1, 1, 3, 3), np.float32)),
    lambda: kernels.conv1d(np.ones((1, 1, 8), np.float32), np.broadcast_to(np.float32(1), (10**13, 1, 2))),
    lambda: kernels.max_pool2d(np.broadcast_to(np.float32(1), (1, 10**6, 10**5, 10**4)), 2),
], ids=["padding", "input", "weight", "pool"])  # fmt: skip
def test_what_does_not_fit_in_memory_is_refused_with_its_size(call: Any) -> None:
    with pytest.raises(kernels.ProblemError, match=r"\d[\d,.]* ?(bytes|[KMGTPE]i?B)"):
        call()


def test_unknown_operation() -> None:
    with pytest.raises(kernels.ProblemError, match=r"operation 'conv9d' does not exist; use one of .*conv2d"):
        kernels.plan("conv9d", (1, 1, 4), W)
