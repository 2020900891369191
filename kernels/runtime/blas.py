"""Bounds the threads of matrix products to what a call was given: NumPy's, and SciPy's, which Numba's `np.dot` calls.

The wheels of both carry an OpenBLAS of their own, whose thread count is one number per process: `openblas_set_num_threads_local` writes
that same number in builds on POSIX threads, which the wheels are. So calls in flight share it: the smallest bound holds for all of them,
and the number found by the first is restored by the last. Where they are not linked to OpenBLAS (MKL, Accelerate, a reference BLAS,
Windows' loader) nothing is bounded, and BLAS keeps whatever its own environment variable says.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib
from collections.abc import Callable

from kernels.runtime.locks import in_children, lock

_NAMES = ("scipy_openblas_{}_num_threads64_", "scipy_openblas_{}_num_threads", "openblas_{}_num_threads64_", "openblas_{}_num_threads")

_CALLERS = {"numpy": "numpy._core._multiarray_umath", "scipy": "scipy.linalg.cython_blas"}

_lock = lock()
_bounds: dict[str, list[int]] = {owner: [] for owner in _CALLERS}  # one per call in flight
_found: dict[str, list[int]] = {owner: [] for owner in _CALLERS}  # the thread count before the first of them


@functools.cache
def openblas(owner: str) -> tuple[Callable[[], int], Callable[[int], None]] | None:
    """(get, set) of the thread count of the OpenBLAS that "numpy" or "scipy" calls, or None where it calls another BLAS."""
    try:
        # a symbol is looked up in the module's dependencies too, so this finds the library that is called, wherever it lies
        # (PyDLL: both functions only touch an integer, so giving up the interpreter's lock, 0.6 us a call, would be waste)
        library = ctypes.PyDLL(str(importlib.import_module(_CALLERS[owner]).__file__))
    except (ImportError, OSError):
        return None
    for name in _NAMES:
        with contextlib.suppress(AttributeError):
            return getattr(library, name.format("get")), getattr(library, name.format("set"))
    return None


class bounded:
    """`with bounded(threads):` matrix products inside use at most `threads` threads, never more than before. Thread-safe."""

    __slots__ = ("_bounds", "_control", "_found", "_threads")

    def __init__(self, threads: int, owner: str = "numpy") -> None:
        self._threads = threads
        self._control = openblas(owner)
        self._bounds, self._found = _bounds[owner], _found[owner]

    # The handler of a signal may make such a call between any two of these lines; their order leaves it and this call right.
    def __enter__(self) -> None:
        if self._control:
            get, put = self._control
            with _lock:
                before = get()
                self._bounds.append(self._threads)
                if not self._found:
                    self._found.append(before)
                put(min(self._bounds + self._found))

    def __exit__(self, *_: object) -> None:
        if self._control:
            with _lock:
                if self._threads in self._bounds:  # but in a child that was forked inside
                    self._bounds.remove(self._threads)
                if left := self._bounds + self._found:
                    self._control[1](min(left))
                if not self._bounds:
                    self._found.clear()


def _end_calls() -> None:
    """In a forked child, where the other threads' calls are not in flight."""
    for owner, found in _found.items():
        control = openblas(owner) if found else None
        if control:
            control[1](found[0])
        _bounds[owner].clear()
        found.clear()


in_children(_end_calls)
