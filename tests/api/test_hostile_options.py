"""Options of the wrong kind and sizes beyond memory: each is refused by name before anything is allocated; far steps are just steps."""

from __future__ import annotations

import inspect
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import layers
import numpy as np
import pytest

import kernels
from kernels.methods import load, registry
from kernels.runtime import machine, system

load()


# --- options

NUMBERS = ("stride", "padding", "dilation", "groups", "output_padding", "kernel_size", "output_size")
FLAGS = ("flip", "ceil_mode", "return_indices", "count_include_pad")
NAMES = ("layout", "implementation", "activation", "pool")
NEITHER: list[Any] = [
    "", "2", b"2", 1.0, 1.5, np.float32(2), float("nan"), float("inf"), 1j, {1, 2}, {1: 2}, ["2", 2], [float("nan")] * 9, [[[1]]], int,
    object(), np.ones(2), np.ones((2, 2)), np.array([None, "1"]), lambda: 1, np.ones((20, 10, 9)), [0.5] * 5000, "x" * 5000,
]  # fmt: skip
LONGEST = 700  # characters of a message, which shows what was passed without all of its numbers
COUNTS = [*NEITHER, True, np.True_, [True], -1, -(10**40), [1] * 9]
WRONG: dict[str, list[Any]] = {
    **dict.fromkeys(NUMBERS, COUNTS),
    **{name: [*NEITHER[:3], *NEITHER[4:], None, 2, -1] for name in FLAGS},  # without 1.0, which is True
    **{name: [*NEITHER, True, 0, 10**40] for name in NAMES},
    "divisor_override": [*NEITHER, True, 0, 10**40],  # which may be negative, as in PyTorch
    "threads": [*NEITHER, True, np.True_, 0, -1, -(10**40)],
    "out": [*NEITHER, True, 1],
}


def of(op: str) -> Iterator[str]:
    yield from (name for name in inspect.signature(getattr(kernels, op)).parameters if name in WRONG)


@pytest.mark.parametrize("op", layers.OPS)
def test_options_of_the_wrong_kind(op: str) -> None:
    operands = layers.arrays(op)
    for name in of(op):
        for value in WRONG[name]:
            with pytest.raises(kernels.ProblemError) as refused:
                layers.call(op, *operands, **{name: value})
                pytest.fail(f"{op} took {name}={value!r}")
            assert len(str(refused.value)) < LONGEST and "\n" not in str(refused.value)


@pytest.mark.parametrize("op", layers.OPS)
def test_misspelt_options_are_type_errors(op: str) -> None:
    for name in ("strides", "kernel", "pads", "Padding", "axis", "dtype"):
        with pytest.raises(TypeError, match=name):
            layers.call(op, *layers.arrays(op), **{name: 1})


def test_numbers_as_numpy_has_them() -> None:
    x, weight, bias = layers.arrays("conv2d")
    expected = kernels.conv2d(x, weight, bias, (1, 2), ((1, 2), (0, 3)), groups=2)
    for two in (np.array([1, 2]), np.array([1, 2], np.uint8), range(1, 3), [np.int16(1), 2]):
        for pairs in (np.array([[1, 2], [0, 3]]), [np.array([1, 2]).tolist(), (0, 3)]):
            np.testing.assert_array_equal(kernels.conv2d(x, weight, bias, two, pairs, groups=np.array(2)), expected)
    with pytest.raises(kernels.ProblemError, match="flat list of 4"):
        kernels.conv2d(x, weight, bias, padding=np.array([1, 2, 0, 3]), groups=2)


PLANS: list[dict[str, Any]] = [
    *({"x_shape": value} for value in (None, 5, "abc", (1, 4, 9.5, 12), (1, 4, -9, 12), (True, 4, 9, 12), (1, 4, None, 12), ())),
    *({"op": value} for value in (None, 5, [], "conv", np.ones(3))), *({"dtype": value} for value in (None, "x", "complex64", "O", 5, [])),
    *({"effort": value} for value in (None, 1, "most", np.ones(3))), *({"implementation": value} for value in (None, [], "best", 3)),
]  # fmt: skip


@pytest.mark.parametrize("wrong", PLANS, ids=str)
def test_plans_of_nothing(wrong: dict[str, Any]) -> None:
    _, weight, _ = layers.arrays("conv2d")
    arguments = {"op": "conv2d", "x_shape": (2, 4, 6, 9), "dtype": "float32"} | wrong
    with pytest.raises(kernels.ProblemError):
        kernels.plan(arguments.pop("op"), arguments.pop("x_shape"), weight, groups=2, **arguments)
    if not {"effort", "implementation"} & wrong.keys():
        arguments = {"op": "conv2d", "x_shape": (2, 4, 6, 9), "dtype": "float32"} | wrong
        with pytest.raises(kernels.ProblemError):
            kernels.implementations(arguments.pop("op"), arguments.pop("x_shape"), weight, groups=2, **arguments)
    for text in (None, 5, b"conv2d", ["conv2d"]):
        with pytest.raises(kernels.ProblemError, match="not a problem"):
            kernels.parse(text)  # type: ignore[arg-type]


# --- sizes


HUGE: dict[str, Callable[[], Any]] = {
    "x": lambda: kernels.conv1d(np.broadcast_to(np.float32(1), (1, 1, 10**14)), np.ones((1, 1, 2), np.float32)),
    "batch": lambda: kernels.conv1d(np.broadcast_to(np.float32(1), (10**13, 1, 8)), np.ones((1, 1, 2), np.float32)),
    "float16_x": lambda: kernels.max_pool1d(np.broadcast_to(np.float16(1), (1, 10**7, 10**7)), 2),
    "weight": lambda: kernels.conv1d(np.ones((1, 1, 8), np.float32), np.broadcast_to(np.float32(1), (10**14, 1, 2))),
    "padding": lambda: kernels.conv1d(np.ones((1, 1, 8), np.float32), np.ones((1, 1, 2), np.float32), padding=10**40),
    "padding_stepped_over": lambda: kernels.conv1d(np.ones((1, 1, 8)), np.ones((1, 1, 2)), padding=10**14, stride=10**12),
    "padding_pooled_over": lambda: kernels.avg_pool1d(np.ones((1, 1, 8)), 10**14, 1, padding=[(10**14 - 8, 0)]),
    "adaptive_outputs": lambda: kernels.adaptive_avg_pool1d(np.ones((1, 3, 8)), 10**14),
    "planned": lambda: kernels.plan("max_pool2d", (10**400, 3, 10**9, 10**9), 2),
    "overflow": lambda: kernels.plan("max_pool2d", (2**31, 2**31, 2**31, 2**31), 2),
}  # fmt: skip


@pytest.mark.parametrize("call", HUGE.values(), ids=HUGE)
def test_what_memory_cannot_hold_is_refused_before_it_is_asked_for(call: Callable[[], Any]) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(kernels.ProblemError, match=r"would take [\d,]+ GiB, this machine has [\d,]+ GiB"):
            call()
        assert tracemalloc.get_traced_memory()[1] < 1 << 24
    finally:
        tracemalloc.stop()


def test_scratch_space_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A convolution whose large output is pooled afterwards, where memory has room for input and output alone."""
    for module in ("problem.arrays", "dispatch.descriptor", "problem.options"):
        monkeypatch.setattr(sys.modules[f"kernels.{module}"], "memory", lambda: 1 << 20)
    x, weight = np.ones((1, 1, 8), np.float32), np.ones((64, 1, 1), np.float32)
    options: dict[str, Any] = {"padding": 5000, "pool": ("max", 1000), "activation": "sigmoid", "implementation": "im2col"}
    with pytest.raises(kernels.ProblemError, match=r"scratch space of 'im2col' for conv1d n1 c1 .* would take"):
        kernels.conv1d(x, weight, **options)
    assert kernels.conv1d(x, weight[:1], **options).shape == (1, 1, 10)


def test_many_adaptive_windows_are_not_listed() -> None:
    tracemalloc.start()
    try:
        assert kernels.implementations("adaptive_max_pool1d", (1, 1, 3 * 10**8 + 2), 10**8)["jit"] is None
        assert tracemalloc.get_traced_memory()[1] < 1 << 24
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [("0::/job/part", {"job/memory.max": "3000", "job/part/memory.max": "max"}, 3000),
     ("0::/elsewhere", {"memory.max": "5000"}, 5000),
     ("4:memory:/job\n0::/", {"memory/job/memory.limit_in_bytes": "7000", "memory/memory.limit_in_bytes": "9223372036854771712"}, 7000),
     ("3:cpu:/job\n4:cpuset,memory:/job", {"cpu/job/memory.limit_in_bytes": "1", "memory/job/memory.limit_in_bytes": "9"}, 9),
     ("0::/", {}, 1 << 62), (None, {"memory.max": "1"}, 1 << 62)],
)  # fmt: skip
def test_memory_is_what_control_groups_allow(tmp_path: Path, groups: str | None, files: dict[str, str], expected: int) -> None:
    written = {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    for name, text in (written | ({"proc/self/cgroup": groups} if groups is not None else {})).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert machine.memory_limit(tmp_path) == expected
    assert machine.memory() == min(system.physical_memory() or 1 << 62, machine.memory_limit(Path("/")))


FAR: dict[str, tuple[dict[str, Any], list[float]]] = {
    "stride": ({"stride": 10**12}, [1]),
    "padding_and_dilation": ({"padding": 10**6, "dilation": 2 * 10**6, "stride": 3}, [0] * 3),
    "padding_and_stride": ({"padding": 10**6, "stride": 10**6}, [0, 1, 0]),
    "dilation_and_stride": ({"padding": 10**6 - 3, "dilation": 10**6, "stride": 10**6}, [3, 3]),
}


@pytest.mark.parametrize("name", registry.every("conv"))
@pytest.mark.parametrize("options, expected", FAR.values(), ids=FAR)
def test_steps_past_the_whole_input(name: str, options: dict[str, Any], expected: list[float]) -> None:
    x, weight = np.arange(8, dtype=np.float32).reshape(1, 1, 8), np.ones((1, 1, 2), np.float32)
    if kernels.implementations("conv1d", x.shape, weight, **options)[name] is None:
        np.testing.assert_allclose(kernels.conv1d(x, weight, implementation=name, **options)[0, 0], expected, rtol=0, atol=1e-5)
    for wrong in ({"stride": 10**30}, {"padding": 10**30, "dilation": 10**30}):
        with pytest.raises(kernels.ProblemError, match=r"must be at most|would take"):
            kernels.conv1d(x, weight, implementation=name, **wrong)


@pytest.mark.parametrize("name", registry.every("pool"))
def test_pools_that_step_past_the_whole_input(name: str) -> None:
    x = np.arange(9, dtype=np.float32).reshape(1, 1, 9)
    for ceil in (False, True):
        assert kernels.max_pool1d(x, 2, 10**12, ceil_mode=ceil, implementation=name) == 1
        assert kernels.avg_pool1d(x, 2, 10**12, ceil_mode=ceil, implementation=name) == 0.5
    with pytest.raises(kernels.ProblemError, match="stride 1000000000000000000000000000000"):
        kernels.max_pool1d(x, 2, 10**30, implementation=name)


@pytest.mark.parametrize("length, window", [(10**6, 2**10), (10**6, 10**6)])
def test_long_averages(length: int, window: int) -> None:
    """A moving average over audio, and one over all of it; both in memory that grows with the input alone."""
    x = np.random.default_rng(0).standard_normal((1, 1, length)).astype(np.float32)
    tracemalloc.start()
    try:
        y = kernels.avg_pool1d(x, window, 1)
        assert tracemalloc.get_traced_memory()[1] < 1 << 26
    finally:
        tracemalloc.stop()
    sums = np.cumsum(np.append(0, x.astype(np.float64)))
    np.testing.assert_allclose(y[0, 0], (sums[window:] - sums[:-window]) / window, rtol=0, atol=1e-5)
