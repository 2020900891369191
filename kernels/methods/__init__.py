"""The engines, one a room: what each decides, how it divides a problem, its drivers and its own micro-kernels."""

import importlib
import pkgutil

LAST = "lowered"  # made of what the other rooms hold


def load() -> None:
    """Import every method, which registers itself: a room's `method`, or all modules of a room of several."""
    rooms = sorted((room.name for room in pkgutil.iter_modules(__path__) if room.ispkg), key=lambda name: (name == LAST, name))
    for room in rooms:
        package = importlib.import_module(f"{__name__}.{room}")
        modules = sorted(module.name for module in pkgutil.iter_modules(package.__path__))
        for module in ["method"] if "method" in modules else modules:
            importlib.import_module(f"{__name__}.{room}.{module}")
