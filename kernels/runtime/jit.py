"""The one way the library compiles: `njit` for helpers, `address` for micro-kernels; `regions` for tasks that run on several threads.

Flags, each with its reason. nogil: plans are called from several Python threads. error_model="numpy": no branch before each division.
fastmath stays off: NaN and inf must stay where they are and sums keep their order. boundscheck stays off: drivers hand out addresses,
and every index is derived from a validated problem.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

import numba
from numba import types

from kernels.runtime.disk_cache import DiskCache

_FLAGS = {"nogil": True, "error_model": "numpy"}

compiling = threading.RLock()  # Numba's compiler serves one thread at a time


def njit(function: Callable[..., Any], *, apart: bool = False) -> Any:
    """Compile for the CPU with the library's flags and disk cache. `apart`: nothing that an argument points to is written by way of another
    or by what is called, so that fields of records are read once, not after each call of a micro-kernel (fft's tasks take a tenth less)."""
    dispatcher = numba.njit(**_FLAGS)(function)
    dispatcher._cache = DiskCache(function)
    dispatcher.get_call_template = functools.partial(_once, dispatcher.get_call_template)
    if apart:
        dispatcher._compiler._customize_flags = _apart  # as Numba's own parallel loops are compiled; no option of njit says it
    return dispatcher


def _once(template: Callable[..., Any], args: tuple[Any, ...], keywords: Any) -> Any:
    """Numba's `template` of a call, of arguments' types without the value of those that are written as numbers: f(0) and f(i) are compiled
    once, not each for itself."""
    return template(tuple(arg.literal_type if isinstance(arg, types.IntegerLiteral) else arg for arg in args), keywords)


def _apart(flags: Any) -> Any:
    flags.noalias = True
    return flags


def inlined(function: Callable[..., Any]) -> Any:
    """What is compiled into every function that calls it."""
    return numba.njit(inline="always", **_FLAGS)(function)


def address(dispatcher: Any, literals: tuple[int, ...], signature: tuple[Any, ...]) -> int:
    """Address of the C function that `dispatcher` becomes for these leading literal integers and the given types of the rest.

    Literals reach the compiler as types, so they are part of the cache key. The C function takes the literals too (as int64, ignored).
    """
    full = (*(types.literal(value) for value in literals), *signature)
    with compiling:
        dispatcher.compile(full)
        result = dispatcher.overloads[full]
        return int(result.library.get_pointer_to_function(result.fndesc.llvm_cfunc_wrapper_name))


def entry(dispatcher: Any, *args: Any) -> Callable[..., Any]:
    """Compile for arguments of the types of these; the result skips the look-up by type. **Warning**: arguments of other types are
    misread."""
    signature = tuple(map(numba.typeof, args))
    with compiling:
        dispatcher.compile(signature)
        return dispatcher.overloads[signature].entry_point  # type: ignore[no-any-return]


def code(dispatcher: Any, signature: tuple[Any, ...]) -> int:
    """Address of what `dispatcher` becomes for these types, by Numba's own calling convention."""
    with compiling:
        dispatcher.compile(signature)
        result = dispatcher.overloads[signature]
        return int(result.library.get_pointer_to_function(result.fndesc.llvm_func_name))
