"""Plans: what they own, what they say, and that calling one does no work that could have been done before."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import reference
from cases import PRECISION
from patience import PATIENCE

import kernels
from kernels import implementations
from kernels.methods import load, registry

load()
DRAW = np.random.default_rng(4)
X = DRAW.standard_normal((2, 8, 9, 20)).astype(np.float32)
W = DRAW.standard_normal((9, 8, 3, 3)).astype(np.float32)
B = DRAW.standard_normal(9).astype(np.float32)
Y = reference.conv(X, W, B, (1, 1), ((1, 1), (1, 1)), (1, 1), 1)
ALL = [("conv", name) for name in registry.every("conv")] + [("pool", name) for name in registry.every("pool")]


def layer(name: str) -> tuple[np.ndarray, int, dict[str, Any]]:
    """(weight, groups, leave) of a layer that the implementation takes: one that sums channels, or one kernel per channel."""
    for weight, groups in ((W, 1), (W[:8, :1], 8)):
        if implementations("conv2d", X.shape, weight, padding=1, groups=groups, **PRECISION.get(name, {}))[name] is None:
            return weight, groups, PRECISION.get(name, {})
    raise AssertionError(f"{name} takes neither layer; add one that it takes")


def make(kind: str, name: str, **options: Any) -> kernels.Plan:
    if kind == "conv":
        weight, groups, leave = layer(name)
        return kernels.plan("conv2d", X.shape, weight, B[: len(weight)], padding=1, groups=groups, implementation=name, **leave, **options)
    return kernels.plan("max_pool2d", X.shape, 3, 2, 1, implementation=name, **options)


@pytest.mark.parametrize("kind, name", ALL, ids=map("-".join, ALL))
def test_says_what_it_is(kind: str, name: str) -> None:
    plan = make(kind, name)
    assert plan.implementation == name
    assert plan.out_shape == ((2, len(layer(name)[0]), 9, 20) if kind == "conv" else (2, 8, 5, 10))
    assert kernels.parse(str(plan.problem)) == plan.problem
    assert isinstance(plan.workspace_bytes, int) and plan.workspace_bytes >= 0
    assert 0 <= plan.error_bound < (1e-2 if name in PRECISION else 1e-3) and (kind == "pool" or plan.error_bound > 0)
    assert str(plan.problem) in plan.explain() and name in plan.explain() and name in repr(plan)


def test_explain_names_everyone_and_every_refusal() -> None:
    plan = kernels.plan("conv2d", X.shape, W, B, padding=1)
    able = implementations("conv2d", X.shape, W, B, padding=1)
    assert list(able) == list(registry.every("conv"))
    for name, sentence in able.items():
        assert f"{name}: " in plan.explain()
        assert sentence is None or sentence in plan.explain()
    assert f"{plan.implementation}: taken" in plan.explain()


def test_auto_takes_one_that_is_able() -> None:
    plan = kernels.plan("conv2d", X.shape, W, B, padding=1)
    assert implementations("conv2d", X.shape, W, B, padding=1)[plan.implementation] is None
    assert plan.implementation != "naive"
    assert reference.share(plan(X), Y) <= plan.error_bound <= 1e-4


@pytest.mark.parametrize("name", [*registry.every("conv")])
def test_owns_its_weights(name: str) -> None:
    weight, groups, leave = layer(name)
    weight, c_out = weight.copy(), len(weight)
    bias, scale, shift = B[:c_out].copy(), np.full(c_out, 2, np.float32), np.zeros(c_out, np.float32)
    expected = 2 * reference.conv(X, weight, bias, (1, 1), ((1, 1), (1, 1)), (1, 1), groups)
    options: dict[str, Any] = {"padding": 1, "groups": groups, "scale": scale, "shift": shift}
    plan = kernels.plan("conv2d", X.shape, weight, bias, implementation=name, **leave, **options)
    before = plan(X)
    for array in (weight, bias, scale, shift):
        array[...] = np.nan
    np.testing.assert_array_equal(plan(X), before)
    assert reference.share(before, expected) <= plan.error_bound


@pytest.mark.parametrize("kind, name", ALL, ids=map("-".join, ALL))
def test_answers_again_and_again(kind: str, name: str, poisoned_scratch: None) -> None:
    """Nothing is left over from one call to the next, whatever the inputs were."""
    plan = make(kind, name)
    first = plan(X)
    plan(np.full_like(X, np.nan))
    plan(np.full_like(X, np.inf))
    np.testing.assert_array_equal(plan(X), first)
    out = np.full(plan.out_shape, np.nan, np.float32)
    assert plan(X, out=out) is out
    np.testing.assert_array_equal(out, first)


@pytest.mark.parametrize("kind, name", ALL, ids=map("-".join, ALL))
def test_batch_0(kind: str, name: str) -> None:
    if kind == "conv":
        weight, groups, leave = layer(name)
        plan = kernels.plan("conv2d", (0, 8, 9, 20), weight, groups=groups, implementation=name, **leave)
    else:
        plan = kernels.plan("avg_pool2d", (0, 8, 9, 20), 2, implementation=name)
    y = plan(np.empty((0, 8, 9, 20), np.float32))
    assert y.shape == plan.out_shape and y.shape[0] == 0 and y.dtype == np.float32


def test_wants_the_planned_shape() -> None:
    plan = kernels.plan("conv2d", X.shape, W, B, padding=1)
    with pytest.raises(kernels.ProblemError, match=r"conv2d: x has shape \(2, 8, 9, 19\), the plan was made for \(2, 8, 9, 20\)"):
        plan(X[..., 1:])
    with pytest.raises(kernels.ProblemError, match="conv2d: out has shape"):
        plan(X, out=np.empty((2, 9, 9, 19), np.float32))
    with pytest.raises(kernels.ProblemError, match="conv2d: x has dtype complex64"):
        plan(X.astype(np.complex64))


def test_dtype_of_a_plan() -> None:
    double = kernels.plan("conv2d", X.shape, W, B, padding=1, dtype="float64")
    assert double.problem.dtype == "float64" and double(X).dtype == np.float64
    assert reference.share(double(X), Y) <= 1e-12
    half = kernels.plan("max_pool2d", X.shape, 2, dtype=np.float16)
    assert half.problem.dtype == "float32" and half(X.astype(np.float16)).dtype == np.float16
    for wrong in ("complex64", "no such thing", object):
        with pytest.raises(kernels.ProblemError, match="dtype"):
            kernels.plan("conv2d", X.shape, W, dtype=wrong)


def test_threads() -> None:
    cores = kernels.plan("conv2d", X.shape, W).threads
    assert 1 <= cores <= (os.cpu_count() or 1)
    assert kernels.plan("conv2d", X.shape, W, threads=1).threads == 1
    assert kernels.plan("conv2d", X.shape, W, threads=10_000).threads == cores


def test_implementations_says_none_or_a_sentence() -> None:
    for op, arguments in (("conv1d", (np.ones((1, 1, 2), np.float32),)), ("max_pool1d", (2,)), ("global_avg_pool", ())):
        able = implementations(op, (1, 1, 50), *arguments)
        assert able["naive"] is None and able["jit"] is None
        assert all(sentence is None or len(sentence.split()) >= 3 for sentence in able.values())


CALLS = """
import json
import numpy as np
import kernels, kernels.api
from kernels.methods import load
from kernels.methods import registry
from kernels.runtime import disk_cache

asked = []
original = disk_cache.DiskCache.load_overload
def load_overload(self, sig, target_context):
    asked.append((self._name, str(sig)))
    return original(self, sig, target_context)
disk_cache.DiskCache.load_overload = load_overload

load()
draw = np.random.default_rng(4)
x = draw.standard_normal((2, 8, 9, 20)).astype(np.float32)
weight = draw.standard_normal((9, 8, 3, 3)).astype(np.float32)
locked = x.copy()
locked.flags.writeable = False
cells = []
for arguments, options in (((weight,), {}), ((weight[:8, :1],), {"groups": 8})):
    for more in ({}, {"activation": "relu", "pool": ("max", 2)}):
        able = kernels.implementations("conv2d", x.shape, *arguments, **options, **more)
        cells += [("conv2d", name, arguments, options | more) for name, sentence in able.items() if sentence is None]
cells += [(op, name, (3,), {}) for name in registry.every("pool") for op in ("max_pool2d", "avg_pool2d")]
for op, arguments, options in (
    ("conv_transpose2d", (weight[:8],), {"stride": 2}), ("conv_transpose2d", (weight[:8, :1],), {"stride": 2, "groups": 8}),
    ("conv3d", (weight[:, :2, None],), {}), ("max_pool3d", (2,), {"return_indices": True}), ("adaptive_avg_pool2d", (4,), {}),
):
    able = kernels.implementations(op, x.shape, *arguments, **options)
    cells += [(op, name, arguments, options) for name, sentence in able.items() if sentence is None]
late = {}
for op, name, arguments, options in cells:
    for threads in (1, 2):
        plan = kernels.plan(op, x.shape, *arguments, implementation=name, threads=threads, **options)
        for kind, array in (("x", x), ("read-only x", locked)):
            before = len(asked)
            plan(array)
            late[f"{op} {name} threads={threads} {options} {kind}"] = [name for name, _ in asked[before:]]
print(json.dumps(late))
"""


def test_calling_compiles_nothing() -> None:
    """Whatever has to be compiled, or loaded from the disk cache in its place, is compiled while planning; also for read-only input."""
    done = subprocess.run([sys.executable, "-c", CALLS], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    late = json.loads(done.stdout)
    assert len(late) >= 8
    assert {call: compiled for call, compiled in late.items() if compiled} == {}
