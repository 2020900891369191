"""Views against NumPy's: reshapes without a copy where NumPy makes none, orders, parts, broadcasts, constants."""

from __future__ import annotations

import doctest
import random

import numpy as np
import pytest

from kernels.network import views as module
from kernels.network.views import Buffer, View, constant_view, fresh, reshaped_strides


def test_docstrings() -> None:
    assert doctest.testmod(module).failed == 0


def factors(rng: random.Random, number: int) -> tuple[int, ...]:
    found: list[int] = []
    while number > 1:
        found.append(rng.choice([d for d in range(2, number + 1) if number % d == 0]))
        number //= found[-1]
    for _ in range(rng.randint(0, 2)):
        found.insert(rng.randint(0, len(found)), 1)
    return tuple(found)


@pytest.mark.parametrize("seed", range(4))
def test_reshapes(seed: int) -> None:
    """A view is found exactly where NumPy finds one, and sees the same numbers."""
    rng = random.Random(seed)
    for _ in range(500):
        count = rng.choice([12, 24, 36, 60, 64])
        shape, wanted = factors(rng, count), factors(rng, count)
        perm = list(range(len(shape)))
        rng.shuffle(perm)
        array = np.arange(count).reshape([shape[i] for i in perm]).transpose(np.argsort(perm))
        found = reshaped_strides(array.shape, tuple(step // 8 for step in array.strides), wanted)
        reshaped = array.reshape(wanted)
        assert (found is not None) == np.shares_memory(reshaped, array)
        if found is not None:
            seen = np.lib.stride_tricks.as_strided(array, wanted, [step * 8 for step in found])
            np.testing.assert_array_equal(seen, reshaped)


def test_parts_orders_and_arrays() -> None:
    base = np.arange(24, dtype=np.float32)
    view = fresh(Buffer(96), (2, 3, 4), np.dtype(np.float32))
    array = base.reshape(2, 3, 4)

    def same(seen: View, wanted: np.ndarray) -> None:
        np.testing.assert_array_equal(seen.of(base.view(np.uint8)), wanted)

    same(view.transposed((2, 0, 1)), array.transpose(2, 0, 1))
    same(view.part(1, 2, 3, -1), array[:, ::-1])
    same(view.part(2, 1, 2).swapped(), array[:, :, 1:3].swapaxes(1, 2))
    assert view.transposed((2, 0, 1)).order() == (1, 2, 0) and view.transposed((2, 0, 1)).dense()
    assert not view.part(2, 1, 2).dense() and view.part(0, 1, 1).contiguous()


def test_constants_that_are_broadcast_or_turned() -> None:
    array = np.broadcast_to(np.arange(3.0)[:, None], (3, 1000))
    view = constant_view(array)
    assert view.buffer.nbytes == 24
    np.testing.assert_array_equal(view.of(view.buffer.data), array)
    turned = np.arange(6.0).reshape(2, 3).T
    view = constant_view(turned)
    np.testing.assert_array_equal(view.of(view.buffer.data), turned)
