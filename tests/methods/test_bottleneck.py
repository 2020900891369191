"""Pointwise, depthwise and pointwise layers as one: every blocking, against float64, between guard zones."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import reference
from memory import Guarded, given

from kernels.cost.classes import ROWS, Anew, class_of
from kernels.methods import load
from kernels.methods.depthwise import bottleneck_blocking as blocking
from kernels.methods.depthwise.bottleneck_blocking import Bottleneck, best_bottleneck
from kernels.methods.depthwise.driver_bottleneck import prepare_bottleneck
from kernels.problem.conv import Conv
from kernels.problem.operands import Operands
from kernels.runtime.machine import machine, pretend

load()
NONE = ((0, 0), (0, 0))
SAME = ((1, 1), (1, 1))
EXPAND = Conv("conv2d", 2, 5, (9, 21), (1, 1), (1, 1), NONE, (1, 1), "float32", 37, 1, True, activation=("relu6", 0.0))
DEPTHWISE = Conv("conv2d", 2, 37, (9, 21), (3, 3), (1, 1), SAME, (1, 1), "float32", 37, 37, True, activation=("relu", 0.0))
PROJECT = dataclasses.replace(EXPAND, c_in=37, c_out=9, activation=None)
CASES = {
    "linear": (EXPAND, DEPTHWISE),
    "strided, padded at one end": (EXPAND, dataclasses.replace(DEPTHWISE, stride=(2, 2), padding=((0, 1), (0, 1)))),
    "activations that tiles do not know": (
        dataclasses.replace(EXPAND, activation=("silu", 0.0)),
        dataclasses.replace(DEPTHWISE, kernel=(5, 5), padding=((2, 2), (2, 2)), activation=("hardswish", 0.0)),
    ),
    "one image, whole vectors, no bias": (
        dataclasses.replace(EXPAND, n=1, size=(8, 32), bias=False),
        dataclasses.replace(DEPTHWISE, n=1, size=(8, 32), bias=False, activation=None),
    ),
    "float64, tall": (
        dataclasses.replace(EXPAND, size=(40, 3), dtype="float64"),
        dataclasses.replace(DEPTHWISE, size=(40, 3), kernel=(7, 1), padding=((0, 0), (0, 0)), dtype="float64"),
    ),
}


BARE = {
    "two layers": (DEPTHWISE, dataclasses.replace(PROJECT, c_out=19)),
    "an activation behind": (
        dataclasses.replace(DEPTHWISE, stride=(2, 1), padding=((0, 1), (1, 1)), activation=("silu", 0.0)),
        dataclasses.replace(PROJECT, size=(4, 21), activation=("relu", 0.0)),
    ),
    "narrow": (
        dataclasses.replace(DEPTHWISE, c_in=3, c_out=3, groups=3, size=(12, 5), dtype="float64"),
        dataclasses.replace(PROJECT, c_in=3, size=(12, 5), dtype="float64", bias=False),
    ),
}


def layers_of(name: str, *, project: bool) -> Bottleneck:
    expand, depthwise = CASES[name]
    shape = {"n": expand.n, "size": depthwise.conv_size, "dtype": expand.dtype, "bias": expand.bias}
    return Bottleneck(expand, depthwise, dataclasses.replace(PROJECT, **shape) if project else None)


def activated(y: np.ndarray, problem: Conv) -> np.ndarray:
    name = problem.activation[0] if problem.activation else ""
    functions = {
        "relu": lambda y: np.maximum(y, 0), "relu6": lambda y: np.clip(y, 0, 6), "silu": lambda y: y / (1 + np.exp(-y)),
        "hardswish": lambda y: y * np.clip(y + 3, 0, 6) / 6,
    }  # fmt: skip
    return functions[name](y) if name else y


def blockings(layers: Bottleneck, threads: int) -> list[blocking.Blocking]:
    found = list(blocking._blockings(layers, threads))
    assert len(found) > 2
    return found + [dataclasses.replace(found[-1], together=1)]


def check(layers: Bottleneck, threads: int) -> None:
    draw = np.random.default_rng(3)
    present = [layer for layer in layers if layer is not None]
    x = draw.standard_normal(present[0].x_shape).astype(present[0].dtype)
    operands, wanted, sums = [], x, x
    for layer in present:
        weight = draw.standard_normal(layer.weight_shape).astype(layer.dtype)
        bias = draw.standard_normal(layer.c_out).astype(layer.dtype) if layer.bias else None
        operands.append(Operands(weight, bias))
        sums = reference.conv(wanted, weight, bias, layer.stride, layer.padding, layer.dilation, layer.groups)
        wanted = activated(sums, layer)
    residual = given(draw.standard_normal(wanted.shape).astype(x.dtype))
    both = activated(sums + residual.array, present[-1])
    atol = 60 * np.finfo(x.dtype).eps * np.abs(wanted).max()
    for block in blockings(layers, threads):
        prepared = prepare_bottleneck(layers, block, tuple(operands))
        for added in (None, residual.array) if layers.project else (None,):
            held, out, means = given(x), Guarded(wanted.shape, x.dtype.name), Guarded(wanted.shape[:2], x.dtype.name)
            prepared.run(held.array, out.array, means.array if prepared.averages else added)
            if prepared.averages:
                np.testing.assert_allclose(means.array, wanted.mean((2, 3)), rtol=0, atol=atol)
            assert means.zones_untouched() and prepared.averages == (layers.project is None and len(getattr(block, "lines", "1")) == 1)
            np.testing.assert_allclose(out.array, wanted if added is None else both, rtol=0, atol=atol)
            assert out.zones_untouched() and held.unchanged()
    assert residual.unchanged()


@pytest.mark.parametrize("threads", [1, 2, 16])
@pytest.mark.parametrize("project", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_right(name: str, project: bool, threads: int, poisoned_scratch: None) -> None:
    check(layers_of(name, project=project), threads)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", BARE)
def test_without_the_first(name: str, threads: int, poisoned_scratch: None) -> None:
    check(Bottleneck(None, *BARE[name]), threads)


@pytest.mark.parametrize("vector_bytes", [16, 32])
def test_shorter_vectors(vector_bytes: int, poisoned_scratch: None) -> None:
    if vector_bytes >= machine().vector_bytes:
        pytest.skip("this machine's vectors are no longer")
    with pretend(vector_bytes=vector_bytes, registers=16):
        check(layers_of("strided, padded at one end", project=True), 2)


def test_wide_planes_are_one_step() -> None:
    size = {"n": 1, "size": (32, 250)}
    layers = Bottleneck(*(dataclasses.replace(layer, **size) for layer in (EXPAND, DEPTHWISE, PROJECT)))
    assert isinstance(best_bottleneck(layers, 2), blocking.Blocking)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("width", "heights"), [(250, (33, 45, 40)), (64, (17, 22, 20)), (30, (200, 250))])
def test_another_length_of_the_class_is_cut_nearly_as_well(threads: int, width: int, heights: tuple[int, ...]) -> None:
    """By a blocking of its own, of as many parts of the channels, as if all had been looked at."""
    sizes = [{"n": 1, "size": (height, width)} for height in heights]
    first, *others = (Bottleneck(*(dataclasses.replace(layer, **size) for layer in (EXPAND, DEPTHWISE, PROJECT))) for size in sizes)
    block = best_bottleneck.__wrapped__(first, threads)
    for layers in others:
        assert class_of(layers, ROWS) == class_of(first, ROWS)
        resized, anew = blocking._resized(first, block, layers, threads), best_bottleneck.__wrapped__(layers, threads)
        assert isinstance(resized, blocking.Blocking) and resized.parts == block.parts
        assert resized == blocking._blocking(layers, resized.threads, resized.parts, resized.rows)
        assert resized.cycles <= 1.1 * anew.cycles


def test_another_length_that_pays_fewer_threads_is_cut_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    first, other = (
        Bottleneck(*(dataclasses.replace(layer, n=1, size=(height, 250)) for layer in (EXPAND, DEPTHWISE, PROJECT))) for height in (33, 34)
    )
    block = best_bottleneck.__wrapped__(first, 2)
    assert block.threads == 2
    monkeypatch.setattr(blocking, "threads_for", lambda cycles, threads: 1)
    with pytest.raises(Anew):
        blocking._resized(first, block, other, 2)


@pytest.mark.parametrize(
    "changed",
    [{"expand": {"kernel": (3, 3), "padding": SAME}}, {"expand": {"pool": ("max", (2, 2), (2, 2))}}, {"depthwise": {"c_out": 74}},
     {"depthwise": {"dilation": (2, 2)}}, {"project": {"activation": ("relu", 0.0)}}, {"project": {"stride": (2, 2)}}],
)  # fmt: skip
def test_what_does_not_fit(changed: dict[str, dict[str, object]]) -> None:
    layers = layers_of("linear", project=True)
    assert blocking.fits(layers)
    changes = {name: dataclasses.replace(getattr(layers, name), **fields) for name, fields in changed.items()}
    assert not blocking.fits(layers._replace(**changes))


@pytest.mark.parametrize("name", BARE)
def test_what_may_follow_without_the_first(name: str) -> None:
    depthwise, project = BARE[name]
    assert blocking.fits(Bottleneck(None, depthwise, project))
    assert not blocking.fits(Bottleneck(None, depthwise, None))
    assert not blocking.fits(Bottleneck(None, depthwise, dataclasses.replace(project, activation=("silu", 0.0))))
    parts = {block.parts for block in blocking._blockings(Bottleneck(None, depthwise, project), 2)}
    assert parts == ({1, 2} if project.activation is None else {1})
