"""The one way the library compiles: `njit` for helpers, `Region` for loops that run on several threads, `address` for micro-kernels.

Flags, each with its reason. nogil: plans are called from several Python threads. error_model="numpy": no branch before each division.
fastmath stays off: NaN and inf must stay where they are and sums keep their order. boundscheck stays off: drivers hand out addresses,
and every index is derived from a validated problem.
"""

from __future__ import annotations

import os
import threading
import types as python_types
from collections.abc import Callable
from typing import Any

import numba
from numba import types
from numba.np.ufunc import parallel as numba_parallel

from kernels.runtime.disk_cache import DiskCache

_FLAGS = {"nogil": True, "error_model": "numpy"}

_workqueue = threading.Lock()
_compiling = threading.RLock()
_state = {"launched": False, "forked": False, "layer": ""}


def _after_fork() -> None:
    # libgomp ends a forked child at its first region if the parent had one, so such a child stays serial
    _state["forked"] = _state["launched"]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _named(function: Any, suffix: str) -> Any:
    """A second function object of the same code: Numba marks the object it compiles, and two builds must not share it."""
    name = function.__name__ + suffix
    twin = python_types.FunctionType(function.__code__, function.__globals__, name, function.__defaults__, function.__closure__)
    twin.__module__, twin.__qualname__, twin.__doc__ = function.__module__, function.__qualname__, function.__doc__
    return twin


def _dispatcher(function: Any, variant: str, **flags: bool) -> Any:
    dispatcher = numba.njit(**_FLAGS, **flags)(function)
    dispatcher._cache = DiskCache(function, variant)
    return dispatcher


def njit(function: Callable[..., Any]) -> Any:
    """Compile for the CPU with the library's flags and disk cache; serial."""
    return _dispatcher(function, "serial")


def maximum_threads() -> int:
    """Threads that Numba was started with."""
    return int(numba.config.NUMBA_NUM_THREADS)


def threading_layer() -> str:
    """Start Numba's threads if need be; "omp", "tbb" or "workqueue"."""
    if not _state["layer"]:
        numba_parallel._launch_threads()
        _state["layer"] = numba.threading_layer()
    return str(_state["layer"])


class Region:
    """A function whose `prange` loop runs on several threads, or on one.

    `region(threads, *args)` takes the parallel build only where that is safe and of use: a serial one serves threads=1, a forked child
    of a process that had threads, and a caller that meets another in Numba's workqueue, which aborts the process on a second entry.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._parallel = _dispatcher(_named(function, "_parallel"), "parallel", parallel=True)
        self._serial = _dispatcher(_named(function, "_serial"), "serial")
        self.__doc__ = function.__doc__

    def __call__(self, threads: int, *args: Any) -> Any:
        return _launch(min(threads, maximum_threads()), self._parallel, self._serial, args)

    def ready(self, threads: int, *args: Any) -> Callable[..., Any]:
        """Compile for arguments of the types of these; the result is called with all of `args` anew and skips the look-up by type, which
        takes 60 us where a record is among them. **Warning**: arguments of other types are misread."""
        signature = tuple(numba.typeof(argument) for argument in args)
        serial, threads = _Late(self._serial, signature), min(threads, maximum_threads())
        if threads <= 1:
            return serial.entry()
        parallel = _Late(self._parallel, signature).entry()
        return lambda *values: _launch(threads, parallel, serial, values)


class _Late:
    """One build for one signature, compiled when it is first wanted."""

    def __init__(self, dispatcher: Any, signature: tuple[Any, ...]) -> None:
        self._dispatcher, self._signature = dispatcher, signature
        self._entry: Callable[..., Any] | None = None

    def entry(self) -> Callable[..., Any]:
        if self._entry is None:
            with _compiling:
                self._dispatcher.compile(self._signature)
                self._entry = self._dispatcher.overloads[self._signature].entry_point
        return self._entry

    def __call__(self, *args: Any) -> Any:
        return (self._entry or self.entry())(*args)


def _launch(threads: int, parallel: Callable[..., Any], serial: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """Run one of the two builds; see `Region`."""
    if threads <= 1 or _state["forked"]:
        return serial(*args)
    if (_state["layer"] or threading_layer()) != "workqueue":
        return _on(threads, parallel, args)
    if not _workqueue.acquire(blocking=False):
        return serial(*args)
    try:
        return _on(threads, parallel, args)
    finally:
        _workqueue.release()


def _on(threads: int, parallel: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    _state["launched"] = True
    before = numba_parallel._get_num_threads()  # numba.get_num_threads takes locks first, 2 to 4 us of a launch's 10
    if before == threads:
        return parallel(*args)
    numba.set_num_threads(threads)
    try:
        return parallel(*args)
    finally:
        numba.set_num_threads(before)


def region(function: Callable[..., Any]) -> Region:
    """Decorator for `Region`."""
    return Region(function)


def address(dispatcher: Any, literals: tuple[int, ...], signature: tuple[Any, ...]) -> int:
    """Address of the C function that `dispatcher` becomes for these leading literal integers and the given types of the rest.

    Literals reach the compiler as types, so they are part of the cache key. The C function takes the literals too (as int64, ignored).
    """
    full = (*(types.literal(value) for value in literals), *signature)
    with _compiling:
        dispatcher.compile(full)
        result = dispatcher.overloads[full]
        return int(result.library.get_pointer_to_function(result.fndesc.llvm_cfunc_wrapper_name))
