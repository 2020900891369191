"""What tests of micro-kernels share: a call by address, whole numbers whose sums are exact, every lane width."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

Array = np.ndarray
WORDS = [(2, "float64"), (4, "float32"), (8, "float32"), (16, "float32"), (8, "float64")]
words = pytest.mark.parametrize(("lanes", "dtype"), WORDS)


def invoke(address: int, *args: int) -> None:
    """Call the C function at `address` with int64s."""
    ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * len(args))(address)(*map(int, args))


def at(array: Array) -> int:
    """Address of an array's first element."""
    return array.ctypes.data


def numbers(*shape: int, dtype: str, seed: int = 0) -> Array:
    """Small whole numbers, so that sums of products are exact and have one right answer."""
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(dtype)
