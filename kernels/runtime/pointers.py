"""What compiled drivers do with addresses: follow an array's handle, count tasks."""

from __future__ import annotations

from typing import Any

from numba.core import cgutils, types
from numba.extending import intrinsic

from kernels.runtime.ir import I64, i64


@intrinsic
def write_index(typing_context: Any, address: Any, value: Any) -> Any:
    """Put an int64 at an address."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        builder.store(values[1], builder.inttoptr(values[0], I64.as_pointer()), align=8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@intrinsic
def pointed(typing_context: Any, handle: Any) -> Any:
    """The data pointer that an array keeps where `scratch.handle` says; 0 of 0."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        result = cgutils.alloca_once_value(builder, i64(0))
        with builder.if_then(builder.icmp_signed("!=", values[0], i64(0))):
            builder.store(builder.load(builder.inttoptr(values[0], I64.as_pointer()), align=8), result)
        return builder.load(result)

    return types.int64(types.int64), codegen


@intrinsic
def read_number(typing_context: Any, address: Any, like: Any) -> Any:
    """The number at an address, of the type of `like`."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = context.get_data_type(like)
        return context.unpack_value(builder, like, builder.inttoptr(values[0], kind.as_pointer()))

    return like(types.int64, like), codegen


@intrinsic
def write_number(typing_context: Any, address: Any, value: Any) -> Any:
    """Put a number at an address, in its own type."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = context.get_data_type(value)
        context.pack_value(builder, value, values[1], builder.inttoptr(values[0], kind.as_pointer()))
        return context.get_dummy_value()

    return types.void(types.int64, value), codegen
