"""Buffers between layers: what is given back is taken again, and what somebody holds is not."""

from __future__ import annotations

import numpy as np

from kernels.streaming.buffers import Buffers

FLOAT = np.dtype("float32")


def test_a_buffer_is_taken_again_in_any_shape() -> None:
    buffers = Buffers()
    first = buffers.take((2, 3, 4), FLOAT)
    address = first.ctypes.data
    buffers.give(first.reshape(6, 4))
    again = buffers.take((4, 3), np.dtype("float64"))
    assert again.ctypes.data == address and again.shape == (4, 3) and address % 64 == 0


def test_arrays_that_are_held_do_not_overlap() -> None:
    buffers = Buffers()
    held = [buffers.take((size,), FLOAT) for size in (5, 0, 100, 7)]
    for i, each in enumerate(held):
        each[:] = i
    assert all((each == i).all() for i, each in enumerate(held))


def test_the_smallest_that_holds_it_else_a_larger_in_its_place() -> None:
    buffers = Buffers()
    small, large = buffers.take((100,), FLOAT), buffers.take((1000,), FLOAT)
    place = small.ctypes.data
    buffers.give(large)
    buffers.give(small)
    taken = buffers.take((90,), FLOAT)
    assert taken.ctypes.data == place
    buffers.give(taken)
    buffers.give(buffers.take((2000,), FLOAT))
    assert buffers.nbytes == 400 + 8000, "the one of 4000 bytes was dropped"


def test_a_copy_converts() -> None:
    np.testing.assert_array_equal(Buffers().copy(np.arange(6).reshape(2, 3)[:, ::2], FLOAT), np.float32([[0, 2], [3, 5]]))
