"""The two routes to the reference answers agree with each other, and with what can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from cases import CONV, POOL, ConvCase, PoolCase


@pytest.mark.parametrize("case", [case for case in CONV if case.flops < 3e7], ids=lambda case: case.name)
def test_convolution_by_two_routes(case: ConvCase) -> None:
    x, weight, bias = case.arrays("float64")
    arguments = x, weight, bias, case.stride, case.padding, case.dilation, case.groups
    one, other = reference.conv(*arguments), reference.conv_by_scipy(*arguments)
    assert one.shape == other.shape
    assert reference.share(one, other) <= 2 * reference.rounding(case.summands)


def test_convolution_by_hand() -> None:
    x, weight = np.array([[[1.0, 2.0, 3.0, 4.0]]]), np.array([[[1.0, 10.0]]])
    y = reference.conv(x, weight, np.array([0.5]), (1,), ((1, 0),), (1,), 1)
    np.testing.assert_array_equal(y, [[[10.5, 21.5, 32.5, 43.5]]])
    y = reference.conv(x, weight, None, (2,), ((0, 1),), (2,), 1)
    np.testing.assert_array_equal(y, [[[31.0, 3.0]]])


@pytest.mark.parametrize("case", [case for case in POOL if not np.any(case.padding) and not case.ceil_mode and case.dilation[0] == 1],
                         ids=lambda case: case.name)  # fmt: skip
def test_maxima_by_two_routes(case: PoolCase) -> None:
    if case.n == 0:
        assert reference.max_pool(case.x("float64"), *case.window)[0].size == 0
        return
    x = case.x("float64")
    np.testing.assert_array_equal(reference.max_pool(x, *case.window)[0], reference.max_pool_by_scipy(x, case.kernel, case.stride))


def test_pooling_by_hand() -> None:
    x = np.array([[[3.0, 3.0, 1.0, 2.0, 5.0]]])
    maxima, where = reference.max_pool(x, (2,), (2,), ((0, 0),), (1,), True)
    np.testing.assert_array_equal(maxima, [[[3.0, 2.0, 5.0]]])
    np.testing.assert_array_equal(where, [[[0, 3, 4]]])
    averages = reference.avg_pool(x, (2,), (2,), ((1, 0),), (1,), True, True, None)
    np.testing.assert_array_equal(averages, [[[1.5, 2.0, 3.5]]])
    averages = reference.avg_pool(x, (2,), (2,), ((1, 0),), (1,), True, False, None)
    np.testing.assert_array_equal(averages, [[[3.0, 2.0, 3.5]]])
    overhang = reference.avg_pool(x, (2,), (2,), ((0, 0),), (1,), True, True, None)
    np.testing.assert_array_equal(overhang, [[[3.0, 1.5, 5.0]]])
