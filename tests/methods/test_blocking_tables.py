"""Blockings that are estimated many at a time: each row has the estimate that it has alone, and the best is the lowest of all."""

from __future__ import annotations

import pytest

from kernels.methods import load
from kernels.methods.direct import blocking as direct
from kernels.methods.fft import blocking as fft
from kernels.methods.winograd import blocking as winograd
from kernels.primitives.packed_layout import TRANSPOSED, layout, packing_cycles
from kernels.problem.conv import Conv, parse
from kernels.runtime.machine import machine, pretend

load()
LINES = [
    "conv2d n2 c24 40x172 -> c32 k3x3 s1x1 p1+1x1+1 d1x1 g1 bias float32",
    "conv2d n64 c16 7x16 -> c256 k3x3 s1x1 p1+1x1+1 d1x1 g2 bias float64",
    "conv2d n1 c8 5x900 -> c12 k5x5 s1x1 p2+2x2+2 d1x1 g1 pool:max:1x2:1x2 float32",
]
STRIDED = "conv2d n5 c6 31x700 -> c18 k3x9 s2x3 p1+1x4+4 d1x2 g3 bias float32"


@pytest.mark.parametrize("line", [*LINES, STRIDED])
@pytest.mark.parametrize("threads", [1, 2])
def test_direct(line: str, threads: int) -> None:
    problem, spec = parse(line), machine()
    found = list(direct.candidates(problem, threads))
    assert len({(b.mec, b.rows, b.columns, b.channels, b.m, b.n, b.oc_splits) for b in found}) > 100
    for block in found[::37]:
        packed = layout(problem, block.mec, block.rows, block.columns, spec.lanes(problem.itemsize))
        assert float(direct._cycles(problem, block, packed, threads, spec, block.mec)) == block.cycles
    lowest = min(block.cycles for block in [*found, *(b for b in direct.oc_candidates(problem, threads))])
    assert direct.best.__wrapped__(problem, threads).cycles <= 1.05 * lowest


def test_a_last_block_of_fewer_rows_fills_no_vectors_of_the_others() -> None:
    """Blocks of three rows of 28 outputs leave a share of their vectors idle that blocks of four, of exactly seven vectors, do not."""
    problem = parse("conv2d n1 c256 28x28 -> c64 k3x3 s1x1 p1+1x1+1 d1x1 g1 bias float32")
    assert isinstance(problem, Conv)
    with pretend(vector_bytes=64, registers=32):
        of_three, of_four = (
            direct._cycles(problem, direct.Blocking(True, rows, 28, 256, 13, 2, 1), layout(problem, True, rows, 28, 16), 1, machine(), True)
            for rows in (3, 4)
        )
        assert of_three > 1.08 * of_four


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("threads", [1, 3])
def test_winograd(line: str, threads: int) -> None:
    problem = parse(line)
    blockings = winograd._blockings(problem, threads)
    assert len(blockings) == len(set(blockings)) > 50
    for block in blockings[::11]:
        assert float(winograd._cycles(problem, block, threads)) == pytest.approx(block.cycles, rel=1e-12)
        assert block.channels in (problem.c_out // problem.groups, winograd._fitting(problem, block, problem.c_out // problem.groups))
    able = [block for block in blockings if winograd.error(problem, block) <= winograd.TOLERABLE]
    whole = [block.cycles for block in able if winograd.holds_windows(problem, block)]
    assert winograd.best.__wrapped__(problem, threads).cycles <= min(whole)


@pytest.mark.parametrize("line", [*LINES, STRIDED])
def test_fft(line: str) -> None:
    problem = parse(line)
    blockings = list(fft.candidates(problem, 2))
    assert len(blockings) > 30
    for block in blockings[::13]:
        assert float(fft._cycles(problem, block, 2)) == pytest.approx(block.cycles, rel=1e-12)
    assert fft.best.__wrapped__(problem, 2).cycles == min(block.cycles for block in blockings)


def test_what_lies_between_windows_is_not_packed() -> None:
    """Windows of 44 numbers cost as much 441 apart as 50 apart."""
    cycles = set()
    for step in (50, 441):
        problem = parse(f"conv1d n1 c1 1x{999 * step + 44} -> c64 k1x44 s1x{step} p0+0x0+0 d1x1 g1 float32")
        cycles.add(float(packing_cycles(layout(problem, False, 1, 1000, 16), 16)))
    assert len(cycles) == 1


@pytest.mark.parametrize("kernel,step,lanes,picking", [
    (3, 2, 4, 2), (3, 2, 8, 2), (3, 2, 16, 2), (5, 5, 8, 5), (8, 8, 16, TRANSPOSED), (16, 10, 16, TRANSPOSED),
    (44, 441, 16, TRANSPOSED), (1, 64, 4, TRANSPOSED), (4, 4, 8, 4), (4, 4, 16, TRANSPOSED), (2, 2, 16, 2), (4, 2, 16, 2),
])  # fmt: skip
def test_how_columns_are_picked_apart(kernel: int, step: int, lanes: int, picking: int) -> None:
    """Few planes of a small step by shuffles, of vectors of every width; what is measured there says so."""
    problem = parse(f"conv2d n1 c1 56x{step * 20 + kernel} -> c8 k{kernel}x{kernel} s{step}x{step} p0+0x0+0 d1x1 g1 float32")
    with pretend(vector_bytes=4 * lanes):
        assert layout(problem, False, 1, problem.conv_size[1], machine().lanes(4)).picking == picking
