"""A row's phases apart, the way back of `interleave`: number j of phase q is column j * stride + q, zero before the row and past its end.

As many vectors as the stride has phases are loaded and picked apart by shuffles. Strides beyond `interleave.WIDEST` gather phase by phase.
"""

from __future__ import annotations

from typing import NamedTuple

from llvmlite import ir

from kernels.primitives.interleave import columns
from kernels.runtime.ir import VectorBuilder, i64
from kernels.runtime.jit import njit
from kernels.runtime.micro_kernel import Fixed, address, emitter


class Deinterleave(NamedTuple):
    """What deinterleaving takes."""

    few: Fixed  # the stride where it is at most WIDEST, else 0
    lanes: Fixed  # numbers in a vector
    itemsize: Fixed  # bytes of a number
    out: int  # an address
    columns: int  # how many numbers of each phase are written
    targets: int  # address of each phase's element offset from `out` on, negative where it is not wanted
    row: int  # address of a row
    before: int  # its first number is this column, fewer than the stride
    width: int  # of `width` numbers; 0: of zeros
    stride: int


class Apart(NamedTuple):
    """What setting a row's phases apart takes, in emitted code."""

    few: int  # as that of Deinterleave
    stride: ir.Value
    targets: ir.Value  # address of each phase's element offset from `to` on, negative where it is not wanted
    source: ir.Value  # pointer to a row
    width: ir.Value  # of so many numbers
    column: ir.Value  # of the row, where number 0 of phase 0 lies; outside of it are zeros
    to: ir.Value  # pointer
    numbers: ir.Value  # of each phase


def set_apart(w: VectorBuilder, p: Apart) -> None:
    """Write a row's phases."""
    b = w.b
    blocks = b.sdiv(b.add(p.numbers, i64(w.lanes - 1)), i64(w.lanes))
    if p.few:
        offsets = [w.load_index(p.targets, i64(phase)) for phase in range(p.few)]
        with w.loop(blocks) as block:
            j = b.mul(block, i64(w.lanes))
            mask, first = w.between(j, i64(0), p.numbers), b.add(p.column, b.mul(j, i64(p.few)))
            vectors = []
            for v in range(p.few):
                column = b.add(first, i64(v * w.lanes))
                vectors.append(w.load_first(w.at(p.source, column), w.between(column, i64(0), p.width)))
            for phase, offset in enumerate(offsets):
                with w.when(b.icmp_signed(">=", offset, i64(0))):
                    w.store_first(w.every(vectors, phase) if p.few > 1 else vectors[0], w.at(p.to, b.add(offset, j)), mask)
        return
    with w.loop(p.stride) as phase:
        offset = w.load_index(p.targets, phase)
        with w.when(b.icmp_signed(">=", offset, i64(0))), w.loop(blocks) as block:
            j = b.mul(block, i64(w.lanes))
            positions = b.add(columns(w, j, p.stride, phase), w.splat_index(p.column))
            inside = b.icmp_unsigned("<", positions, w.splat_index(p.width))
            numbers = w.gather(w.addresses(b.ptrtoint(p.source, j.type), positions), inside)
            w.store_first(numbers, w.at(p.to, b.add(offset, j)), w.between(j, i64(0), p.numbers))


@emitter
def _emit(w: VectorBuilder, p: Deinterleave) -> None:
    """See `deinterleave`."""
    column = w.b.sub(i64(0), p.before)
    set_apart(w, Apart(p.few, p.stride, p.targets, w.pointer(p.row), p.width, column, w.pointer(p.out), p.columns))


@njit
def _deinterleave(p):
    _emit(p, ())


def deinterleave(few: int, lanes: int, itemsize: int) -> int:
    """Address of compiled deinterleaving, which takes a Deinterleave."""
    return address(_deinterleave, Deinterleave, few=few, lanes=lanes, itemsize=itemsize)
