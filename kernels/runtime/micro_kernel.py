"""How micro-kernels are declared: their arguments are one NamedTuple, and nobody counts to nineteen.

    class Fill(NamedTuple):
        "One number again and again."
        lanes: Fixed  # of a vector
        itemsize: Fixed
        to: int  # address
        count: int  # whole vectors

    @emitter
    def _emit(w, p):                # p.lanes is an int, p.count a value of LLVM IR
        ...

    @njit
    def _fill(p):
        _emit(p, ())

    fill = address(_fill, Fill, lanes=16, itemsize=4)      # compiled for these; every other field is an int64
    call(fill, Fill(lanes=16, itemsize=4, to=…, count=…))  # in compiled code

A loop in compiled code around an emitter hands it what changes from turn to turn as a second record.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NewType

from numba.core import cgutils, types
from numba.extending import intrinsic

from kernels.runtime import jit
from kernels.runtime.ir import VectorBuilder

Fixed = NewType("Fixed", int)  # a field that is known when the micro-kernel is compiled: each value has code of its own


def fixed_fields(arguments: Any) -> tuple[str, ...]:
    """Names of the fields that are declared Fixed."""
    return tuple(name for name, kind in arguments.__annotations__.items() if getattr(kind, "__forward_arg__", "") == Fixed.__name__)


def address(dispatcher: Any, arguments: Any, **fixed: int) -> int:
    """Address of the C function that `dispatcher`, a function of one record of the class `arguments`, becomes for these values of its fixed
    fields. It takes all fields as int64s, and ignores the fixed ones. Raises TypeError unless exactly the fixed fields are given."""
    key = dispatcher, arguments, tuple(fixed.items())
    found = _addresses.get(key)
    if found is None:
        found = _addresses[key] = _compiled(dispatcher, arguments, fixed)
    return found


_addresses: dict[Any, int] = {}  # of what was compiled: a plan needs several, and Numba takes 0.1 ms to find one again


def _compiled(dispatcher: Any, arguments: Any, fixed: dict[str, int]) -> int:
    names = fixed_fields(arguments)
    if set(names) != set(fixed):
        raise TypeError(f"{arguments.__name__} is compiled for {', '.join(names)}, not for {', '.join(fixed)}")
    known: Any = types  # which mypy does not see into
    kinds = (known.literal(int(fixed[name])) if name in fixed else known.int64 for name in arguments._fields)
    return jit.address(dispatcher, (), (known.NamedTuple(tuple(kinds), arguments),))


def _values(builder: Any, kind: Any, value: Any) -> Any:
    """A tuple of compiled code as one of Python: ints where its type knows them, else values of LLVM IR."""
    items = cgutils.unpack_tuple(builder, value, len(kind))
    known = [one.literal_value if isinstance(one, types.IntegerLiteral) else item for one, item in zip(kind, items)]
    return kind.instance_class(*known) if hasattr(kind, "instance_class") else tuple(known)


def emitter(emit: Callable[..., None]) -> Any:
    """What compiled code calls to have `emit(w, p, *piece)` write its instructions there: w a VectorBuilder, p the micro-kernel's record,
    piece the second record or tuple, what changes from call to call of it."""

    @intrinsic(prefer_literal=True)
    def emitted(typing_context: Any, p: Any, piece: Any) -> Any:
        if not any(isinstance(kind, types.IntegerLiteral) for kind in p):
            return None  # Numba tries literals first, or second

        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            record, own = (_values(builder, kind, value) for kind, value in zip(signature.args, values))
            w = VectorBuilder(builder, record.lanes, record.itemsize)
            emit(w, record, *((own,) if hasattr(own, "_fields") else own))
            return context.get_dummy_value()

        return types.void(p, piece), codegen

    return functools.update_wrapper(emitted, emit)
