"""A row's phases apart, the way back of `interleave`: number j of phase q is column j * stride + q, zero before the row and past its end.

As many vectors as the stride has phases are loaded and picked apart by shuffles. Strides beyond `interleave.WIDEST` gather phase by phase.
"""

from __future__ import annotations

from typing import NamedTuple

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


@emitter
def _emit(w: VectorBuilder, p: Deinterleave) -> None:
    """See `deinterleave`."""
    b = w.b
    begins = b.sub(p.row, b.mul(p.before, i64(p.itemsize)))  # where column 0 would be
    to, source, end = w.pointer(p.out), w.pointer(begins), b.add(p.before, p.width)
    blocks = b.sdiv(b.add(p.columns, i64(p.lanes - 1)), i64(p.lanes))
    if p.few:
        offsets = [w.load_index(p.targets, i64(phase)) for phase in range(p.few)]
        with w.loop(blocks) as block:
            j = b.mul(block, i64(p.lanes))
            mask, first = w.between(j, i64(0), p.columns), b.mul(j, i64(p.few))
            vectors = []
            for v in range(p.few):
                column = b.add(first, i64(v * p.lanes))
                vectors.append(w.load_first(w.at(source, column), w.between(column, p.before, end)))
            for phase, offset in enumerate(offsets):
                with w.when(b.icmp_signed(">=", offset, i64(0))):
                    w.store_first(w.every(vectors, phase), w.at(to, b.add(offset, j)), mask)
        return
    with w.loop(p.stride) as phase:
        offset = w.load_index(p.targets, phase)
        with w.when(b.icmp_signed(">=", offset, i64(0))), w.loop(blocks) as block:
            j = b.mul(block, i64(p.lanes))
            positions = columns(w, j, p.stride, phase)
            inside = b.icmp_unsigned("<", b.sub(positions, w.splat_index(p.before)), w.splat_index(p.width))
            numbers = w.gather(w.addresses(begins, positions), inside)
            w.store_first(numbers, w.at(to, b.add(offset, j)), w.between(j, i64(0), p.columns))


@njit
def _deinterleave(p):
    _emit(p, ())


def deinterleave(few: int, lanes: int, itemsize: int) -> int:
    """Address of compiled deinterleaving, which takes a Deinterleave."""
    return address(_deinterleave, Deinterleave, few=few, lanes=lanes, itemsize=itemsize)
