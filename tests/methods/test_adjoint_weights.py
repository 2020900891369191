"""Weights of the layer that a convolution is the adjoint of, read as they are: the same bits as of the same weights laid out anew."""

from __future__ import annotations

import numpy as np
import pytest

from kernels import methods
from kernels.methods import registry
from kernels.problem.conv import parse
from kernels.problem.operands import Operands
from kernels.runtime.machine import machine, pretend

methods.load()

LINES = [
    "conv2d n1 c5 9x11 -> c7 k3x3 s1x1 p1+1x1+1 d1x1 g1 float32",
    "conv2d n2 c24 12x13 -> c32 k3x3 s1x1 p1+1x1+1 d1x1 g2 float32",
    "conv2d n1 c33 3x2 -> c50 k3x3 s1x1 p1+1x1+1 d1x1 g1 float32",
    "conv2d n1 c16 20x30 -> c24 k5x5 s1x1 p2+2x2+2 d1x1 g1 float64",
    "conv2d n1 c64 6x4 -> c48 k1x1 s1x1 p0+0x0+0 d1x1 g1 float32",
    "conv2d n9 c70 6x4 -> c48 k1x1 s1x1 p0+0x0+0 d1x1 g1 float32",
    "conv2d n3 c40 6x4 -> c37 k1x1 s1x1 p0+0x0+0 d1x1 g1 float32",
    "conv2d n1 c40 30x40 -> c36 k1x1 s1x1 p0+0x0+0 d1x1 g2 float32",
    "conv1d n1 c40 1x1 -> c64 k1x3 s1x1 p0+0x1+1 d1x1 g1 float32",
    "conv1d n1 c6 1x300 -> c20 k1x64 s1x1 p0+0x31+32 d1x1 g1 float32",
    "conv1d n2 c4 1x900 -> c6 k1x33 s1x1 p0+0x32+32 d1x2 g2 float32",
    "conv2d n1 c3 40x20 -> c17 k9x2 s1x1 p4+4x1+0 d1x1 g1 float32",
    "conv1d n2 c70 1x7 -> c24 k1x40 s1x1 p0+0x20+20 d1x1 g2 float32",  # taps that see only padding, of lines and of rows
    "conv2d n1 c19 9x2 -> c53 k4x7 s1x1 p2+1x3+3 d1x1 g1 float32",
    "conv2d n1 c9 1x30 -> c21 k3x2 s1x1 p1+1x1+0 d1x1 g1 float32",
    "conv2d n2 c19 6x5 -> c19 k3x5 s1x1 p1+1x2+2 d1x1 g19 float32",  # channels in lanes, planes where they lie, lines
    "conv2d n2 c17 6x5 -> c34 k3x2 s1x1 p1+1x1+0 d1x1 g17 float32",  # several of them a channel: weights lie by input channels
    "conv1d n2 c16 1x16 -> c64 k1x3 s1x1 p0+0x2+2 d1x1 g16 float32",
    "conv2d n1 c6 20x70 -> c12 k3x2 s1x1 p1+1x1+0 d1x1 g6 float32",
    "conv2d n1 c3 5x80 -> c3 k2x9 s1x1 p0+1x4+4 d1x1 g3 float32",
]  # fmt: skip


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("vector_bytes", [16, 64])
@pytest.mark.usefixtures("poisoned_scratch")
def test_same_bits(line: str, vector_bytes: int) -> None:
    """By every method that reads them, with the widest vectors and the narrowest."""
    if vector_bytes > machine().vector_bytes:
        pytest.skip("this machine has no vectors so wide")
    problem, draw, met = parse(line), np.random.default_rng(0), 0
    groups, ins, outs = problem.groups, problem.c_in // problem.groups, problem.c_out // problem.groups
    x = draw.standard_normal(problem.x_shape).astype(problem.dtype)
    adjoint = draw.standard_normal((problem.c_in, outs, *problem.kernel)).astype(problem.dtype)
    turned = adjoint.reshape(groups, ins, outs, problem.taps).swapaxes(1, 2)[..., ::-1]
    weight = np.ascontiguousarray(turned).reshape(problem.weight_shape)
    bias = draw.standard_normal(problem.c_out).astype(problem.dtype) if problem.bias else None
    with pretend(vector_bytes=vector_bytes):
        for method in registry.every("conv").values():
            if method.prepare_adjoint is None or method.refuse(problem):
                continue
            for threads in (1, 2):
                prepared = method.prepare_adjoint(problem, threads, False)
                if prepared is None:
                    continue
                met += 1
                made = [np.full(problem.out_shape, np.nan, problem.dtype) for _ in range(2)]
                method.prepare(problem, threads).pack(Operands(weight, bias))(x, made[0])
                prepared.pack(Operands(adjoint, bias))(x, made[1])
                assert np.array_equal(*made), (method.name, threads)
    assert met
