"""The engines, one a room: what each decides, how it divides a problem, its drivers and its own micro-kernels."""

import functools
import importlib
import pkgutil


@functools.cache  # to list files takes 1 ms, which every plan would
def load() -> None:
    """Import every method, which registers itself: a room's `method`, or all modules of a room of several."""
    for room in sorted(room.name for room in pkgutil.iter_modules(__path__) if room.ispkg):
        package = importlib.import_module(f"{__name__}.{room}")
        modules = sorted(module.name for module in pkgutil.iter_modules(package.__path__))
        for module in ["method"] if "method" in modules else modules:
            importlib.import_module(f"{__name__}.{room}.{module}")
