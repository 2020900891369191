"""Weights' gradients by dot products, block by block: some output channels a task, splits, blocks of a few rows and of a few columns, rows
one behind the other, strides that are deinterleaved and one too wide for that; what lies behind a row is not read."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import reference
from memory import Guarded, given
from test_gradients import weight_gradient

from kernels.methods import load, registry
from kernels.methods.gradients import dots_blocking
from kernels.methods.gradients.dots_driver import prepare_dots
from kernels.problem.conv import parse
from kernels.problem.operands import Operands

load()
LINES = [
    "conv2d_weight n2 c2 11x37 -> c11 k3x3 s1x1 p1+2x1+0 d1x1 g1 float32",
    "conv2d_weight n2 c6 9x20 -> c14 k3x2 s2x3 p4+1x2+1 d3x2 g2 float32",
    "conv2d_weight n2 c3 10x13 -> c7 k4x1 s1x1 p2+1x0+0 d1x1 g1 float64",
    "conv2d_weight n1 c5 12x40 -> c9 k1x1 s2x2 p0+0x0+0 d1x1 g1 float32",
    "conv1d_weight n2 c2 1x400 -> c6 k1x50 s1x19 p0+0x31+7 d1x1 g1 float32",
]


@pytest.mark.parametrize("line", LINES)
@pytest.mark.usefixtures("poisoned_scratch")
def test_blocks(line: str) -> None:
    """Against float64, on one thread and on two to the same bits."""
    problem = parse(line)
    draw = np.random.default_rng(0)
    x, grad = (given(draw.standard_normal(shape).astype(problem.dtype)) for shape in (problem.x_shape, problem.conv_shape))
    expected = weight_gradient(problem, x.array, grad.array)
    outs, (oh, ow) = problem.c_out // problem.groups, problem.conv_size
    whole = dataclasses.replace(dots_blocking.best(problem, 1), rows=oh, columns=ow, outs=outs, splits=1)
    for changes in ({}, {"rows": 2 if oh > 2 else 1, "splits": 2}, {"rows": 1, "columns": min(ow, 16), "outs": 4, "splits": 3}):
        block, answers = dataclasses.replace(whole, **changes), []
        for threads in (1, 2):
            out = Guarded(problem.out_shape, problem.dtype)
            prepare_dots(problem, threads, block).pack(Operands(grad.array))(x.array, out.array)
            assert out.zones_untouched() and x.unchanged() and grad.unchanged()
            answers.append(out.array.copy())
        assert answers[0].tobytes() == answers[1].tobytes()
        assert reference.share(answers[0], expected) <= registry.get(problem, "dots").error_bound(problem)


def test_no_images_make_zeros() -> None:
    problem = parse("conv2d_weight n0 c2 8x20 -> c3 k3x3 s1x1 p1+1x1+1 d1x1 g1 float32")
    out = Guarded(problem.out_shape, problem.dtype)
    empty = [np.zeros(shape, np.float32) for shape in (problem.x_shape, problem.conv_shape)]
    registry.get(problem, "dots").prepare(problem, 2).pack(Operands(empty[1]))(empty[0], out.array)
    assert out.zones_untouched() and not out.array.any()


def test_what_no_window_reaches_does_not_count() -> None:
    """Infinite numbers of the input between windows, and where the next row begins: a tap that does not see them stays finite."""
    problem = parse("conv2d_weight n1 c1 3x20 -> c1 k1x2 s1x3 p0+0x0+0 d1x1 g1 float32")  # windows at 0, 3, … 18
    x, grad = np.ones(problem.x_shape, np.float32), np.ones(problem.conv_shape, np.float32)
    x[..., 2::3] = np.inf
    x[..., 1, 0] = np.inf  # behind the first row; the first tap sees it
    out = np.full(problem.out_shape, np.nan, np.float32)
    registry.get(problem, "dots").prepare(problem, 1).pack(Operands(grad))(x, out)
    np.testing.assert_array_equal(out.reshape(-1), [np.inf, 21])
