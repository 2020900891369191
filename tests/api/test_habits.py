"""What people bring from other libraries: names, words, tensors, numbers of the wrong kind. Taken where nothing is lost, else told."""

from __future__ import annotations

import inspect
import math
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from patience import PATIENCE

import kernels
from kernels import PrecisionWarning, ProblemError, layer

ROOT = Path(__file__).parents[2]
X = np.random.default_rng(0).standard_normal((1, 4, 9, 9), dtype=np.float32)
WEIGHT = np.random.default_rng(1).standard_normal((4, 4, 3, 3), dtype=np.float32)
FUNCTIONS: dict[str, dict[str, Any]] = {
    "conv2d": {"weight": WEIGHT}, "conv_transpose2d": {"weight": WEIGHT}, "max_pool2d": {"kernel_size": 2},
    "avg_pool2d": {"kernel_size": 2},
    "adaptive_avg_pool2d": {"output_size": 2}, "adaptive_max_pool2d": {"output_size": 2}, "global_avg_pool": {}, "global_max_pool": {},
    "separable_conv2d": {"depthwise_weight": WEIGHT[:, :1], "pointwise_weight": WEIGHT[:, :, :1, :1]}, "unfold": {"kernel_size": 2},
    "channel_shuffle": {"groups": 2},
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_x_may_be_called_input(name: str) -> None:
    function = getattr(kernels, name)
    expected = function(X, **FUNCTIONS[name])
    np.testing.assert_array_equal(function(input=X, **FUNCTIONS[name]), expected)
    np.testing.assert_array_equal(function(x=X, **FUNCTIONS[name]), expected)
    with pytest.raises(TypeError, match="two names of one argument"):
        function(X, input=X, **FUNCTIONS[name])
    assert next(iter(inspect.signature(function).parameters)) == "x"
    assert function.__name__ == name and function.__doc__


def test_every_function_of_an_x_takes_input() -> None:
    for name in kernels.__all__:
        function = getattr(kernels, name)
        if inspect.isfunction(function) and next(iter(inspect.signature(function).parameters), "") == "x":
            with pytest.raises(TypeError, match="two names of one argument"):
                function(X, input=X)


WORDS = {
    "SAME": '"same"', "Same": '"same"', "SAME_UPPER": '"same"', "SAME_LOWER": '"same_lower"', "VALID": '"valid"', "half": '"same"',
    "full": r"padding=\(\(2, 2\), \(4, 4\)\)", "causal": r"padding=\(\(0, 0\), \(4, 0\)\)", "vaild": '"valid"',
}  # fmt: skip


@pytest.mark.parametrize("word", WORDS)
def test_other_words_for_padding_name_ours(word: str) -> None:
    weight = np.ones((4, 4, 3, 5), np.float32)
    with pytest.raises(ProblemError, match=WORDS[word]):
        kernels.conv2d(X, weight, padding=word)


@pytest.mark.parametrize(("option", "value", "ours"), [
    ("layout", "NHWC", "channels_last"), ("layout", "NCHW", "channels_first"), ("layout", "channels-last", "channels_last"),
    ("activation", "ReLU", "relu"), ("activation", "LeakyReLU", "leaky_relu"), ("activation", "swish", "silu"),
    ("accuracy", "Each", "each"),
    ("activation", "hard_swish", "hardswish"), ("implementation", "Winograd", "winograd"), ("implementation", "direkt", "direct"),
])  # fmt: skip
def test_other_words_name_ours(option: str, value: str, ours: str) -> None:
    with pytest.raises(ProblemError, match=f'did you mean "{ours}"'):
        kernels.conv2d(X, WEIGHT, **{option: value})
    with pytest.raises(ProblemError, match='did you mean "conv2d"'):
        kernels.plan("Conv2D", X.shape, WEIGHT)


def test_hop_length_is_hop() -> None:
    layers = [((3, 3), 1, 1, 1)]
    expected = kernels.receptive_field(layers, hop=512, sample_rate=22050)
    assert kernels.receptive_field(layers, hop_length=512, sample_rate=22050) == expected
    with pytest.raises(ProblemError, match="two names of one number"):
        kernels.receptive_field(layers, hop=512, hop_length=512, sample_rate=22050)


# --- tensors

def test_tensors_that_require_grad() -> None:
    torch = pytest.importorskip("torch")
    x, weight = torch.from_numpy(X), torch.nn.Parameter(torch.from_numpy(WEIGHT))
    expected = kernels.conv2d(X, WEIGHT)
    calls: dict[str, Callable[[], Any]] = {
        "kernels.torch.conv2d": lambda: kernels.conv2d(x, weight), "kernels.torch.max_pool2d": lambda: kernels.max_pool2d(weight, 2),
        "weight.detach": lambda: kernels.plan("conv2d", X.shape, weight),
        "no_grad": lambda: kernels.sequence([layer("conv2d", weight)], X.shape),
    }  # fmt: skip
    for what, call in calls.items():
        with pytest.raises(ProblemError, match=f"requires grad.*{what}"):
            call()
    with torch.no_grad():
        np.testing.assert_array_equal(kernels.conv2d(x, weight), expected)
        for call in calls.values():
            call()
    with torch.inference_mode():
        np.testing.assert_array_equal(kernels.conv2d(x, weight), expected)
    np.testing.assert_array_equal(kernels.conv2d(x, weight.detach()), expected)


# --- numbers

ODD = [
    "a", "512", b"x", 10**400, -(10**400), math.nan, math.inf, [], {}, object(), 1j, (1, 2, 3, 4, 5, 6), [[[1]]], np.array([]),
    np.array("x"), [None], set(), type, lambda: 0, np.zeros(2),
]  # fmt: skip
PER_CHANNEL = np.ones(4, np.float32)
REAL: dict[str, Callable[[Any], Any]] = {
    "slope": lambda odd: kernels.conv2d(X, WEIGHT, activation=("leaky_relu", odd)),
    "hop": lambda odd: kernels.receptive_field([(3,)], hop=odd, sample_rate=1),
    "sample_rate": lambda odd: kernels.receptive_field([(3,)], hop=1, sample_rate=odd),
    "window": lambda odd: kernels.receptive_field([(3,)], hop=1, sample_rate=1, window=odd),
    "bin_hz": lambda odd: kernels.receptive_field([((3, 3),)], bin_hz=odd),
    "eps": lambda odd: kernels.fold_batch_norm(WEIGHT, None, PER_CHANNEL, PER_CHANNEL, eps=odd),
    "eps of a layer": lambda odd: kernels.sequence([layer("batch_norm", PER_CHANNEL, PER_CHANNEL, eps=odd)], X.shape),
    "groups": lambda odd: kernels.fold_batch_norm(WEIGHT, None, PER_CHANNEL, PER_CHANNEL, groups=odd),
    "transposed": lambda odd: kernels.fold_batch_norm(WEIGHT, None, PER_CHANNEL, PER_CHANNEL, transposed=odd),
    "lower": lambda odd: kernels.same_padding(9, 3, lower=odd), "size": lambda odd: kernels.same_padding(odd, 3),
    "output_size": lambda odd: kernels.fold(np.ones((1, 16, 64)), odd, 2),
    "budget": lambda odd: kernels.plan("conv2d", X.shape, WEIGHT, effort="measure", budget=odd),
    "implementation of a linear layer": lambda odd: kernels.sequence([layer("linear", np.eye(9), implementation=odd)], X.shape),
    "implementation of a layer": lambda odd: kernels.sequence([layer("conv2d", WEIGHT, implementation=odd)], X.shape),
}  # fmt: skip


@pytest.mark.parametrize("name", REAL)
def test_no_raw_exception(name: str) -> None:
    for odd in ODD:
        if name != "size" or not isinstance(odd, int | tuple):  # an input as long as that, or of six axes, has a padding
            with pytest.raises(ProblemError):
                REAL[name](odd)


def test_layers_that_are_no_list() -> None:
    for odd in (1, -0.5, object(), True, "ab", lambda: 0):
        with pytest.raises(ProblemError):
            kernels.receptive_field(odd)


@pytest.mark.parametrize("name", ["hop", "sample_rate", "window", "bin_hz"])
def test_what_must_be_above_zero(name: str) -> None:
    for odd in (0, -1, 0.0, True):
        with pytest.raises(ProblemError, match=f"{name} is .*must be a finite number above 0"):
            REAL[name](odd)


# --- precision

def test_operands_that_widen_a_float32_input_warn_where_they_are_called() -> None:
    wide, bias = WEIGHT.astype(np.float64), np.ones(4)
    calls: dict[str, Callable[[], Any]] = {
        "weight is float64": lambda: kernels.conv2d(X, wide), "bias is float64": lambda: kernels.conv1d(X[:, :, 0], WEIGHT[:, :, 0], bias),
        "scale is float64": lambda: kernels.conv_transpose2d(X, WEIGHT, scale=bias),
        "weight is int64": lambda: kernels.conv2d(X, np.ones((4, 4, 3, 3), int)),
        "weight is float64 and bias is float64": lambda: kernels.plan("conv2d", X.shape, wide, bias),
        "pointwise_weight is float64": lambda: kernels.separable_conv2d(X, WEIGHT[:, :1], wide[:, :, :1, :1]),
        "layer 1 is float64": lambda: kernels.sequence([layer("activation", "relu"), layer("batch_norm", bias, bias)], X.shape),
    }  # fmt: skip
    kernels.api.call.forget()
    for what, call in calls.items():
        with pytest.warns(PrecisionWarning, match=f"x is float32 and {what}") as caught:
            call()
        assert caught[0].filename == __file__
    with pytest.warns(PrecisionWarning, match="x is float16"):
        kernels.conv2d(X.astype(np.float16), wide)


def test_nothing_warns_where_nothing_is_widened() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kernels.conv2d(X, WEIGHT)
        kernels.conv2d(X.astype(np.float64), WEIGHT)
        kernels.conv2d((X * 9).astype(np.int16), WEIGHT.astype(np.float64))
        kernels.sequence([layer("conv2d", WEIGHT.astype(np.float64))], X.shape, dtype="float64")


# --- the rest of the kind

def test_no_result_is_read_only_or_a_view_of_the_input() -> None:
    x = np.ones((1, 4, 3, 3), np.float32)
    results = {
        "unfold": kernels.unfold(x, 3), "unfold of one tap": kernels.unfold(x, 1),
        "fold": kernels.fold(np.ones((1, 9, 1), np.float32), 3, 3),
        "shuffle": kernels.channel_shuffle(x, 1), "shuffle of all": kernels.channel_shuffle(x, 4), "conv": kernels.conv2d(x, WEIGHT),
        "pool": kernels.max_pool2d(x, 1), "adaptive": kernels.adaptive_avg_pool2d(x, 3), "global": kernels.global_avg_pool(x[:, :, :1, :1]),
        "sequence": kernels.sequence([], x.shape)(x), "flatten": kernels.sequence([layer("flatten")], x.shape)(x),
        "line": kernels.unfold(x[:, :, 0], (3,)), "folded": kernels.fold_batch_norm(WEIGHT, None, PER_CHANNEL, PER_CHANNEL)[0],
    }  # fmt: skip
    for name, result in results.items():
        assert result.flags.writeable, name
        assert not np.may_share_memory(result, x) and not np.may_share_memory(result, WEIGHT), name


@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
@pytest.mark.parametrize(("size", "stride", "padding"), [
    ((2, 6), 10, ((4, 0), (0, 0))), ((2, 6), 3, ((9, 9), (9, 9))), ((6, 2), 1, ((3, 3), (5, 0))), ((1, 1), 7, ((8, 8), (8, 8))),
    ((40, 6), 1, ((5, 50), (0, 0))),
])  # fmt: skip
def test_separable_windows_wholly_in_padding(size: tuple[int, int], stride: int, padding: Any, layout: str) -> None:
    draw = np.random.default_rng(2)
    x = draw.standard_normal((2, 4, *size), dtype=np.float32)
    bias, pointwise = draw.standard_normal(4, dtype=np.float32), draw.standard_normal((3, 4, 1, 1), dtype=np.float32)
    for pool in (None, ("max", 1)):
        middle = kernels.conv2d(x, WEIGHT[:, :1], bias, stride, padding, groups=4, activation="relu", implementation="naive")
        expected = kernels.conv2d(middle, pointwise, bias[:3], pool=pool, implementation="naive")
        last = layout == "channels_last"
        given = (x.transpose(0, 2, 3, 1), WEIGHT[:, :1].transpose(2, 3, 1, 0), pointwise.transpose(2, 3, 1, 0)) if last else (
            x, WEIGHT[:, :1], pointwise
        )  # fmt: skip
        found = kernels.separable_conv2d(
            *given, bias[:3], stride, padding, depthwise_bias=bias, depthwise_activation="relu", pool=pool, layout=layout
        )
        np.testing.assert_allclose(found.transpose(0, 3, 1, 2) if last else found, expected, rtol=1e-4, atol=1e-5)


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    full = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run([sys.executable, *command], env=full, capture_output=True, text=True, timeout=PATIENCE)


def test_numba_without_its_compiler_is_a_sentence() -> None:
    code = "import numpy as np, kernels\ntry: kernels.max_pool1d(np.ones((1, 1, 4)), 2)\nexcept kernels.ProblemError as error: print(error)"
    for command in (("-c", code), ("-m", "kernels", "calibrate")):
        done = run(*command, NUMBA_DISABLE_JIT="1")
        assert "NUMBA_DISABLE_JIT is set" in done.stdout + done.stderr and "Traceback" not in done.stderr


def test_tuning_nothing_is_an_error(tmp_path: Path) -> None:
    for text in ("", "# nothing\n", "[]"):
        (tmp_path / "layers.txt").write_text(text)
        done = run("-m", "kernels", "tune", "--layers", str(tmp_path / "layers.txt"), KERNELS_TUNING="off")
        assert done.returncode == 2 and "Traceback" not in done.stderr and "layers.txt" in done.stderr, (text, done.stderr)
