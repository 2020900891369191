"""Segments fixed by name: any part of a signal that begins with one gives the bits of the whole."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

import kernels
from kernels.methods.fft import segments
from kernels.methods.fft.segments import Segments

Array = np.ndarray
CASES = [  # c_in, c_out, kernel, stride, dilation, groups, length of transforms, outputs of a segment
    (1, 24, 32, 4, 1, 1, 24, 16), (3, 5, 7, 1, 1, 1, 16, 8), (4, 40, 9, 2, 1, 1, 16, 10), (4, 8, 5, 3, 2, 2, 24, 20),
    (2, 3, 11, 4, 1, 1, 16, 8), (16, 16, 64, 1, 1, 1, 128, 64), (8, 8, 6, 1, 3, 8, 32, 16),
]  # fmt: skip


def drawn(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("lanes", [False, True])
@pytest.mark.parametrize("lead", [0, 1, 5])
def test_parts_that_begin_with_a_segment_have_the_whole_signals_bits(case: tuple[int, ...], lanes: bool, lead: int) -> None:
    c_in, c_out, k, s, d, groups, length, outputs = case
    if lanes and groups > 1:
        pytest.skip("lanes along output channels take one group")
    reach = (k - 1) * d + 1
    x, weight, bias = drawn(0, 2, c_in, 900), drawn(1, c_out, c_in // groups, k), drawn(2, c_out)
    before = reach // 2
    fixed = Segments(1, lanes, length, outputs, lead)

    def run(x: Array, padding: tuple[int, int], name: Segments) -> Array:
        return kernels.conv1d(
            x, weight, bias, s, (padding,), d, groups, activation="relu", implementation=f"fft:{name}", threads=1
        )  # fmt: skip

    whole = run(x, (before, 3), fixed)
    expected = kernels.conv1d(x, weight, bias, s, ((before, 3),), d, groups, activation="relu", implementation="direct")
    np.testing.assert_allclose(whole, expected, atol=1e-5 * np.abs(expected).max())
    for count in (1, 2, 5):  # segments of the beginning, of later parts, and the rest
        end = count * outputs - lead
        first = run(np.ascontiguousarray(x[..., : (end - 1) * s - before + reach]), (before, 0), fixed)
        np.testing.assert_array_equal(first, whole[..., :end])
        low, high = end * s - before, (end + 2 * outputs - 1) * s - before + reach
        np.testing.assert_array_equal(
            run(np.ascontiguousarray(x[..., low:high]), (0, 0), fixed.aligned), whole[..., end : end + 2 * outputs]
        )
        np.testing.assert_array_equal(run(np.ascontiguousarray(x[..., low:]), (0, 3), fixed.aligned), whole[..., end:])


@pytest.mark.parametrize("axis", [0, 1])
def test_of_images_along_either_axis(axis: int) -> None:
    x, weight = drawn(0, 1, 3, 60, 60), drawn(1, 4, 3, 7, 3) if axis == 0 else drawn(1, 4, 3, 3, 7)
    name = Segments(axis, False, 32, 20, 6)
    whole = kernels.conv2d(x, weight, padding=1, implementation=f"fft:{name}")
    expected = kernels.conv2d(x, weight, padding=1, implementation="direct")
    np.testing.assert_allclose(whole, expected, atol=1e-5 * np.abs(expected).max())
    moved, place = np.moveaxis(x, 2 + axis, 0)[13:39], 2 + axis
    part = np.ascontiguousarray(np.moveaxis(moved, 0, place))
    padding = ((0, 0), (1, 1)) if axis == 0 else ((1, 1), (0, 0))
    found = kernels.conv2d(part, weight, padding=padding, implementation=f"fft:{name.aligned}")
    np.testing.assert_array_equal(found, np.take(whole, range(14, 34), place))


def test_what_no_output_of_a_segment_sees_does_not_reach_it() -> None:
    x, weight = drawn(0, 1, 1, 200), drawn(1, 2, 1, 5)
    name = "fft:w columns 32, segments of 16"
    clean = kernels.conv1d(x, weight, implementation=name)
    x[..., 20] = np.nan  # the outputs 0 to 15 see 0 to 19
    np.testing.assert_array_equal(kernels.conv1d(x, weight, implementation=name)[..., :16], clean[..., :16])


def test_refusals() -> None:
    x, weight = drawn(0, 1, 1, 200), drawn(1, 2, 1, 5)
    with pytest.raises(kernels.RefusedError, match="too short"):
        kernels.conv1d(x, weight, implementation="fft:w columns 16, segments of 16")
    with pytest.raises(kernels.ProblemError, match="has no variant"):
        kernels.conv1d(x, weight, implementation="fft:w columns 16, segments of 8 from -8")
    assert doctest.testmod(segments).failed == 0
