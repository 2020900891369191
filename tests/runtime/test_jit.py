"""Compiled functions are reached from compiled code, from C by their address, and from Python: each way has code of its own."""

from __future__ import annotations

import ctypes

import numpy as np
from numba import types

from kernels.runtime.jit import address, code, entry, njit


@njit
def twice(number):
    """Called in every way."""
    return 2 * number


@njit
def and_one(number):
    """Called by Python, calls by Numba's convention."""
    return twice(number) + twice(0) + 1


@njit
def total(array):
    """Arrays and parts of them are read without counting who refers to them."""
    result = 0.0
    for i in range(len(array)):
        result += array[i:][0]
    return result


def test_every_way_to_a_function() -> None:
    """In the order in which one that takes another's code would find that without a way in."""
    assert code(twice, (types.int64,)) != 0
    assert and_one(20) == 41
    assert twice(21) == 42
    assert entry(twice, 0)(4) == 8
    of_c = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(address(twice, (), (types.int64,)))
    assert of_c(-3) == -6


def test_arrays_outlive_calls() -> None:
    """Compiled code neither takes nor gives back a reference."""
    array = np.arange(5.0)
    assert [total(array[i:]) for i in range(5)] == [10.0, 10.0, 9.0, 7.0, 4.0]
    assert total(array) == 10.0
