"""Blockings that estimates would rarely choose together: every combination of images, layouts, output-channel blocks and splits is
right."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import reference
from memory import Guarded

from kernels.methods import load
from kernels.methods.depthwise import blocking as depthwise
from kernels.methods.depthwise import driver_channels as conv_depthwise
from kernels.methods.direct import blocking as direct
from kernels.methods.direct import method as conv_direct
from kernels.methods.direct.driver import prepare_blocks
from kernels.methods.direct.driver_oc import prepare_oc_blocks
from kernels.methods.winograd import blocking as winograd
from kernels.methods.winograd import driver as conv_winograd
from kernels.methods.winograd.stride_phases import polyphase
from kernels.methods.winograd.strided import prepare_polyphase
from kernels.primitives.gemm_tile import tile_of_rows
from kernels.problem.conv import Conv, parse
from kernels.problem.operands import Operands
from kernels.runtime.machine import machine

load()
SHARED = "conv2d n4 c18 5x7 -> c64 k3x3 s1x1 p1+1x1+1 d1x1 g1 bias relu:0.0 float32"
WIDE = "conv2d n3 c9 4x37 -> c20 k3x3 s1x1 p1+0x0+1 d1x1 g1 bias float32"
LINES = "conv2d n2 c16 14x36 -> c16 k3x3 s1x1 p1+1x1+1 d1x1 g1 bias float32"  # rows of tiles of one image end in whole vectors
GROUPED = "conv2d n2 c36 6x5 -> c96 k3x3 s1x1 p1+1x1+1 d1x1 g2 bias tanh:0.0 float32"


def distinct(blockings: Any, *fields: str) -> list[Any]:
    """One blocking of each combination of these fields."""
    return list({tuple(getattr(block, field) for field in fields): block for block in blockings}.values())


def check(problem: Conv, prepared: Any, *, last: bool = False) -> None:
    """One call into guarded, poisoned memory, compared with the reference."""
    draw = np.random.default_rng(5)
    x, weight = (draw.standard_normal(shape).astype(problem.dtype) for shape in (problem.x_shape, problem.weight_shape))
    bias = draw.standard_normal(problem.c_out).astype(problem.dtype)
    expected = reference.conv(x, weight, bias, problem.stride, problem.padding, problem.dilation, problem.groups)
    expected = np.maximum(expected, 0) if "relu" in str(problem) else np.tanh(expected) if "tanh" in str(problem) else expected
    n, c, *size = problem.conv_shape
    out = Guarded((n, *size, c) if last else problem.conv_shape, problem.dtype)
    prepared.pack(Operands(weight, bias))(np.ascontiguousarray(np.moveaxis(x, 1, -1)) if last else x, out.array)
    result = np.moveaxis(out.array, -1, 1) if last else out.array
    assert reference.share(result, expected) <= 5e-5  # of outputs that tanh caps; sums go to 50
    assert out.zones_untouched()


@pytest.mark.parametrize(
    "line",
    ["n2 c18 13x30 -> c36 k3x3 s1x1 p2+2x3+0 d2x3 g2 bias relu:0.0", "n1 c9 21x7 -> c20 k3x1 s1x1 p4+3x1+1 d4x1 g1 bias",
     "n2 c9 23x19 -> c16 k3x3 s1x1 p4+3x1+1 d4x1 g1 bias", "n2 c16 5x90 -> c16 k2x5 s1x1 p0+2x34+36 d1x17 g1 bias relu:0.0",
     "n3 c8 1x61 -> c32 k1x3 s1x1 p0+0x16+0 d1x8 g1 bias"],
)  # fmt: skip
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dilated_winograd(line: str, dtype: str, monkeypatch: pytest.MonkeyPatch, poisoned_scratch: None) -> None:
    """Turns that begin inside a vector, that vectors and planes cut, rows and columns that only some of a turn have."""
    problem = parse(f"conv2d {line} {dtype}")
    assert isinstance(problem, Conv)
    blockings = distinct(winograd._blockings(problem, 2), "mh", "mw", "oc_lanes", "oc_splits", "rows", "columns")
    assert len(blockings) > 8 and {block.images for block in blockings} == {1}
    for block in blockings[:: max(1, len(blockings) // 24)]:
        monkeypatch.setattr(winograd, "best", lambda *args, block=block: block)
        check(problem, conv_winograd.prepare(problem, 2))


@pytest.mark.parametrize("line", [SHARED, WIDE, LINES, GROUPED])
def test_winograd(line: str, monkeypatch: pytest.MonkeyPatch, poisoned_scratch: None) -> None:
    problem = parse(line)
    lanes = machine().lanes(problem.itemsize)
    few = (block for block in winograd._blockings(problem, 2) if (block.mh, block.mw) in ((2, 2), (4, 2)))
    oc_blocks = (dataclasses.replace(block, channels=min(block.channels, 2 * block.height(lanes))) for block in few)
    blockings = distinct(oc_blocks, "mh", "images", "oc_lanes", "oc_splits", "rows", "columns")
    assert True in {block.oc_lanes for block in blockings} or problem.c_out // problem.groups % lanes
    assert max(block.images for block in blockings) == problem.n
    for block in blockings:
        monkeypatch.setattr(winograd, "best", lambda *args, block=block: block)
        for last in (False, True):
            check(problem, conv_winograd.prepare(problem, 2, last=last), last=last)


@pytest.mark.parametrize(
    "line",
    [SHARED, "conv2d n6 c130 1x3 -> c33 k1x1 s1x1 p0+0x0+0 d1x1 g1 bias float32",
     "conv1d n2 c7 1x20 -> c40 k1x9 s1x2 p0+0x5+4 d1x2 g1 bias float32"],
)  # fmt: skip
def test_lanes_along_output_channels(line: str, poisoned_scratch: None) -> None:
    problem = parse(line)
    for last in (False, True):
        blocks = distinct(direct.oc_candidates(problem, 2, last), "rows", "n", "oc_splits")
        assert len(blocks) > 2
        for block in blocks:
            check(problem, prepare_oc_blocks(problem, 2, block, last=last), last=last)


@pytest.mark.parametrize("line", [WIDE, LINES, GROUPED, "conv1d n2 c7 1x90 -> c40 k1x9 s1x2 p0+0x5+4 d1x2 g1 bias float64"])
def test_weights_as_they_are_given(line: str, poisoned_scratch: None) -> None:
    problem = parse(line)
    blocks = distinct(direct.candidates(problem, 2, direct.UNPACKED), "mec", "m", "n", "oc_splits")
    for block in blocks[:: max(1, len(blocks) // 12)]:
        for last in (False, True):
            check(problem, prepare_blocks(problem, 2, block, tile_of_rows, last=last, unpacked=True), last=last)


@pytest.mark.parametrize("stride", [(1, 2), (2, 2), (3, 1), (5, 4)])
@pytest.mark.parametrize(
    "rest",
    ["c4 9x23 -> c6 k3x5 {} p1+2x0+3 d1x1 g2", "c3 12x30 -> c5 k4x2 {} p3+0x1+1 d2x3 g1", "c2 7x8 -> c3 k1x7 {} p0+0x6+6 d1x1 g1",
     "c3 11x21 -> c4 k10x8 {} p3+2x2+3 d1x1 g1"],
)
def test_phases_of_a_stride(rest: str, stride: tuple[int, int], poisoned_scratch: None) -> None:
    """Rows and columns left over, taps that few phases have, padding that a phase has alone."""
    problem = parse(f"conv2d n2 {rest.format('s{}x{}'.format(*stride))} bias float32")
    assert isinstance(problem, Conv)
    slides = polyphase(problem)
    assert slides and slides.conv_shape == problem.conv_shape and slides.stride == slides.dilation == (1, 1)
    check(problem, prepare_polyphase(problem, 2, conv_direct.prepare))


@pytest.mark.parametrize(
    ("line", "kernel"),
    [("k4x8 s2x4 p1+1x2+2 d1x1", (2, 2)), ("k11x3 s4x2 p2+2x1+1 d1x1", (3, 2)), ("k5x6 s2x3 p2+0x0+0 d1x1", (3, 2)),
     ("k3x2 s4x3 p1+1x1+1 d3x4", (2, 2))],
)
def test_windows_see_the_fewest_bins(line: str, kernel: tuple[int, int]) -> None:
    problem = parse(f"conv2d n1 c8 40x40 -> c8 {line} g1 float32")
    assert isinstance(problem, Conv)
    slides = polyphase(problem)
    assert slides and slides.kernel == kernel and slides.conv_shape == problem.conv_shape


def test_no_phases_where_a_window_may_see_padding_only() -> None:
    problem = parse("conv2d n1 c1 5x5 -> c1 k3x3 s2x2 p1+1x3+0 d1x1 g1 float32")
    assert isinstance(problem, Conv) and polyphase(problem) is None


@pytest.mark.parametrize(
    "line",
    ["conv1d n1 c5 1x100 -> c5 k1x3 s1x1 p0+0x3000+3000 d1x1 g5 bias float32",
     "conv2d n2 c18 4x90 -> c36 k3x3 s2x1 p40+3x600+700 d1x1 g18 bias relu:0.0 float32"],
)  # fmt: skip
def test_stacks_that_see_nothing_but_padding(line: str, poisoned_scratch: None) -> None:
    problem = parse(line)
    for last in (False, True):
        stacks = distinct(depthwise._channel_blockings(problem, 2, last), "rows", "columns")
        for stack in stacks[:: max(1, len(stacks) // 4)]:
            check(problem, conv_depthwise.prepare_channels(problem, 2, stack, last=last), last=last)
