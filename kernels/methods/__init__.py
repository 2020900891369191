"""The engines, one a room: what each decides, how it divides a problem, its drivers and its own micro-kernels."""

import functools
import importlib
import pkgutil

from kernels.problem.errors import ProblemError
from kernels.runtime.completing import completed


@functools.cache  # to list files takes 1 ms, which every plan would
@completed
def load() -> None:
    """Import every method, which registers itself: a room's `method`, or all modules of a room of several. Done at the first plan, because
    Numba alone takes 0.4 s to import."""
    from numba.core import config

    if config.DISABLE_JIT:  # compiled code is all there is: micro-kernels have no meaning to Python
        raise ProblemError("NUMBA_DISABLE_JIT is set, and nothing here runs uncompiled; unset it")
    for room in sorted(room.name for room in pkgutil.iter_modules(__path__) if room.ispkg):
        package = importlib.import_module(f"{__name__}.{room}")
        modules = sorted(module.name for module in pkgutil.iter_modules(package.__path__))
        for module in ["method"] if "method" in modules else modules:
            importlib.import_module(f"{__name__}.{room}.{module}")
