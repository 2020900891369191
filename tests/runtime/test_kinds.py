"""Types of a region's arguments are those that Numba tells."""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
import pytest

from kernels.runtime.regions import kind_of


class Pair(NamedTuple):
    """What a plain tuple holds, under names."""

    a: Any
    b: Any


class Other(NamedTuple):
    """Another class of the same fields."""

    a: Any
    b: Any


@pytest.mark.parametrize("make", [lambda a, b: (a, b), Pair, Other])
def test_tuples_have_the_type_that_numba_tells(make: Any) -> None:
    for value in (make(1, 2), make(np.zeros(3), np.float32(1)), make(np.zeros((2, 2), np.int64), (1, 2.5)), make(Pair(1, 2), 1)):
        assert kind_of(value) == numba.typeof(value) and kind_of(value) is kind_of(value)


@pytest.mark.parametrize(
    "value", [0, -7, (1 << 31) - 1, 1 << 31, -(1 << 31) - 1, 1 << 40, (1 << 63) - 1, 1 - (1 << 63), True, 1.5, np.float32(2)]
)
def test_numbers_have_the_type_that_numba_tells(value: Any) -> None:
    assert kind_of(value) == numba.typeof(value)


@pytest.mark.parametrize("writeable", [True, False])
@pytest.mark.parametrize("shape", [(1,), (3,), (2, 3)])
def test_records_have_the_type_that_numba_tells(shape: tuple[int, ...], writeable: bool) -> None:
    array = np.zeros(shape, [("h", np.int64), ("w", np.int64)])
    array.flags.writeable = writeable
    for _ in range(2):
        assert kind_of(array) == numba.typeof(array)
        assert kind_of(array.T) == numba.typeof(array.T)
