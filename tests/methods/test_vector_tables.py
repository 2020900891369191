"""What tiles of direct convolution are told of their vectors, for blocks of full and last rows by full and last columns."""

from __future__ import annotations

import itertools

import pytest

from kernels.cost.gemm import even
from kernels.methods import load
from kernels.methods.direct import blocking as direct
from kernels.methods.direct.driver import vector_tables
from kernels.primitives.packed_layout import extents, layout
from kernels.problem.conv import parse
from kernels.runtime.machine import machine

load()
LINES = [
    "conv2d n1 c4 37x61 -> c8 k3x3 s1x1 p1+1x1+1 d1x1 g1 float32",
    "conv2d n1 c4 37x61 -> c8 k3x5 s2x3 p1+1x2+2 d1x1 g1 float64",
    "conv1d n1 c3 1x4001 -> c8 k1x9 s1x2 p0+0x4+4 d1x1 g1 float32",
]


@pytest.mark.parametrize("line", LINES)
def test_every_vector_of_a_block_stands_in_its_table_once(line: str) -> None:
    problem, lanes = parse(line), machine().lanes(4)
    oh, ow = problem.conv_size
    for block in list(direct.candidates(problem, 2))[::61]:
        packed = layout(problem, block.mec, block.rows, block.columns, lanes)
        for pitch in (None, ow):
            tiles, vectors = vector_tables(block, packed, (oh, ow), pitch, lanes)
            sizes = itertools.product((block.rows, oh % block.rows or block.rows), (block.columns, ow % block.columns))
            for (rows, columns), tile, table in zip(sizes, tiles, vectors):
                lines, length = (1, rows * columns) if block.mec else (rows, columns)
                expected = [
                    (r * packed.positions_per_row * packed.pitch + first, r * (pitch or columns) + first, min(lanes, length - first))
                    for r in range(lines) for first in range(0, length, lanes)
                ]  # fmt: skip
                assert tile.tolist() == list(even(len(expected) or 1, block.n))
                assert table[: len(expected)].tolist() == [list(entry) for entry in expected] and not table[len(expected) :].any()


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("threads", [1, 2])
def test_blocks_of_other_sizes_have_the_estimate_that_they_have_alone(line: str, threads: int) -> None:
    problem, spec = parse(line), machine()
    lanes = spec.lanes(problem.itemsize)
    oh, ow = problem.conv_size
    for block in list(direct.candidates(problem, threads))[::97]:
        across = ow if block.mec else min(block.columns + lanes, ow)
        sizes = [(max(1, block.rows - 1), across), (block.rows, across), (min(block.rows + 2, oh), across)]
        alone = [direct._fitted(problem, block, threads, [size]) for size in sizes]
        room = spec.l2 // 2 // problem.itemsize
        for each, size in zip(alone, sizes):
            assert (each is not None) == (extents(problem, block.mec, *size, lanes).size <= room)
            if each is not None:
                packed = layout(problem, each.mec, each.rows, each.columns, lanes)
                assert (each.rows, each.columns) == size
                assert each.cycles == float(direct._cycles(problem, each, packed, threads, spec, each.mec))
        found = direct._fitted(problem, block, threads, sizes)
        assert found == min(filter(None, alone), key=lambda each: each.cycles, default=None)
