"""Layers with windows of one column read their input where it lies: nothing behind it is read, sums that are made twice are added once."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import reference
from memory import Guarded, given

from kernels.cost.gemm import pooled_size
from kernels.cost.memory import TASK_COST
from kernels.cost.rounds import rounds
from kernels.methods import load
from kernels.methods.direct import blocking
from kernels.methods.direct.driver import prepare_blocks, vector_tables
from kernels.methods.direct.driver_oc import prepare_oc_blocks
from kernels.primitives.gemm_tile import tile
from kernels.primitives.packed_layout import layout
from kernels.problem.conv import Conv, parse
from kernels.problem.operands import Operands
from kernels.runtime.machine import machine, pretend

load()
LINES = [
    "conv2d n2 c7 5x23 -> c33 k1x1 s1x1 p0+0x0+0 d1x1 g1 bias relu:0.0 float32",
    "conv2d n3 c12 6x16 -> c10 k1x1 s1x1 p0+0x0+0 d1x1 g2 bias tanh:0.0 float32",
    "conv1d n1 c5 1x37 -> c20 k1x1 s1x1 p0+0x0+0 d1x1 g1 float64",
    "conv1d n2 c6 1x107 -> c20 k1x1 s1x1 p0+0x0+0 d1x1 g2 bias relu:0.0 float32",
    "conv2d n1 c6 3x90 -> c21 k1x1 s1x1 p0+0x0+0 d1x1 g3 float32",
    "conv2d n2 c5 9x13 -> c14 k3x1 s1x1 p0+0x0+0 d1x1 g1 bias relu:0.0 float32",
    "conv2d n1 c6 14x17 -> c12 k4x1 s1x1 p0+0x0+0 d3x1 g2 float64",
]


def plans(problem: Conv) -> list[blocking.Blocking]:
    """One blocking of each kind that reads in place."""
    lanes = machine().lanes(problem.itemsize)
    found = [block for block in blocking.candidates(problem, 2) if blocking.reads_in_place(problem, block, lanes)]
    kinds = {(block.mec, block.rows, block.n, block.oc_splits): block for block in reversed(found)}  # parts of rows before whole ones
    assert kinds and (any(block.columns < problem.size[1] for block in kinds.values()) or problem.size[1] <= 5 * lanes)
    return list(kinds.values())


@pytest.mark.parametrize("added", [False, True])
@pytest.mark.parametrize("line", LINES)
def test_right(line: str, added: bool, poisoned_scratch: None) -> None:
    problem = parse(line)
    assert isinstance(problem, Conv)
    draw = np.random.default_rng(5)
    x, weight = (draw.standard_normal(shape).astype(problem.dtype) for shape in (problem.x_shape, problem.weight_shape))
    bias = draw.standard_normal(problem.c_out).astype(problem.dtype) if problem.bias else None
    before = draw.standard_normal(problem.conv_shape).astype(problem.dtype)
    wanted = reference.conv(x, weight, bias, problem.stride, problem.padding, problem.dilation, problem.groups) + added * before
    wanted = np.maximum(wanted, 0) if "relu" in line else np.tanh(wanted) if "tanh" in line else wanted
    held = given(x)
    for block in plans(problem):
        out = Guarded(problem.conv_shape, problem.dtype)
        if added:
            out.array[...] = before
        prepare_blocks(problem, 2, block, tile, added=added).pack(Operands(weight, bias))(held.array, out.array)
        np.testing.assert_allclose(out.array, wanted, rtol=0, atol=60 * np.finfo(problem.dtype).eps * np.abs(wanted).max())
        assert out.zones_untouched() and held.unchanged()


@pytest.mark.parametrize("line", [line for line in LINES if " g1 " in line])
def test_lanes_along_output_channels(line: str, poisoned_scratch: None) -> None:
    """Blocks whose last tile sums positions of the one before once more."""
    problem = parse(line)
    assert isinstance(problem, Conv)
    draw = np.random.default_rng(5)
    x, weight = (draw.standard_normal(shape).astype(problem.dtype) for shape in (problem.x_shape, problem.weight_shape))
    bias = draw.standard_normal(problem.c_out).astype(problem.dtype) if problem.bias else None
    wanted = reference.conv(x, weight, bias, problem.stride, problem.padding, problem.dilation, problem.groups)
    wanted = np.maximum(wanted, 0) if "relu" in line else wanted
    held = given(x)
    blocks = [block for block in blocking.oc_candidates(problem, 2) if blocking.oc_reads_in_place(problem, block.rows, block.m)]
    assert any(block.rows * problem.conv_size[1] % block.m for block in blocks)
    for block in blocks:
        out = Guarded(problem.conv_shape, problem.dtype)
        prepare_oc_blocks(problem, 2, block).pack(Operands(weight, bias))(held.array, out.array)
        np.testing.assert_allclose(out.array, wanted, rtol=0, atol=60 * np.finfo(problem.dtype).eps * np.abs(wanted).max())
        assert out.zones_untouched() and held.unchanged()


@pytest.mark.parametrize("line", LINES)
def test_no_vector_reaches_over_the_end(line: str) -> None:
    problem = parse(line)
    assert isinstance(problem, Conv)
    lanes, (oh, ow) = machine().lanes(problem.itemsize), problem.conv_size
    for block in plans(problem):
        packed = layout(problem, block.mec, block.rows, block.columns, lanes, block.channels)
        counts, vectors = vector_tables(block, packed, (oh, ow), ow, lanes, in_place=True)
        parts = itertools.product((block.rows, oh % block.rows or block.rows), (block.columns, ow % block.columns))
        for table, (rows, columns), (tiles, edge, full) in zip(vectors, parts, counts):
            if not columns:
                continue
            used = table[: tiles * edge + full]
            assert (used[:, 0] + lanes).max() == rows * columns  # and with the last tap as far behind its first number as a row is long
            assert (used[:, 2] == lanes).all()


@pytest.mark.parametrize("size", [(9, 23), (7, 32), (6, 20)])
def test_pooled(size: tuple[int, int]) -> None:
    """Rows and columns that no window has are left out, so that rows do not follow one another."""
    problem = Conv("conv2d", 1, 6, size, (1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1), "float32", 9, 1, pool=("max", (2, 2), (2, 2)))
    draw = np.random.default_rng(5)
    x, weight = (draw.standard_normal(shape).astype(np.float32) for shape in (problem.x_shape, problem.weight_shape))
    wanted = reference.conv(x, weight, None, (1, 1), problem.padding, (1, 1), 1)[:, :, : size[0] // 2 * 2, : size[1] // 2 * 2]
    wanted = wanted.reshape(1, 9, size[0] // 2, 2, size[1] // 2, 2).max((3, 5))
    lanes, (oh, ow) = machine().lanes(4), pooled_size(problem)
    assert (oh, ow) == (size[0] // 2 * 2, size[1] // 2 * 2)
    seen = set()
    for block in blocking.candidates(problem, 2):
        if block.channels == 6 and block.rows % 2 == 0 and (block.mec or block.columns == size[1]):
            block = dataclasses.replace(block, rows=min(block.rows, oh), columns=ow)
            seen.add(bool(blocking.reads_in_place(problem, block, lanes)))
            out = Guarded(wanted.shape, "float32")
            prepare_blocks(problem, 2, block, tile).pack(Operands(weight))(x, out.array)
            np.testing.assert_allclose(out.array, wanted, rtol=0, atol=1e-5)
            assert out.zones_untouched()
    assert (True in seen) == (size[1] % 2 == 0)


def test_tasks_that_pack_nothing_cost_no_packing() -> None:
    """However many share the output channels, the estimate counts the same work and what each task costs by itself."""
    problem = parse("conv2d n1 c1152 7x7 -> c192 k1x1 s1x1 p0+0x0+0 d1x1 g1 bias float32")
    assert isinstance(problem, Conv)
    with pretend(vector_bytes=64, registers=32):
        found = [block for block in blocking.oc_candidates(problem, 2) if (block.rows, block.n) == (7, 2)]
        work = {block.oc_splits: block.oc_splits * block.cycles / rounds(block.oc_splits, 2) for block in found}
        assert work[6] - work[2] == pytest.approx(4 * TASK_COST)


def test_what_is_packed() -> None:
    problem = parse(LINES[0])
    assert isinstance(problem, Conv)
    lanes = machine().lanes(problem.itemsize)
    others = [{"stride": (1, 2)}, {"padding": ((1, 0), (0, 0))}, {"kernel": (1, 2)}, {"size": (1, lanes - 1)}]
    for changes in others:
        other = dataclasses.replace(problem, **changes)
        assert not any(blocking.reads_in_place(other, block, lanes) for block in blocking.candidates(other, 2))
