"""Moving whole runs of bytes in compiled code."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic


@intrinsic
def copy_bytes(typing_context: Any, to: Any, source: Any, count: Any) -> Any:
    """Copy so many bytes between addresses that do not overlap. A loop of `read_number` and `write_number` moves one number at a time,
    because the compiler cannot know that they do not."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        to, source = (builder.inttoptr(value, ir.IntType(8).as_pointer()) for value in values[:2])
        cgutils.raw_memcpy(builder, to, source, values[2], 1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), codegen


@intrinsic
def clear_bytes(typing_context: Any, to: Any, count: Any) -> Any:
    """Set so many bytes from an address on to zero."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        cgutils.memset(builder, builder.inttoptr(values[0], ir.IntType(8).as_pointer()), values[1], 0)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen
