"""The gradient through a rectifier, and its sums, against the definition in wider numbers; the same bits whatever the threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kernels.primitives.rectifier import gradient
from kernels.runtime.machine import machine, pretend

SHAPES = [(1, 3, 2), (2, 1, 7), (5, 4, 33), (2, 3, 9001)]


def computed(shape: tuple[int, int, int], dtype: Any, threads: int) -> list[np.ndarray]:
    """grad, y, and what ours gives of them: grad let through, its sums."""
    draw = np.random.default_rng(0)
    grad, y = draw.standard_normal((2, *shape)).astype(dtype)
    y = np.maximum(y, 0)
    y[0, 0, 1], y[-1, -1, 0], grad[-1, -1, 0] = np.nan, 0, np.inf
    before = grad.copy(), y.copy()
    out, sums = np.full(shape, np.nan, dtype), np.full(shape[1], np.nan, dtype)
    gradient(grad, y, threads, out, sums)
    assert np.array_equal(grad, before[0]) and np.array_equal(y, before[1], equal_nan=True)
    return [grad, y, out, sums]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("vector_bytes", [16, 32, 64])
@pytest.mark.parametrize("shape", SHAPES)
def test_against_the_definition(shape: tuple[int, int, int], vector_bytes: int, dtype: Any) -> None:
    if vector_bytes > machine().vector_bytes:
        pytest.skip("this machine has no vectors so wide")
    with pretend(vector_bytes=vector_bytes):
        grad, y, out, sums = computed(shape, dtype, 2)
        assert np.array_equal(out, np.where((y > 0) | np.isnan(y), grad, 0))
        wide = out.astype(np.longdouble)
        assert np.all(np.abs(sums - wide.sum((0, 2))) <= 30 * np.finfo(dtype).eps * np.abs(wide).sum((0, 2)))
        assert all(np.array_equal(one, other) for one, other in zip(computed(shape, dtype, 1)[2:], (out, sums)))
