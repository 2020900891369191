"""What is made of arrays that stay as they are is made once; of any other, anew."""

from __future__ import annotations

import gc

import numpy as np

from kernels.runtime import constants
from kernels.runtime.constants import held, hold, made


def test_one_array_for_all_who_make_the_same_of_the_same() -> None:
    weight = hold(np.arange(12.0).reshape(3, 4))
    twice = made("twice", lambda array: 2 * array, weight)
    assert (twice == 2 * weight).all() and held(twice)
    assert made("twice", lambda array: 2 * array, weight) is twice
    assert made("twice", lambda array: 2 * array, weight.reshape(3, 4)) is twice, "another view of the same numbers"
    assert made("thrice", lambda array: 3 * array, weight) is not twice
    for part in (weight[1:], weight.T, weight[:, ::2], weight.view(np.int64), weight.reshape(4, 3)):
        of_part = made("twice", lambda array: 2 * array, part)
        assert of_part is not twice and of_part.dtype == part.dtype and (of_part == 2 * part).all()


def test_arrays_that_may_change_are_used_anew() -> None:
    weight, constant = np.ones(3), hold(np.ones(3))
    assert not held(weight) and held(constant[1:])
    first = made("sum", lambda a, b: a + b, weight, constant)
    weight[:] = 5
    assert made("sum", lambda a, b: a + b, weight, constant).tolist() == [6, 6, 6]
    assert not held(first)


def test_nothing_outlives_its_use() -> None:
    before = len(constants._made), len(constants._held)

    def fourfold(weight: np.ndarray) -> np.ndarray:
        twice = made("twice", lambda array: 2 * array, weight)
        return made("twice", lambda array: 2 * array, twice)

    def use() -> None:
        weight = hold(np.ones(3))
        last = fourfold(weight)
        gc.collect()
        assert fourfold(weight) is last, "what something was made of lives as long"

    use()
    gc.collect()
    assert (len(constants._made), len(constants._held)) == before


def test_memory_that_is_used_again_is_another_array() -> None:
    for number in range(50):  # the allocator gives the same address again, and Python the same id
        weight = hold(np.full(3, float(number)))
        assert made("twice", lambda array: 2 * array, weight)[0] == 2 * number
        del weight
