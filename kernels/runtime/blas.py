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
_held = {owner: [0, 0] for owner in _CALLERS}  # thread count before the first of them, and now


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

    __slots__ = ("_bounds", "_control", "_held", "_threads")

    def __init__(self, threads: int, owner: str = "numpy") -> None:
        self._threads = threads
        self._control = openblas(owner)
        self._bounds, self._held = _bounds[owner], _held[owner]

    def __enter__(self) -> None:
        if self._control:
            get, put = self._control
            with _lock:
                if not self._bounds:
                    self._held[:] = [get()] * 2
                self._bounds.append(self._threads)
                if self._threads < self._held[1]:
                    self._held[1] = self._threads
                    put(self._threads)

    def __exit__(self, *_: object) -> None:
        if self._control:
            with _lock:
                self._bounds.remove(self._threads)
                number = min(self._held[0], *self._bounds) if self._bounds else self._held[0]
                if number != self._held[1]:
                    self._held[1] = number
                    self._control[1](number)


def _end_calls() -> None:
    """In a forked child, where the other threads' calls are not in flight."""
    for owner, calls in _bounds.items():
        control = openblas(owner) if calls else None
        if control:
            control[1](_held[owner][0])
        calls.clear()


in_children(_end_calls)
