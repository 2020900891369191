"""Bottlenecks over small maps, channels in lanes: every blocking, against float64, between guard zones; which maps they are."""

from __future__ import annotations

import dataclasses
import threading

import numpy as np
import pytest
from memory import given
from methods import test_bottleneck
from methods.test_bottleneck import CASES, DEPTHWISE, EXPAND, PROJECT, layers_of

from kernels.methods import load
from kernels.methods.depthwise import stacked_blocking
from kernels.methods.depthwise.bottleneck_blocking import DEPTHWISE as SHARE
from kernels.methods.depthwise.bottleneck_blocking import Bottleneck, best_bottleneck, fits
from kernels.methods.depthwise.driver_stacked import prepare_stacked
from kernels.methods.depthwise.stacked_blocking import Stacked, stacked_blockings
from kernels.problem.operands import Operands
from kernels.runtime.machine import machine, pretend

load()
SMALL: dict[str, tuple[str, dict[str, tuple[int, int]]]] = {
    "4x6": ("linear", {"size": (4, 6)}),
    "2x3 by two, padded at one end": ("strided, padded at one end", {"size": (2, 3)}),
    "5x7, many channels": ("activations that tiles do not know", {"size": (5, 7)}),
    "one image, 7x7": ("one image, whole vectors, no bias", {"size": (7, 7)}),
    "float64, one row of kernels": ("float64, tall", {"size": (7, 3)}),
    "dilated": ("linear", {"size": (6, 5), "dilation": (2, 2)}),
    "one position": ("linear", {"size": (1, 1)}),
}


def small_layers(name: str, *, project: bool, wide: int = 37) -> Bottleneck:
    case, sizes = SMALL[name]
    expand, depthwise = CASES[case]
    expand = dataclasses.replace(expand, c_out=wide, size=sizes["size"])
    depthwise = dataclasses.replace(depthwise, c_in=wide, c_out=wide, groups=wide, **sizes)
    last = layers_of(case, project=True).project
    assert last is not None
    last = dataclasses.replace(last, c_in=wide, size=depthwise.conv_size) if project else None
    return Bottleneck(expand, depthwise, last)


@pytest.fixture(autouse=True)
def any_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of these maps are small, on machines of shorter vectors too."""
    monkeypatch.setattr(stacked_blocking, "FEW", 16)


@pytest.fixture
def stacked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The checks of bottlenecks on this driver."""

    def blockings(layers: Bottleneck, threads: int) -> list[Stacked]:
        found = list(stacked_blockings(layers, threads, SHARE))
        assert found
        odd = dataclasses.replace(found[-1], expand=(1, 2), project=(1, 1))
        return [*found, odd]

    monkeypatch.setattr(test_bottleneck, "blockings", blockings)
    monkeypatch.setattr(test_bottleneck, "prepare_bottleneck", prepare_stacked)


@pytest.mark.parametrize("threads", [1, 2, 16])
@pytest.mark.parametrize("project", [False, True])
@pytest.mark.parametrize("name", SMALL)
def test_right(name: str, project: bool, threads: int, stacked: None, poisoned_scratch: None) -> None:
    test_bottleneck.check(small_layers(name, project=project, wide=83 if "many" in name else 37), threads)


@pytest.mark.parametrize("vector_bytes", [16, 32])
def test_shorter_vectors(vector_bytes: int, stacked: None, poisoned_scratch: None) -> None:
    if vector_bytes >= machine().vector_bytes:
        pytest.skip("this machine's vectors are no longer")
    with pretend(vector_bytes=vector_bytes, registers=16):
        test_bottleneck.check(small_layers("2x3 by two, padded at one end", project=True), 2)


def test_several_calls_at_once() -> None:
    """Each counts its own finished parts."""
    layers = small_layers("4x6", project=True)
    draw = np.random.default_rng(5)
    operands = tuple(
        Operands(draw.standard_normal(layer.weight_shape, np.float32), draw.standard_normal(layer.c_out, np.float32))
        for layer in layers
        if layer is not None
    )
    block = next(block for block in stacked_blockings(layers, 2, SHARE) if block.parts == 2)
    run = prepare_stacked(layers, block, operands).run
    assert layers.project is not None
    inputs = [given(draw.standard_normal(layers.expand.x_shape, np.float32)).array for _ in range(3)]
    wanted = []
    for x in inputs:
        wanted.append(np.empty(layers.project.conv_shape, np.float32))
        run(x, wanted[-1], None)
    failed = []

    def calls(i: int) -> None:
        for _ in range(50):
            y = np.full(layers.project.conv_shape, np.nan, np.float32)  # type: ignore[union-attr]
            run(inputs[i], y, None)
            if not np.array_equal(y, wanted[i]):
                failed.append(i)

    threads = [threading.Thread(target=calls, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


def test_small_maps_are_stacked_and_wide_ones_are_not() -> None:
    def block(size: tuple[int, int]) -> object:
        sizes = {"n": 1, "size": size}
        expand = dataclasses.replace(EXPAND, c_in=96, c_out=576, **sizes)
        depthwise = dataclasses.replace(DEPTHWISE, c_in=576, c_out=576, groups=576, **sizes)
        return best_bottleneck(Bottleneck(expand, depthwise, dataclasses.replace(PROJECT, c_in=576, c_out=96, **sizes)), 2)

    assert isinstance(block((4, 6)), Stacked)
    assert not isinstance(block((32, 250)), Stacked)


def test_dilation_fits_small_maps_only() -> None:
    layers = small_layers("4x6", project=True)
    dilated = {"dilation": (2, 2), "padding": ((2, 2), (2, 2))}
    assert fits(layers._replace(depthwise=dataclasses.replace(layers.depthwise, **dilated)))
    large = small_layers("4x6", project=False)
    large = Bottleneck(*(layer and dataclasses.replace(layer, size=(40, 60)) for layer in large))
    assert fits(large) and not fits(large._replace(depthwise=dataclasses.replace(large.depthwise, **dilated)))
