"""Depthwise weights' gradients of short rows, all columns of the kernel at once: rows of one vector and of several, padding on either side
that some columns never leave, strides, dilations, channel multipliers; factors that no tap meets are infinite."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from memory import Guarded, given

from kernels.methods import load, registry
from kernels.methods.gradients import depthwise_columns
from kernels.problem.conv import parse
from kernels.problem.operands import Operands
from kernels.runtime.machine import pretend

load()
LINES = [
    "conv2d_weight n3 c4 9x8 -> c8 k3x3 s1x1 p1+1x1+1 d1x1 g4 float32",
    "conv2d_weight n1 c3 5x21 -> c3 k2x5 s1x1 p0+0x2+2 d1x2 g3 float32",
    "conv2d_weight n2 c3 7x31 -> c3 k3x3 s2x2 p1+0x1+1 d1x1 g3 float32",
    "conv2d_weight n1 c2 4x13 -> c2 k1x2 s1x3 p0+0x9+3 d1x1 g2 float64",
    "conv2d_weight n2 c2 3x2 -> c2 k3x8 s1x1 p1+1x7+5 d1x1 g2 float32",
]


@pytest.mark.parametrize("line", LINES)
def test_short_rows(line: str) -> None:
    """Against the definition in float64, and the same bits with one thread and with two."""
    problem = parse(line)
    rng = np.random.default_rng(0)
    x, grad = (rng.standard_normal(shape) for shape in (problem.x_shape, problem.conv_shape))
    method, results = registry.get(problem, "depthwise"), []
    with pretend(vector_bytes=64):
        assert depthwise_columns.short(problem)
        for threads in (1, 2):
            out = Guarded(problem.out_shape, problem.dtype)
            arrays = [given(array.astype(problem.dtype)).array for array in (x, grad)]
            method.prepare(problem, threads).pack(Operands(arrays[1]))(arrays[0], out.array)
            assert out.zones_untouched()
            results.append(out.array.copy())
    np.testing.assert_array_equal(*results)
    expected = np.zeros(problem.out_shape)
    (sh, sw), (dh, dw), ((top, bottom), (left, right)) = problem.stride, problem.dilation, problem.padding
    (oh, ow), each = problem.conv_size, problem.c_out // problem.groups
    wide = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right))).repeat(each, 1)
    for kh in range(problem.kernel[0]):
        for kw in range(problem.kernel[1]):
            window = wide[:, :, kh * dh : kh * dh + (oh - 1) * sh + 1 : sh, kw * dw : kw * dw + (ow - 1) * sw + 1 : sw]
            expected[:, 0, kh, kw] = (window * grad).sum((0, 2, 3))
    assert reference.share(results[0], expected) <= method.error_bound(problem)


def test_what_no_tap_meets_does_not_count() -> None:
    """Infinite numbers of the gradient count where a tap sees padding, and of the input where the stride skips them, as little as any."""
    problem = parse("conv2d_weight n1 c1 1x10 -> c1 k1x3 s1x2 p0+0x1+0 d1x1 g1 float32")  # outputs 0 to 4 see inputs -1 to 9
    x, grad = np.ones(problem.x_shape, np.float32), np.ones(problem.conv_shape, np.float32)
    grad[..., 0] = np.inf  # the first column sees padding there
    out = np.full(problem.out_shape, np.nan, np.float32)
    with pretend(vector_bytes=64):
        registry.get(problem, "depthwise").prepare(problem, 1).pack(Operands(grad))(x, out)
    np.testing.assert_array_equal(out.reshape(-1), [problem.conv_size[1] - 1, np.inf, np.inf])
