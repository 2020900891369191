"""A stack of layers gives what its layers give one after the other, from memory that it shares, and says which layer is wrong."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from processes import at_once

import kernels
from kernels import Layer, ProblemError, RefusedError, layer
from kernels.network.arena import offsets
from kernels.network.layers import JOINS

DRAW = np.random.default_rng(8)
Array = np.ndarray


def normal(*shape: int) -> Array:
    return DRAW.standard_normal(shape).astype(np.float32)


def norm(count: int, lowest: float = 0.5) -> tuple[Array, ...]:
    """mean, var, gamma (from `lowest` to 2) and beta of a batch norm."""
    var, gamma = (DRAW.uniform(low, 2, count).astype(np.float32) for low in (0.5, lowest))
    return normal(count), var, gamma, normal(count)


def one_by_one(layers: Sequence[Layer], x: Array) -> Array:
    """The layers in float64, by definition: this library's plain loops for those it has."""
    for each in layers:
        args: Any = [[one_by_one(branch, x) for branch in each.args]] if each.op in JOINS else each.args
        if each.op == "batch_norm":
            axis = each.options.get("axis", 1)
            mean, var, gamma, beta = (array.reshape([-1 if i == axis else 1 for i in range(x.ndim)]) for array in args)
            x = (x - mean) / np.sqrt(var + 1e-5) * gamma + beta
        elif each.op == "linear":
            x = np.tanh(x @ args[0].T.astype(float) + args[1])
        elif each.op == "activation":
            x = kernels.conv1d(x.reshape(1, 1, -1), np.ones((1, 1, 1)), activation=args[0], implementation="naive").reshape(x.shape)
        else:
            own = {"flatten": lambda x: x.reshape(len(x), -1), "concatenate": lambda _, ys: np.concatenate(ys, 1)}
            own |= {"channels": lambda x, first, end: x[:, first:end]}
            own |= {"add": lambda _, ys: sum(ys), "multiply": lambda _, ys: math.prod(ys)}
            x = own[each.op](x, *args) if each.op in own else getattr(kernels, each.op)(x, *args, **each.options, implementation="naive")
    return x


MIXED = [
    layer("batch_norm", *norm(20), axis=2),
    layer("conv2d", normal(4, 1, 3, 3), normal(4), padding=1),
    layer("batch_norm", *norm(4, -2)),
    layer("activation", "elu"),
    layer("max_pool2d", 2),
    layer("concatenate",
          [layer("conv2d", normal(5, 4, 3, 3), padding=1, activation="relu"), layer("batch_norm", *norm(5)), layer("max_pool2d", (1, 15))],
          [layer("conv2d", normal(3, 4, 5, 5), padding=2), layer("batch_norm", *norm(3, -2)), layer("avg_pool2d", (1, 15))],
          [layer("conv2d", normal(2, 4, 5, 5), padding=2, pool=("max", (1, 15))), layer("batch_norm", *norm(2, -2))],
          [layer("avg_pool2d", (1, 15))]),
    layer("add", [layer("conv2d", normal(14, 14, 3, 1), padding=(1, 0), activation="relu")], [], []),
    layer("concatenate", [], [layer("multiply", [layer("activation", "sigmoid")], [layer("channels", 0, 14)])]),
    layer("add", [layer("global_max_pool")], [layer("global_avg_pool")]),
    layer("flatten"),
    layer("batch_norm", *norm(28)),
    layer("linear", normal(7, 28) / 30, normal(7), activation="tanh"),
]  # fmt: skip


@pytest.mark.parametrize("n", [1, 3])
def test_it_gives_what_its_layers_give(n: int, poisoned_scratch: None) -> None:
    network = kernels.sequence(MIXED, (n, 1, 20, 30))
    x = normal(n, 1, 20, 30)
    before, expected = x.copy(), one_by_one(MIXED, x.astype(np.float64))
    for out in (None, np.full((n, 7), np.nan, np.float32)):
        for arrays, _ in network._arenas:  # of the call before
            for array in arrays.values():
                array.fill(np.nan)
        y = network(x, out=out)
        assert out is None or y is out
        assert np.abs(y - expected).max() <= network.error_bound * np.abs(expected).max() <= 1e-4
    np.testing.assert_array_equal(x, before)


def test_neighbours_are_fused_where_that_changes_only_rounding() -> None:
    lines = kernels.sequence(MIXED, (1, 1, 20, 30)).explain().splitlines()
    for fused in (r"1\+2\+3\+4 .*conv2d batch_norm elu max_pool2d", r"5\.0\.0\+5\.0\.2 ", "5.0.1 .*in place", "11 .*linear tanh .*out$"):
        assert sum(re.match(fused, line) is not None for line in lines) == 1, fused
    for gamma, order in ((1.0, ["1", "0"]), (-1.0, ["0", "1"])):  # a negative factor turns maxima into minima: it stays in front
        layers = [layer("batch_norm", np.zeros(2), np.ones(2), np.array([1.0, gamma])), layer("max_pool2d", 2)]
        assert [line.split()[0] for line in kernels.sequence(layers, (1, 2, 4, 4)).explain().splitlines()[1:]] == order


def test_the_arena_is_shared_and_branches_of_one_image_are_not_copied() -> None:
    chain = [layer("max_pool1d", 3, 1, 1)] * 6
    network = kernels.sequence(chain, (1, 4, 64))
    assert network.arena_bytes == 2 * 4 * 64 * 4
    assert "apart: 5,120" in network.explain()
    branches = [layer("concatenate", chain, chain[:1]), layer("max_pool1d", 3, 1, 1)]
    assert "copy" not in kernels.sequence(branches, (1, 4, 64)).explain()
    assert kernels.sequence(branches, (2, 4, 64)).explain().count("copy") == 2


@hypothesis.given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 9), st.integers(0, 9)), max_size=12))
def test_pieces_that_live_together_lie_apart(drawn: list[tuple[int, int, int]]) -> None:
    pieces = [(nbytes, min(a, b), max(a, b)) for nbytes, a, b in drawn]
    found, total = offsets(pieces)
    for i, (nbytes, first, last) in enumerate(pieces):
        assert found[i] % 64 == 0 and found[i] + nbytes <= total
        for j, (other, start, end) in enumerate(pieces[:i]):
            if start <= last and first <= end and nbytes and other:
                assert found[i] + nbytes <= found[j] or found[j] + other <= found[i]


@pytest.mark.parametrize("n", [1, 5])
def test_a_linear_layer_by_a_convolutions_method(n: int, poisoned_scratch: None) -> None:
    weight, bias, x = normal(20, 33), normal(20), normal(n, 33)
    for name in ("auto", "im2col", "direct", "naive"):
        network = kernels.sequence([layer("linear", weight, bias, "tanh", name)], x.shape)
        assert name == "auto" or f" {name} " in network.explain()
        np.testing.assert_allclose(network(x), np.tanh(x.astype(float) @ weight.T + bias), atol=1e-5)


def test_eight_threads_call_one_network() -> None:
    network = kernels.sequence(MIXED, (1, 1, 20, 30), threads=2)
    xs = [normal(1, 1, 20, 30) for _ in range(8)]
    alone = [network(x) for x in xs]
    for y, results in zip(alone, at_once([lambda x=x: [network(x) for _ in range(20)] for x in xs])):
        for result in results:
            np.testing.assert_array_equal(result, y)


def test_one_precision_for_all() -> None:
    wide = [layer("conv1d", normal(2, 1, 3), activation="relu"), layer("conv1d", np.ones((2, 2, 3)) / 3), layer("flatten")]
    x = normal(1, 1, 20)
    y = kernels.sequence(wide, x.shape, implementation="naive")(x)
    assert y.dtype == np.float64
    np.testing.assert_allclose(y, one_by_one(wide, x.astype(np.float64)), rtol=1e-12)
    half = [layer("conv1d", normal(2, 1, 3).astype(np.float16), activation="relu"), layer("max_pool1d", 2)]
    network = kernels.sequence(half, x.shape, dtype="float16", implementation="naive")
    y = network(x.astype(np.float16))
    assert y.dtype == np.float16 and "float32" in network.explain()
    np.testing.assert_allclose(y, one_by_one(half, x.astype(np.float16).astype(np.float64)), rtol=1e-3, atol=1e-3)


def test_weights_are_copied_and_empty_batches_stay_empty() -> None:
    weight, matrix = normal(2, 1, 3), normal(5, 36)
    layers = [layer("conv1d", weight), layer("flatten"), layer("linear", matrix)]
    x = normal(1, 1, 20)
    network = kernels.sequence(layers, x.shape)
    before = network(x)
    weight[:], matrix[:] = np.nan, np.nan
    np.testing.assert_array_equal(network(x), before)
    assert kernels.sequence(layers, (0, 1, 20))(x[:0]).shape == (0, 5)
    nothing = kernels.sequence([layer("flatten")], x.shape)(x)
    assert nothing.shape == (1, 20) and not np.shares_memory(nothing, x)


def test_what_is_left_to_auto_is_measured_if_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[tuple[str, int, float]] = []
    monkeypatch.setattr("kernels.network.fusion.measure", lambda problem, threads, budget: measured.append((problem.op, threads, budget)))
    layers = [CONV, layer("conv2d", normal(4, 4, 1, 1), implementation="naive"), layer("max_pool2d", 3, 1)]
    kernels.sequence(layers, (1, 1, 10, 8), threads=1)
    assert measured == []
    kernels.sequence(layers, (1, 1, 10, 8), effort="measure", budget=0.25, threads=1)
    assert measured == [("conv2d", 1, 0.25), ("max_pool2d", 1, 0.25)]
    with pytest.raises(ProblemError, match="sequence: effort is 'most'"):
        kernels.sequence(layers, (1, 1, 10, 8), effort="most")


CONV = layer("conv2d", normal(4, 1, 3, 3))
WRONG: list[tuple[Any, type[Exception], str]] = [
    ([CONV, CONV], ProblemError, r"layer 1: conv2d: x has 4 channels"),
    ([CONV, layer("max_pool2d", 2, padd=1)], TypeError, "layer 1: .*padd"),
    ([CONV, layer("activation", "rleu")], ProblemError, "layer 1: .*'rleu' is not known"),
    ([CONV, layer("batch_norm", *norm(3))], ProblemError, r"layer 1: batch_norm: mean has shape \(3,\), must be \(4,\)"),
    ([CONV, layer("linear", normal(2, 192))], ProblemError, r"layer 1: linear: .*put layer\('flatten'\) before it"),
    ([CONV, layer("add", [layer("flatten")], [layer("flatten"), layer("linear", normal(2, 9))])], ProblemError, r"layer 1\.1\.1: linear"),
    ([CONV, layer("add", [], [layer("flatten")])], ProblemError, r"layer 1: add: branch 1 gives shape \(1, 192\), branch 0 \(1, 4, 8, 6\)"),
    ([CONV, layer("max_pool2d", 2, return_indices=True)], ProblemError, "layer 1: max_pool2d: return_indices gives two arrays"),
    ([layer("max_pool1d", 2)], ProblemError, "layer 0: max_pool1d: x has shape"),
    ([CONV, layer("flaten")], ProblemError, "layer 1: operation 'flaten' does not exist; use one of .*flatten"),
    ([CONV, ("max_pool2d", 2)], ProblemError, "layer 1: is a tuple, must be made by kernels.layer"),
    ([CONV, layer("conv2d", normal(8, 4, 3, 3), dilation=2, implementation="winograd")], RefusedError, "layer 1: conv2d: .*dilation"),
]  # fmt: skip


@pytest.mark.parametrize(("layers", "error", "message"), WRONG, ids=[str(i) for i in range(len(WRONG))])
def test_errors_name_the_layer(layers: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        kernels.sequence(layers, (1, 1, 10, 8))


def test_calls_are_checked() -> None:
    network = kernels.sequence([CONV], (1, 1, 10, 8))
    x = normal(1, 1, 10, 8)
    with pytest.raises(ProblemError, match=r"sequence: x has shape \(1, 1, 8, 10\), planned for \(1, 1, 10, 8\)"):
        network(x.reshape(1, 1, 8, 10))
    with pytest.raises(ProblemError, match="sequence: out has shape"):
        network(x, out=np.empty((1, 4, 8, 7), np.float32))
    strided = np.empty((1, 4, 8, 12), np.float32)[..., ::2]
    np.testing.assert_array_equal(network(np.asfortranarray(x), out=strided), network(x))
