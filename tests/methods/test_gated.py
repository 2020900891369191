"""Pointwise layers that take the gate of their input channels into their weights: against float64, between guard zones; which they are."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import reference
from memory import Guarded, given

from kernels.methods import load
from kernels.methods.direct.gated import gates, prepare_gated
from kernels.problem.conv import Conv
from kernels.problem.operands import Operands
from kernels.runtime.machine import machine, pretend
from kernels.runtime.scratch import aligned

load()
NONE = ((0, 0), (0, 0))
LAYER = Conv("conv2d", 1, 37, (9, 21), (1, 1), (1, 1), NONE, (1, 1), "float32", 23, 1, True, activation=("relu", 0.0))
CASES = {
    "tiles of two heights": LAYER,
    "whole tiles, no bias": dataclasses.replace(LAYER, c_out=28, bias=False, activation=None),
    "more channels than lanes": dataclasses.replace(LAYER, c_in=70, c_out=62, size=(13, 29)),
    "an activation that tiles do not know": dataclasses.replace(LAYER, activation=("silu", 0.0)),
    "float64, one line": dataclasses.replace(LAYER, size=(1, 300), dtype="float64"),
}


def check(layer: Conv, threads: int, added: bool) -> None:
    assert gates(layer, threads)
    draw, dtype = np.random.default_rng(5), layer.dtype
    x, weight = (draw.standard_normal(shape).astype(dtype) for shape in (layer.x_shape, layer.weight_shape))
    bias = draw.standard_normal(layer.c_out).astype(dtype) if layer.bias else None
    gate, before = draw.random(layer.c_in).astype(dtype), draw.standard_normal(layer.conv_shape).astype(dtype)
    wanted = reference.conv(x * gate.reshape(-1, 1, 1).astype(np.float64), weight, bias, (1, 1), NONE, (1, 1), 1) + added * before
    if layer.activation:
        wanted = wanted / (1 + np.exp(-wanted)) if layer.activation[0] == "silu" else np.maximum(wanted, 0)
    prepared = prepare_gated(layer, threads, added=added)
    own = aligned(prepared.numbers * layer.itemsize).view(dtype)[: prepared.numbers]
    own.fill(np.nan)
    run = prepared.bind(Operands(weight, bias), own)
    for turn in (2, 1):  # what a call left in `own` does not reach the next
        held, factors, out = given(x), given(gate * turn), Guarded(layer.conv_shape, dtype)
        out.array[...] = before
        run(held.array, factors.array, out.array)
    np.testing.assert_allclose(out.array, wanted, rtol=0, atol=60 * np.finfo(dtype).eps * np.abs(wanted).max())
    assert out.zones_untouched() and held.unchanged() and factors.unchanged()


@pytest.mark.parametrize("added", [False, True])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", CASES)
def test_right(name: str, threads: int, added: bool, poisoned_scratch: None) -> None:
    check(CASES[name], threads, added)


@pytest.mark.parametrize("vector_bytes", [16, 32])
def test_shorter_vectors(vector_bytes: int, poisoned_scratch: None) -> None:
    if vector_bytes >= machine().vector_bytes:
        pytest.skip("this machine's vectors are no longer")
    with pretend(vector_bytes=vector_bytes, registers=16):
        check(LAYER, 2, True)


@pytest.mark.parametrize(
    "changed",
    [{"n": 2}, {"kernel": (1, 3)}, {"stride": (2, 1)}, {"size": (5, 9)}, {"c_in": 46, "groups": 23}, {"padding": ((1, 0), (0, 0))}],
)  # fmt: skip
def test_what_does_not_fit(changed: dict[str, object]) -> None:
    assert not gates(dataclasses.replace(LAYER, **changed), 2)
