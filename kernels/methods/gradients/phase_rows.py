"""A plane with its padding, a stride's phases apart: what `dots` reads of the input.

    dst[phase of rows][phase of columns][i][j] = src[row + i*row_step + start][column + j*stride + phase], 0 where the plane has none

Phases of rows are filled by turns, so that memory is read in order: of one phase after the other, rows of 2 kB with as much between them,
64 planes of 64x500 took 1.15 times as long.
"""

from __future__ import annotations

from typing import NamedTuple

from kernels.primitives.deinterleave import Apart, set_apart
from kernels.primitives.interleave import few_of
from kernels.runtime.ir import VectorBuilder, i64
from kernels.runtime.jit import njit
from kernels.runtime.micro_kernel import Fixed, address, emitter


class PhaseRows(NamedTuple):
    """What setting apart takes."""

    few: Fixed  # the stride where it is at most WIDEST, else 0
    lanes: Fixed  # of a vector
    itemsize: Fixed
    dst: int  # address
    pitch: int  # numbers of a row of dst
    targets: int  # address of the element offset of each phase of columns, negative where it is not wanted
    rows: int  # of each phase
    starts: int  # address of the first row of each phase of rows that is wanted
    row_phases: int  # how many those are
    row_phase_step: int  # elements from one to the next
    src: int  # address of the plane
    height: int  # rows of it
    width: int  # columns of it
    row: int  # the first row, which may lie before the plane, and so may the column
    row_step: int  # rows from i to i
    column: int
    stride: int


@emitter
def _emit(w: VectorBuilder, p: PhaseRows) -> None:
    b = w.b
    with w.loop(p.rows) as i, w.loop(p.row_phases) as turn:
        row = b.add(b.add(p.row, b.mul(i, p.row_step)), w.load_index(p.starts, turn))
        there = b.and_(b.icmp_signed(">=", row, i64(0)), b.icmp_signed("<", row, p.height))
        width = b.select(there, p.width, i64(0))
        source = w.pointer(p.src, b.mul(row, p.width))
        to = w.pointer(p.dst, b.add(b.mul(turn, p.row_phase_step), b.mul(i, p.pitch)))
        set_apart(w, Apart(p.few, p.stride, p.targets, source, width, p.column, to, p.pitch))


@njit
def _phase_rows(p):
    _emit(p, ())


def phase_rows(stride: int, lanes: int, itemsize: int) -> int:
    """Address of the compiled `PhaseRows`."""
    return address(_phase_rows, PhaseRows, lanes=lanes, itemsize=itemsize, few=few_of(stride))
