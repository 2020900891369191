"""Streams that take fft in segments which end where blocks do: any cut gives the same bits, and nothing comes later."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kernels
from kernels import ProblemError, RefusedError, layer
from tests.streaming.test_stream import blocks, drawn, filled, slow, stacks, whole


@pytest.fixture
def transforms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever they can be had, segments of fft are taken."""
    from kernels.streaming import segmenting

    monkeypatch.setattr(segmenting, "GAIN", float("inf"))


@slow
@given(stacks(), st.integers(1, 300), st.lists(st.integers(0, 40), min_size=1, max_size=6), st.sampled_from((4, 12, 24, 36, 60)))
def test_any_cut_in_segments(transforms: None, stack: Any, length: int, cuts: list[int], block: int) -> None:
    layers, shape, axis = stack
    try:
        s = kernels.stream(layers, shape=shape, axis=axis, block=block)
        expected = whole(layers, filled(shape, length))
    except ProblemError:
        return
    x, once = filled(shape, length), s.clone()
    try:
        y = np.concatenate([*(s(each) for each in blocks(x, axis, cuts)), s.finish()], axis)
        full = np.concatenate([once(x), once.finish()], axis)
    except ProblemError as error:
        assert "branch" in str(error)
        return
    np.testing.assert_array_equal(y, full)
    np.testing.assert_allclose(y, expected, atol=2e-5 * max(1.0, float(np.abs(expected).max(initial=0))))


def test_segments_end_where_blocks_do(transforms: None) -> None:
    """Nothing comes later than with direct sums, and every layer can be called by the name that explain() says."""
    layers = [
        layer("conv1d", drawn(0, 8, 1, 64), drawn(1, 8), stride=4, padding=((30, 30),), activation="relu"),
        layer("max_pool1d", 2), layer("conv1d", drawn(2, 8, 8, 9), padding=4),
    ]  # fmt: skip
    x = drawn(4, 1, 1, 10000)
    s, direct = kernels.stream(layers, shape=(1, 1, None), block=256), kernels.stream(layers, shape=(1, 1, None))
    assert s.explain().count("segments of") == 2
    for block in blocks(x, -1, [256])[:-1]:
        assert s(block).shape == direct(block).shape
    s.reset()
    named = [
        kernels.network.layers.Layer(each.op, each.args, {**each.options, "implementation": part.taken}) if part.sliding.segments else each
        for each, part in zip(layers, s._made.wired.parts)
    ]
    expected = kernels.sequence(named, x.shape, threads=1)(x)
    y = np.concatenate([*(s(block) for block in blocks(x, -1, [256, 100, 1])), s.finish()], -1)
    np.testing.assert_array_equal(y, expected)
    came, s = [], s.clone()
    s.reset()
    for i in range(3000):
        came += [i] * s(x[..., i : i + 1]).shape[-1]
    assert max(i - int(o / s.ratio) for o, i in enumerate(came)) == s.latency > direct.latency


def test_a_clone_and_a_state_in_the_middle_of_a_segment(transforms: None) -> None:
    layers, x = [layer("conv1d", drawn(0, 4, 2, 9), padding=4), layer("conv1d", drawn(1, 3, 4, 5), stride=2)], drawn(2, 1, 2, 500)
    s, twin = (kernels.stream(layers, shape=(1, 2, None), block=32) for _ in range(2))
    first = s(x[..., :117])
    twin.restore(pickle.loads(pickle.dumps(s.state())))
    once = kernels.stream(layers, shape=(1, 2, None), block=32)
    expected = np.concatenate([once(x), once.finish()], -1)
    for each in (twin, s.clone(), pickle.loads(pickle.dumps(s))):
        y = np.concatenate([first, each(x[..., 117:130]), each(x[..., 130:]), each.finish()], -1)
        np.testing.assert_array_equal(y, expected)
    with pytest.raises(ProblemError, match="not one of a stream of these layers"):
        kernels.stream(layers, shape=(1, 2, None)).restore(s.state())


def test_fft_by_name_asks_for_blocks_that_end_with_an_output() -> None:
    layers = [layer("conv1d", drawn(0, 4, 2, 9), stride=3, implementation="fft")]
    with pytest.raises(RefusedError, match="pass block=, the usual length"):
        kernels.stream(layers, shape=(1, 2, None))
    with pytest.raises(RefusedError, match="blocks of a multiple of 3 inputs"):
        kernels.stream(layers, shape=(1, 2, None), block=64)
    assert "fft:w" in kernels.stream(layers, shape=(1, 2, None), block=48).explain()
