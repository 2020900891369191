"""Columns of a block behind those that are kept, in one compiled call without threads: what lies between two layers of a stream."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from kernels.runtime.ir import I1
from kernels.runtime.jit import njit
from kernels.runtime.pointers import pointed


@intrinsic
def _move(typing_context: Any, to: Any, source: Any, nbytes: Any) -> Any:
    """Copy bytes between addresses that may overlap."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        byte = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [byte, byte, values[2].type, I1])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.memmove.p0.p0.i64")
        pointers = [builder.inttoptr(value, byte) for value in values[:2]]
        builder.call(function, [*pointers, values[2], ir.Constant(I1, 0)])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), codegen


@njit
def append(block, window, rows, column, shift, old, kept, skipped, fresh):
    """In every row of a window of `old` columns of `column` bytes, columns shift to shift + kept move to the front, and behind them come
    those of the block (fresh in all) from `skipped` on, so that it has kept + fresh - skipped. block is a handle, window an address."""
    source = pointed(block)
    new = kept + fresh - skipped
    if kept and (shift or new != old):
        # rows that move down come first, from the last on; the others move up, from the first on: none is written over before it is read
        down = rows if new <= old else min(rows, -(-shift // (new - old)))
        for row in range(rows - 1, down - 1, -1):
            _move(window + row * new * column, window + (row * old + shift) * column, kept * column)
        for row in range(down):
            _move(window + row * new * column, window + (row * old + shift) * column, kept * column)
    length = (fresh - skipped) * column
    for row in range(rows):
        _move(window + (row * new + kept) * column, source + (row * fresh + skipped) * column, length)
