"""Sections of a network's outputs against the whole."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import kernels
from kernels import ProblemError, layer
from kernels.streaming import sections
from kernels.streaming.lines import lines_of
from kernels.streaming.sections import Network, Sections
from tests.streaming.test_stream import drawn, filled, stacks, whole

slow = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def sections_of(layers: list[kernels.Layer], shape: Any, axis: int, length: int, implementation: str = "direct") -> Sections:
    axis = axis if axis < 0 else axis - len(shape)
    network = Network(lines_of(layers, axis), shape, axis, implementation, "float32", 0, 1)
    return Sections.of(network, length)


@slow
@given(stacks(), st.integers(1, 120), st.lists(st.floats(0, 1), max_size=3))
def test_sections_joined_are_the_whole(stack: Any, length: int, cuts: list[float]) -> None:
    layers, shape, axis = stack
    x = filled(shape, length)
    try:
        found = sections_of(layers, shape, axis, length)
        expected = whole(layers, x)
    except ProblemError:
        return
    n = expected.shape[axis]
    edges = sorted({0, n, *(round(cut * n) for cut in cuts)})
    pieces = []
    for first, end in itertools.pairwise(edges):
        low, high = found.needs(first, end, length)
        least, most = found.net.needs(first, end)
        assert low <= max(least, 0) or least >= most
        pieces.append(found(np.take(x, range(low, high), axis), first, end, length))
    np.testing.assert_array_equal(np.concatenate(pieces, axis), expected)


def test_same_padding_of_strides_depends_on_the_length() -> None:
    layers = [layer("conv1d", drawn(0, 2, 1, 4), stride=3, padding="same"), layer("max_pool1d", 2, padding="same")]
    for length in range(40, 47):
        x = drawn(1, 1, 1, length)
        found = sections_of(layers, (1, 1, None), -1, length)
        expected = whole(layers, x)
        low, high = found.needs(3, expected.shape[-1], length)
        np.testing.assert_array_equal(found(x[..., low:high], 3, expected.shape[-1], length), expected[..., 3:])


def test_auto_takes_any_method_within_the_bound() -> None:
    layers = [layer("conv1d", drawn(0, 32, 32, 3), padding=1, activation="relu", pool=("max", 2)), layer("conv1d", drawn(1, 16, 32, 64))]
    x = drawn(2, 1, 32, 3000)
    found = sections_of(layers, (1, 32, None), -1, 3000, "auto")
    expected = whole(layers, x)
    low, high = found.needs(500, 1000, 3000)
    y = found(x[..., low:high], 500, 1000, 3000)
    assert abs(y - expected[..., 500:1000]).max() <= 1e-4 * abs(expected).max()


@slow
@given(stacks(), st.integers(20, 300), st.integers(0, 40))
def test_tiles_joined_are_the_whole(stack: Any, length: int, first: int) -> None:
    layers, shape, axis = stack
    x = filled(shape, length)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sections, "TILE_BYTES", 1)
        patch.setattr(sections, "HALO_SHARE", 0)
        try:
            found = sections_of(layers, shape, axis, length)
            expected = whole(layers, x)
        except ProblemError:
            return
    end = expected.shape[axis]
    first = min(first, end - 1)
    low, high = found.needs(first, end, length)
    y = found(np.take(x, range(low, high), axis), first, end, length)
    np.testing.assert_array_equal(y, np.take(expected, range(first, end), axis))


def test_what_lies_between_layers_does_not_grow_with_the_section(monkeypatch: Any) -> None:
    monkeypatch.setattr(sections, "TILE_BYTES", 1 << 16)
    layers = [layer("conv1d", drawn(i, 8, c_in, 9), padding=4, activation="relu") for i, c_in in enumerate((1, 8, 8))]
    held = []
    for length in (20_000, 400_000):
        x = drawn(3, 1, 1, length)
        found = sections_of([*layers, layer("add", [layers[1]], [])], (1, 1, None), -1, length)
        np.testing.assert_array_equal(found(x, 0, length, length), whole([*layers, layer("add", [layers[1]], [])], x))
        held.append(found._kept[0].nbytes)
    assert held[0] == held[1] < 4 << 16
