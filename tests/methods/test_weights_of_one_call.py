"""Winograd of weights that serve one call: tiles with fewer points where weights are many, right answers forward and for the adjoint."""

from __future__ import annotations

import numpy as np
import pytest

import kernels
from kernels import methods
from kernels.methods.winograd import blocking
from kernels.problem.conv import parse

methods.load()

MANY = "conv2d n2 c200 12x8 -> c160 k3x3 s1x1 p1+1x1+1 d1x1 g1 float32"
FEW = "conv2d n2 c16 60x40 -> c24 k3x3 s1x1 p1+1x1+1 d1x1 g1 float32"


@pytest.mark.parametrize("line", [MANY, FEW])
@pytest.mark.parametrize("threads", [1, 2])
def test_the_tile_costs_least_with_its_weights(line: str, threads: int) -> None:
    problem = parse(line)
    kept, once = (blocking.best(problem, threads, once=each) for each in (False, True))
    weights = [blocking.weight_cycles(problem, block) / threads for block in (kept, once)]
    assert once.cycles + weights[1] <= (kept.cycles + weights[0]) * (1 + 1e-9)
    assert weights[1] <= weights[0] and blocking.error(problem, once) <= blocking.TOLERABLE


@pytest.mark.parametrize("line", [MANY, FEW])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.usefixtures("poisoned_scratch")
def test_against_float64(line: str, threads: int) -> None:
    problem, draw = parse(line), np.random.default_rng(0)
    x, weight, grad = (draw.standard_normal(shape) for shape in (problem.x_shape, problem.weight_shape, problem.conv_shape))
    single = [each.astype(np.float32) for each in (x, weight, grad)]
    options = {"padding": 1, "threads": threads, "implementation": "winograd"}
    out, of_x = np.full(problem.conv_shape, np.nan, np.float32), np.full(problem.x_shape, np.nan, np.float32)
    kernels.conv2d(*single[:2], **options, out=out)
    kernels.grad.conv2d_input(problem.x_shape, *single[1:], **options, out=of_x)
    wide = [each.astype(np.float64) for each in single]
    exact = kernels.conv2d(*wide[:2], padding=1, implementation="im2col")
    of_exact = kernels.grad.conv2d_input(problem.x_shape, *wide[1:], padding=1, implementation="im2col")
    for found, wanted in ((out, exact), (of_x, of_exact)):
        assert np.abs(found - wanted).max() <= 2e-5 * np.abs(wanted).max()
