"""The one way the library compiles: `njit` for helpers, `address` for micro-kernels; `regions` for tasks that run on several threads.

Flags, each with its reason. nogil: plans are called from several Python threads. error_model="numpy": no branch before each division.
fastmath stays off: NaN and inf must stay where they are and sums keep their order. boundscheck stays off: drivers hand out addresses,
and every index is derived from a validated problem.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numba
from numba import types
from numba.core.compiler_lock import global_compiler_lock

from kernels.runtime.code_library import IntoCode, IntoPart
from kernels.runtime.completing import completed
from kernels.runtime.disk_cache import DiskCache
from kernels.runtime.locks import waits_for

_FLAGS = {"nogil": True, "error_model": "numpy"}

waits_for(global_compiler_lock)


def njit(function: Callable[..., Any], *, apart: bool = False, counts: bool = False) -> Any:
    """Compile for the CPU with the library's flags and disk cache. `apart`: nothing that an argument points to is written by way of another
    or by what is called, so that fields of records are read once, not after each call of a micro-kernel (fft's tasks take a tenth less).
    counts: who refers to an array is counted, as NumPy's functions want in compiled code; what only reads and writes its caller's arrays is
    compiled and loaded sooner without.

    Python's way into compiled code, and C's, are functions of their own, which take as long to compile as a small helper itself: each use
    has a dispatcher that makes the one it needs. The result is Python's; what compiled code calls, and `address`, go to the others."""
    made = functools.partial(_dispatcher, function, apart, counts)
    dispatcher = made("python")
    dispatcher.of_use = functools.cache(made)
    dispatcher.get_call_template = functools.partial(_once, dispatcher)
    dispatcher.get_overload = lambda signature: dispatcher.of_use("compiled").get_overload(signature)
    return dispatcher


def _dispatcher(function: Callable[..., Any], apart: bool, counts: bool, use: str) -> Any:
    """Numba's dispatcher of a function for one use: "python" or "c" call it, or "native" code by its address, or it becomes part of
    "compiled" code."""
    dispatcher = numba.njit(pipeline_class=IntoPart if use == "compiled" else IntoCode, **_FLAGS)(function)
    dispatcher._cache = DiskCache(function, use, counts)
    dispatcher._compiler._customize_flags = functools.partial(_customised, apart, counts, use)
    if use == "python":
        dispatcher.compile = completed(dispatcher.compile)  # a call that finds nothing compiled for its arguments comes here
    return dispatcher


def _customised(apart: bool, counts: bool, use: str, flags: Any) -> Any:
    """Numba's flags with what no option of njit says."""
    flags.noalias = apart or flags.noalias  # as Numba's own parallel loops are compiled
    flags.nrt = counts
    flags.no_cpython_wrapper, flags.no_cfunc_wrapper = use != "python", use != "c"
    return flags


def _once(dispatcher: Any, args: tuple[Any, ...], keywords: Any) -> Any:
    """Numba's template of a call by compiled code, of arguments' types without the value of those that are written as numbers: f(0) and
    f(i) are compiled once, not each for itself."""
    plain = tuple(arg.literal_type if isinstance(arg, types.IntegerLiteral) else arg for arg in args)
    return dispatcher.of_use("compiled").get_call_template(plain, keywords)


def inlined(function: Callable[..., Any]) -> Any:
    """What is compiled into every function that calls it."""
    return numba.njit(inline="always", **_FLAGS)(function)


@completed
def address(dispatcher: Any, literals: tuple[int, ...], signature: tuple[Any, ...]) -> int:
    """Address of the C function that `dispatcher` becomes for these leading literal integers and the given types of the rest.

    Literals reach the compiler as types, so they are part of the cache key. The C function takes the literals too (as int64, ignored).
    """
    full = (*(types.literal(value) for value in literals), *signature)
    dispatcher = dispatcher.of_use("c")
    dispatcher.compile(full)
    result = dispatcher.overloads[full]
    return int(result.library.get_pointer_to_function(result.fndesc.llvm_cfunc_wrapper_name))


def entry(dispatcher: Any, *args: Any) -> Callable[..., Any]:
    """Compile for arguments of the types of these; the result skips the look-up by type. **Warning**: arguments of other types are
    misread."""
    return entry_of(dispatcher, tuple(map(numba.typeof, args)))


@completed
def entry_of(dispatcher: Any, signature: tuple[Any, ...]) -> Callable[..., Any]:
    """The same for types."""
    dispatcher.compile(signature)
    return dispatcher.overloads[signature].entry_point  # type: ignore[no-any-return]


@completed
def code(dispatcher: Any, signature: tuple[Any, ...]) -> int:
    """Address of what `dispatcher` becomes for these types, by Numba's own calling convention."""
    dispatcher = dispatcher.of_use("native")
    dispatcher.compile(signature)
    result = dispatcher.overloads[signature]
    return int(result.library.get_pointer_to_function(result.fndesc.llvm_func_name))
