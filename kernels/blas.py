"""Bounds the threads of NumPy's matrix products to what a call was given.

NumPy's wheels carry OpenBLAS, whose thread count is one number per process: `openblas_set_num_threads_local` writes that same number
in builds on POSIX threads, which the wheels are. So calls in flight share it: the smallest bound holds for all of them, and the number
found by the first is restored by the last. Where NumPy is not linked to OpenBLAS (MKL, Accelerate, a reference BLAS, Windows' loader)
nothing is bounded, and BLAS keeps whatever its own environment variable says.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import threading
from collections.abc import Callable

import numpy as np

_NAMES = ("scipy_openblas_{}_num_threads64_", "scipy_openblas_{}_num_threads", "openblas_{}_num_threads64_", "openblas_{}_num_threads")

_lock = threading.Lock()
_bounds: list[int] = []  # one per call in flight
_held = [0, 0]  # thread count before the first of them, and now


@functools.cache
def openblas() -> tuple[Callable[[], int], Callable[[int], None]] | None:
    """(get, set) of OpenBLAS's thread count, or None where NumPy is not linked to OpenBLAS."""
    try:
        # a symbol is looked up in the module's dependencies too, so this finds the library that NumPy calls, wherever it lies
        # (PyDLL: both functions only touch an integer, so giving up the interpreter's lock, 0.6 us a call, would be waste)
        library = ctypes.PyDLL(np._core._multiarray_umath.__file__)  # type: ignore[attr-defined]
    except (AttributeError, OSError):
        return None
    for name in _NAMES:
        with contextlib.suppress(AttributeError):
            return getattr(library, name.format("get")), getattr(library, name.format("set"))
    return None


class bounded:
    """`with bounded(threads):` matrix products inside use at most `threads` threads, never more than before. Thread-safe."""

    __slots__ = ("_control", "_threads")

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._control = openblas()

    def __enter__(self) -> None:
        if self._control:
            get, put = self._control
            with _lock:
                if not _bounds:
                    _held[:] = [get()] * 2
                _bounds.append(self._threads)
                if self._threads < _held[1]:
                    _held[1] = self._threads
                    put(self._threads)

    def __exit__(self, *_: object) -> None:
        if self._control:
            with _lock:
                _bounds.remove(self._threads)
                number = min(_held[0], *_bounds) if _bounds else _held[0]
                if number != _held[1]:
                    _held[1] = number
                    self._control[1](number)
