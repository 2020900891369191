"""A row's phases apart, the way back of `interleave`: number j of phase q is column j * stride + q, zero past the row's end.

As many vectors as the stride has phases are loaded and picked apart by shuffles. Strides beyond `interleave.WIDEST` gather phase by phase.
"""

from __future__ import annotations

from typing import Any

from numba.core import types
from numba.extending import intrinsic

from kernels.primitives.interleave import columns as places_of
from kernels.runtime.ir import VectorBuilder, i64
from kernels.runtime.jit import address, njit


@intrinsic(prefer_literal=True)
def _emit(typing_context: Any, few_: Any, lanes_: Any, itemsize_: Any, out: Any, columns: Any, targets: Any, row: Any, width: Any,
          stride: Any) -> Any:  # fmt: skip
    """See `deinterleave`."""
    literals = few_, lanes_, itemsize_
    few, lanes, itemsize = (literal.literal_value for literal in literals)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        out, columns, targets, row, width, stride = values[3:]
        w = VectorBuilder(builder, lanes, itemsize)
        to, source = w.pointer(out), w.pointer(row)
        blocks = builder.sdiv(builder.add(columns, i64(lanes - 1)), i64(lanes))
        if few:
            offsets = [w.load_index(targets, i64(phase)) for phase in range(few)]
            with w.loop(blocks) as block:
                j = builder.mul(block, i64(lanes))
                mask, first = w.between(j, i64(0), columns), builder.mul(j, i64(few))
                vectors = []
                for v in range(few):
                    column = builder.add(first, i64(v * lanes))
                    vectors.append(w.load_first(w.at(source, column), w.between(column, i64(0), width)))
                for phase, offset in enumerate(offsets):
                    with w.when(builder.icmp_signed(">=", offset, i64(0))):
                        w.store_first(w.every(vectors, phase), w.at(to, builder.add(offset, j)), mask)
            return context.get_dummy_value()
        with w.loop(stride) as phase:
            offset = w.load_index(targets, phase)
            with w.when(builder.icmp_signed(">=", offset, i64(0))), w.loop(blocks) as block:
                j = builder.mul(block, i64(lanes))
                places = places_of(w, j, stride, phase)
                numbers = w.gather(w.addresses(row, places), builder.icmp_signed("<", places, w.splat_index(width)))
                w.store_first(numbers, w.at(to, builder.add(offset, j)), w.between(j, i64(0), columns))
        return context.get_dummy_value()

    return types.void(*literals, *(types.int64,) * 6), codegen


@njit
def _deinterleave(few, lanes, itemsize, out, columns, targets, row, width, stride):
    _emit(few, lanes, itemsize, out, columns, targets, row, width, stride)


def deinterleave(few: int, lanes: int, itemsize: int) -> int:
    """Address of compiled `deinterleave`; few: the stride where it is at most `interleave.WIDEST`, else 0.

    It takes, all int64: the three literals again; out, an address; columns, how many numbers of each phase are written; targets, address of
    each phase's place from there on, negative where it is not wanted; row, address of `width` numbers; width, 0 for a row of zeros; stride.
    """
    return address(_deinterleave, (few, lanes, itemsize), (types.int64,) * 6)
