"""The depthwise tile that reads planes where they lie: against the definition, with memory that nobody may touch around it."""

from __future__ import annotations

import numpy as np
import pytest
from memory import Guarded, given
from micro_kernels import at, invoke, numbers, words

from kernels.methods.depthwise.blocking import PLANES, STACKS, layouts
from kernels.methods.depthwise.plane_blocking import inner_vectors
from kernels.methods.depthwise.plane_tile import plane_rows
from kernels.primitives.register_post_ops import ACTIVATIONS
from kernels.problem.conv import parse
from kernels.runtime.machine import pretend


@words
@pytest.mark.parametrize(
    ("kernel", "sh", "step", "rows", "pads"),
    [((3, 3), 1, 1, 4, (1, 1, 1, 1)), ((5, 2), 2, 1, 2, (2, 0, 3, 1)), ((3, 3), 2, 2, 4, (1, 0, 1, 2)), ((1, 7), 1, 2, 1, (0, 0, 6, 0)),
     ((2, 4), 3, 2, 2, (0, 2, 0, 5)), ((4, 3), 1, 2, 2, (1, 1, 1, 1))],
)  # fmt: skip
def test_rows_of_a_plane(
    kernel: tuple[int, int], sh: int, step: int, rows: int, pads: tuple[int, int, int, int], lanes: int, dtype: str
) -> None:  # fmt: skip
    """Widths from one number to several vectors, from the first row of the plane, in its middle, and to its last."""
    (kh, kw), (top, bottom, left, right), size = kernel, pads, np.dtype(dtype).itemsize
    address, h = plane_rows(kh, kw, sh, step, rows, lanes, size), (rows + 2) * sh + kh
    a, bias, scale, shift = (numbers(*shape, dtype=dtype, seed=i) for i, shape in enumerate((kernel, (1,), (1,), (1,)), 1))
    for w in {max(kw - left - right, 1), lanes - 1, lanes * step, 2 * lanes * step + 1, 5 * lanes * step + 3}:
        problem = parse(f"conv2d n1 c1 {h}x{w} -> c1 k{kh}x{kw} s{sh}x{step} p{top}+{bottom}x{left}+{right} d1x1 g1 {dtype}")
        oh, ow = problem.conv_size
        first, inner = inner_vectors(problem, lanes)
        x, zeros = given(numbers(h, w, dtype=dtype)), given(np.zeros(w, dtype))
        padded = np.pad(x.array, ((top, bottom), (left, right)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, kernel)[::sh, ::step]
        expected = np.maximum((np.einsum("rcij,ij->rc", windows, a) + bias) * scale + shift, 0)
        for row, outputs in {(0, rows), (1, rows + 1), (oh - rows, rows), (0, oh)}:
            y = Guarded((outputs, ow), dtype)
            place = at(a), at(x.array), at(zeros.array), row * sh - top, h, w, left, at(y.array), outputs, ow, -(-ow // lanes), first, inner
            finish = at(bias), at(scale), at(shift), ACTIVATIONS["relu"], 0
            invoke(address, kh, kw, sh, step, rows, lanes, size, *place, *finish)
            np.testing.assert_array_equal(y.array, expected[row : row + outputs])
            assert y.zones_untouched()


def test_inner_vectors_reach_over_no_end() -> None:
    """Every vector that is loaded plainly lies within the line, and the next one on either side would not or is no whole one."""
    for step, kw, pad, w in ((1, 3, 1, 100), (2, 3, 1, 250), (2, 4, 0, 64), (1, 7, 3, 16), (2, 5, 2, 33)):
        problem = parse(f"conv2d n1 c1 9x{w} -> c1 k3x{kw} s1x{step} p1+1x{pad}+{pad} d1x1 g1 float32")
        first, inner = inner_vectors(problem, 16)
        for q in range(first, first + inner):
            low, high = q * 16 * step - pad, q * 16 * step - pad + 15 * step + kw
            assert low >= 0 and high <= w and (q + 1) * 16 <= problem.conv_size[1]


def test_rows_that_fill_no_vectors_are_read_where_they_lie() -> None:
    """Where masks cost little: of 56 numbers half the vectors have them, of 7 all, and those are transposed."""
    with pretend(vector_bytes=64, registers=32, l1=48 << 10, l2=2 << 20, mesh=True):
        wide, narrow = (
            layouts(parse(f"conv2d n1 c144 {side}x{side} -> c144 k3x3 s1x1 p1+1x1+1 d1x1 g144 float32"), 2) for side in (56, 7)
        )  # fmt: skip
    assert wide[PLANES] < 0.9 * wide[STACKS] and narrow[STACKS] < 0.9 * narrow[PLANES]
