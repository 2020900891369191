"""A thread keeps the block that it packed for tasks of its other output channels: of this call and of this block only."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import reference

from kernels.cost.gemm import even
from kernels.methods import load
from kernels.methods.direct import blocking as direct
from kernels.methods.direct.block import Blocking, keeps_packed
from kernels.methods.direct.driver import prepare_blocks
from kernels.methods.direct.driver_oc import prepare_oc_blocks
from kernels.primitives.gemm_tile import tile
from kernels.problem.conv import Conv, parse
from kernels.problem.operands import Operands

load()
STRIDED = "conv2d n2 c6 13x11 -> c70 k3x3 s2x2 p1+1x1+1 d1x1 g1 bias float32"
GROUPED = "conv2d n1 c10 9x40 -> c46 k3x3 s1x2 p1+0x0+1 d1x1 g2 bias float32"


def calls(problem: Conv, prepared: Any, last: bool = False) -> None:
    """Two inputs by turns, through the same scratch."""
    draw = np.random.default_rng(3)
    weight, bias = draw.standard_normal(problem.weight_shape).astype(np.float32), draw.standard_normal(problem.c_out).astype(np.float32)
    run = prepared.pack(Operands(weight, bias))
    for _ in range(3):
        x = draw.standard_normal(problem.x_shape).astype(np.float32)
        expected = reference.conv(x, weight, bias, problem.stride, problem.padding, problem.dilation, problem.groups)
        out = np.full(np.moveaxis(expected, 1, -1).shape if last else expected.shape, np.nan, np.float32)
        run(np.ascontiguousarray(np.moveaxis(x, 1, -1)) if last else x, out)
        assert reference.share(np.moveaxis(out, -1, 1) if last else out, expected) <= 1e-5


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("line", [STRIDED, GROUPED])
def test_tiles_of_outputs(line: str, last: bool, threads: int, poisoned_scratch: None) -> None:
    problem = parse(line)
    assert isinstance(problem, Conv)
    oh, ow = problem.conv_size
    for mec, rows in ((True, oh), (True, 2), (False, 3)):
        block = Blocking(mec, rows, ow, problem.c_in // problem.groups, 4, 2, oc_splits=5)
        assert keeps_packed(problem, block, False)
        calls(problem, prepare_blocks(problem, threads, block, tile, last=last), last)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("line", [STRIDED, "conv2d n2 c6 13x11 -> c70 k1x1 s1x1 p0+0x0+0 d1x1 g1 bias float32"])
def test_tiles_of_output_channels(line: str, last: bool, threads: int, poisoned_scratch: None) -> None:
    problem = parse(line)
    assert isinstance(problem, Conv)
    oh, ow = problem.conv_size
    for rows in (oh, 2):
        block = Blocking(True, rows, ow, problem.c_in, 5, 1, oc_splits=4, oc_lanes=True)
        calls(problem, prepare_oc_blocks(problem, threads, block, last=last), last)


def test_blocks_of_some_channels_are_packed_for_each_task(poisoned_scratch: None) -> None:
    problem = parse(STRIDED)
    assert isinstance(problem, Conv)
    block = Blocking(True, 3, problem.conv_size[1], 4, 6, 2, oc_splits=3)
    assert not keeps_packed(problem, block, False)
    calls(problem, prepare_blocks(problem, 2, block, tile))


@pytest.mark.parametrize("outs", [5, 9, 30, 256])
def test_a_split_has_its_share_of_the_channels(outs: int) -> None:
    """Where all channels fit one tile, several splits must not leave it to one of them, which the estimate would not know of."""
    problem = parse(f"conv2d n1 c8 6x40 -> c{outs} k3x3 s1x1 p1+1x1+1 d1x1 g1 bias float32")
    assert isinstance(problem, Conv)
    for block in direct.candidates(problem, 2):
        tiles, _, _ = even(outs, block.m)
        of_split, _, _ = even(-(-outs // block.oc_splits), block.m)
        assert -(-tiles // block.oc_splits) == of_split, dataclasses.astuple(block)
