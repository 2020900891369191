"""Depthwise weights' gradients with channels along vectors: the last vector of fewer channels, padding that some taps never leave, strides,
dilations, rows of taps in several tiles, images in several splits, no images."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from memory import Guarded, given
from test_gradients import weight_gradient

from kernels.methods import load, registry
from kernels.methods.gradients.depthwise_channels import prepare_channels, together
from kernels.problem.conv import parse
from kernels.problem.operands import Operands
from kernels.runtime.machine import machine, pretend

load()
LINES = [
    "conv2d_weight n5 c20 6x4 -> c20 k3x3 s1x1 p1+1x1+1 d1x1 g20 float32",
    "conv2d_weight n2 c33 9x7 -> c33 k5x5 s2x3 p2+4x4+1 d1x1 g33 float32",
    "conv2d_weight n1 c7 8x11 -> c7 k2x3 s3x1 p0+0x5+0 d3x2 g7 float64",
    "conv1d_weight n3 c16 1x10 -> c16 k1x9 s1x2 p0+0x4+4 d1x1 g16 float32",
    "conv2d_weight n0 c5 4x4 -> c5 k3x3 s1x1 p1+1x1+1 d1x1 g5 float32",
]


@pytest.mark.parametrize("vector_bytes", [16, 32, 64])
@pytest.mark.parametrize("line", LINES)
@pytest.mark.usefixtures("poisoned_scratch")
def test_channels_along_vectors(line: str, vector_bytes: int) -> None:
    """Against float64, on one thread and on several."""
    if vector_bytes > machine().vector_bytes:
        pytest.skip("this CPU has no such vectors")
    problem = parse(line)
    draw = np.random.default_rng(0)
    x, grad = (given(draw.standard_normal(shape).astype(problem.dtype)) for shape in (problem.x_shape, problem.conv_shape))
    expected = weight_gradient(problem, x.array, grad.array) if problem.n else np.zeros(problem.out_shape)
    with pretend(vector_bytes=vector_bytes, registers=16 if vector_bytes < 64 else 32):
        assert together(problem)
        for threads in (1, 3):
            out = Guarded(problem.out_shape, problem.dtype)
            prepare_channels(problem, threads).pack(Operands(grad.array))(x.array, out.array)
            assert out.zones_untouched() and x.unchanged() and grad.unchanged()
            assert reference.share(out.array, expected) <= registry.get(problem, "depthwise").error_bound(problem)


def test_small_maps_are_taken_so_and_wide_ones_are_not() -> None:
    """On Granite Rapids, whose estimates are meant."""
    small = parse("conv2d_weight n8 c256 12x8 -> c256 k3x3 s1x1 p1+1x1+1 d1x1 g256 float32")
    wide = parse("conv2d_weight n1 c32 32x250 -> c32 k3x3 s1x1 p1+1x1+1 d1x1 g32 float32")
    with pretend(vector_bytes=64, registers=32, l1=48 << 10, l2=2 << 20, l3=128 << 20, mesh=True):
        depthwise = registry.get(small, "depthwise")
        assert "channels a vector" in depthwise.prepare(small, 1).note and not depthwise.prepare(wide, 1).note
