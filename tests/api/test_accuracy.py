"""`accuracy="each"`: whatever a window does not see leaves its output alone, by any way of asking, in any operation."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from patience import PATIENCE

import kernels
from kernels import ProblemError, RefusedError, layer, sequence

ROOT = Path(__file__).parents[2]
SPOILERS = -1e9, np.inf, np.nan, 3e38


@pytest.fixture(autouse=True)
def _the_process_has_no_accuracy_of_its_own() -> Iterator[None]:
    yield
    kernels.set_accuracy(None)


def _case(op: str, *weight: int, **options: Any) -> tuple[str, tuple[int, ...], np.ndarray, dict[str, Any]]:
    axes = int(op[-2])
    draw = np.random.default_rng(0)
    return op, (1, 16, *(28 if axes < 3 else 10,) * axes), draw.standard_normal(weight, dtype=np.float32), options


CASES = [
    _case("conv2d", 16, 16, 3, 3, padding=1), _case("conv2d", 16, 16, 5, 5, stride=2, padding="same"),
    _case("conv2d", 16, 16, 3, 3, padding=1, activation="relu", pool=("max", 2)), _case("conv1d", 32, 16, 9, padding=4),
    _case("conv2d", 16, 16, 11, 11, padding="same"), _case("conv3d", 16, 16, 3, 3, 3, padding=1),
    _case("conv_transpose2d", 16, 16, 4, 4, stride=2, padding=1), _case("conv_transpose1d", 16, 16, 3, padding=1),
    _case("conv_transpose3d", 16, 16, 3, 3, 3, padding=1), _case("conv_transpose2d", 16, 16, 3, 3, stride=2, padding=1),
    _case("conv_transpose1d", 16, 4, 40, stride=17),
]  # fmt: skip


@pytest.mark.parametrize("spoiler", SPOILERS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[2].shape[2:]}-{'-'.join(case[3])}")
def test_one_value_spoils_only_the_outputs_that_see_it(case: Any, spoiler: float) -> None:
    op, shape, weight, options = case
    clean = np.random.default_rng(1).standard_normal(shape, dtype=np.float32)
    at = (0, 3, *(length // 2 for length in shape[2:]))
    spoilt = clean.copy()
    spoilt[at] = spoiler
    bare = {name: value for name, value in options.items() if name not in ("activation", "pool")}
    function = getattr(kernels, op)
    mark, kernel = (spoilt != clean)[:, at[1] : at[1] + 1].astype(np.float32), np.ones((1, 1, *weight.shape[2:]), np.float32)
    seen = function(mark, kernel, implementation="naive", **bare) != 0  # by every channel; "naive" takes seconds for all of them
    if "pool" in options:
        seen = kernels.max_pool2d(seen.astype(np.float32), 2) != 0
    seen = np.repeat(seen, weight.shape[1 if op.startswith("conv_transpose") else 0], axis=1)
    for threads in (1, None):
        plan = kernels.plan(op, shape, weight, accuracy="each", threads=threads, **options)
        before, after = plan(clean), plan(spoilt)
        np.testing.assert_array_equal(after[~seen], before[~seen])
        assert (~seen).any() and seen.any()
        before, after = (function(x, weight, accuracy="each", threads=threads, **options) for x in (clean, spoilt))
        np.testing.assert_array_equal(after[~seen], before[~seen])


def test_what_it_rules_out_is_said_and_refused() -> None:
    weight = np.ones((64, 64, 3, 3), np.float32)
    plan = kernels.plan("conv2d", (1, 64, 64, 64), weight, padding=1, accuracy="each")
    refused = [line for line in plan.explain().splitlines() if 'accuracy="each" rules it out' in line]
    assert [line.split(":")[0] for line in refused] == ["fft", "winograd"]
    assert plan.problem.accuracy == "each" and kernels.parse(str(plan.problem)) == plan.problem
    for name in ("fft", "winograd"):
        with pytest.raises(RefusedError, match="rules it out"):
            kernels.plan("conv2d", (1, 64, 64, 64), weight, padding=1, accuracy="each", implementation=name)
        assert "rules it out" in str(kernels.implementations("conv2d", (1, 64, 64, 64), weight, accuracy="each")[name])
        assert kernels.plan("conv2d", (1, 64, 64, 64), weight, padding=1, implementation=name).implementation == name


def test_measuring_keeps_within_what_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERNELS_TUNING", "off")
    weight = np.ones((16, 16, 3, 3), np.float32)
    plan = kernels.plan("conv2d", (1, 16, 20, 20), weight, padding=1, accuracy="each", effort="measure", budget=0.05)
    assert plan.implementation not in ("fft", "winograd")
    assert kernels.plan("conv2d", (1, 16, 20, 20), weight, padding=1).problem != plan.problem  # nor do entries of one serve the other


def test_the_process_has_a_default_which_calls_that_are_remembered_follow() -> None:
    x = np.random.default_rng(0).standard_normal((1, 64, 40, 40), dtype=np.float32)
    weight = np.random.default_rng(1).standard_normal((64, 64, 3, 3), dtype=np.float32)
    x[0, :, 20, 20] = np.nan
    lost = int(np.isnan(kernels.conv2d(x, weight, padding=1)).sum())
    kernels.set_accuracy("each")
    assert int(np.isnan(kernels.conv2d(x, weight, padding=1)).sum()) == 64 * 9
    assert kernels.plan("conv2d", x.shape, weight).problem.accuracy == "each"
    assert kernels.plan("conv2d", x.shape, weight, accuracy="largest").problem.accuracy == "largest"
    kernels.set_accuracy(None)
    assert int(np.isnan(kernels.conv2d(x, weight, padding=1)).sum()) == lost


def test_the_environment_sets_it_too() -> None:
    code = "import kernels; print(kernels.plan('conv1d', (1, 2, 50), [[[1.0] * 3] * 2], implementation='naive').problem.accuracy)"
    for value, expected in (("each", "each"), ("EACH", "each"), ("", "largest"), ("largest", "largest")):
        environment = {**os.environ, "KERNELS_ACCURACY": value, "PYTHONPATH": str(ROOT)}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=PATIENCE)
        assert done.stdout.strip() == expected, done.stderr
    done = subprocess.run([sys.executable, "-c", code], env={**environment, "KERNELS_ACCURACY": "all"}, capture_output=True, text=True)
    assert "KERNELS_ACCURACY is 'all', must be \"largest\"" in done.stderr


def test_sequences_hand_it_to_layers_that_name_none() -> None:
    weight = np.random.default_rng(1).standard_normal((64, 64, 3, 3), dtype=np.float32)
    layers = [layer("conv2d", weight, padding=1), layer("max_pool2d", 2), layer("add", [layer("conv2d", weight, padding=1)], [])]
    x = np.random.default_rng(0).standard_normal((1, 64, 40, 40), dtype=np.float32)
    clean = sequence(layers, x.shape, accuracy="each")(x)
    x[0, :, 0, 0] = np.inf
    spoilt = sequence(layers, x.shape, accuracy="each")(x)
    np.testing.assert_array_equal(spoilt[..., 2:], clean[..., 2:])
    np.testing.assert_array_equal(spoilt[..., 2:, :], clean[..., 2:, :])
    with pytest.raises(RefusedError, match=r"layer 0: .*rules it out"):
        sequence([layer("conv2d", weight, accuracy="each", implementation="winograd")], x.shape)


@pytest.mark.parametrize("accuracy", ["all", 1, True, b"each", ["each"], "Each"])
def test_anything_else_is_an_error_everywhere(accuracy: Any) -> None:
    x, weight = np.ones((1, 4, 9, 9), np.float32), np.ones((4, 4, 3, 3), np.float32)
    calls = [
        lambda: kernels.conv2d(x, weight, accuracy=accuracy), lambda: kernels.conv_transpose2d(x, weight, accuracy=accuracy),
        lambda: kernels.max_pool2d(x, 2, accuracy=accuracy), lambda: kernels.avg_pool2d(x, 2, accuracy=accuracy),
        lambda: kernels.adaptive_max_pool2d(x, 2, accuracy=accuracy), lambda: kernels.adaptive_avg_pool2d(x, 2, accuracy=accuracy),
        lambda: kernels.global_avg_pool(x, accuracy=accuracy), lambda: kernels.plan("conv2d", x.shape, weight, accuracy=accuracy),
        lambda: kernels.separable_conv2d(x, weight[:, :1], weight[:, :, :1, :1], accuracy=accuracy),
        lambda: sequence([], x.shape, accuracy=accuracy), lambda: kernels.set_accuracy(accuracy),
        lambda: sequence([layer("max_pool2d", 2, accuracy=accuracy)], x.shape),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(ProblemError, match=r"accuracy.* is .*, must be"):
            call()


def test_pools_take_it_and_are_that_accurate_anyway() -> None:
    x = np.random.default_rng(0).standard_normal((1, 2, 30, 30), dtype=np.float32)
    for function in (kernels.max_pool2d, kernels.avg_pool2d, kernels.adaptive_avg_pool2d, kernels.adaptive_max_pool2d):
        np.testing.assert_array_equal(function(x, 3, accuracy="each"), function(x, 3))
