"""What this machine has: vector width, caches, cores. Everything can be overridden for tests with `pretend(...)`.

The vector width follows the CPU features that Numba compiles for (NUMBA_CPU_FEATURES included), because code wider than what the
compiler may use would be split, and code narrower would leave half of each register idle.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
from collections.abc import Iterator
from pathlib import Path


@dataclasses.dataclass(frozen=True, eq=False)  # compared by identity, which costs tables of recent calls nothing
class Machine:
    """vector_bytes: width of a vector register; registers: how many; l1, l2, l3: bytes of data cache (l1 and l2 per core, l3 in all)."""

    vector_bytes: int
    registers: int
    l1: int
    l2: int
    l3: int

    def lanes(self, itemsize: int) -> int:
        """Elements of `itemsize` bytes in one vector register."""
        return self.vector_bytes // itemsize


def _cache_bytes() -> dict[int, int]:
    """Data cache sizes by level, in bytes, as Linux reports them for core 0; empty elsewhere."""
    sizes: dict[int, int] = {}
    for index in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        with contextlib.suppress(OSError, ValueError):
            if (index / "type").read_text().strip() != "Instruction":
                text = (index / "size").read_text().strip()
                unit = {"K": 1024, "M": 1024**2}.get(text[-1], 1)
                sizes[int((index / "level").read_text())] = int(text.rstrip("KM")) * unit
    return sizes


def cpu() -> tuple[str, str]:
    """Name and feature string of the CPU that Numba compiles for."""
    import llvmlite.binding as llvm  # 0.1 s; nothing at import of the library needs it
    from numba.core import config

    name = config.CPU_NAME or llvm.get_host_cpu_name()
    features = config.CPU_FEATURES if config.CPU_FEATURES is not None else llvm.get_host_cpu_features().flatten()
    return name, features


@functools.cache
def _detected() -> Machine:
    features = {word[1:] for word in cpu()[1].split(",") if word.startswith("+")}
    if "avx512f" in features:
        vector_bytes, registers = 64, 32
    elif "avx2" in features and "fma" in features:
        vector_bytes, registers = 32, 16
    else:  # SSE2 or NEON; NEON has 32 registers, SSE2 has 16: the smaller count is safe on both
        vector_bytes, registers = 16, 32 if "neon" in features else 16
    caches = _cache_bytes()
    return Machine(vector_bytes, registers, caches.get(1, 32 << 10), caches.get(2, 512 << 10), caches.get(3, 8 << 20))


_pretended: list[Machine] = []


def machine() -> Machine:
    """The machine to compile for."""
    return _pretended[-1] if _pretended else _detected()


@contextlib.contextmanager
def pretend(**changes: int) -> Iterator[Machine]:
    """Plans made inside the block are made for another machine, e.g. `pretend(vector_bytes=16)`. For tests; not thread-safe."""
    _pretended.append(dataclasses.replace(machine(), **changes))
    try:
        yield _pretended[-1]
    finally:
        _pretended.pop()


def cache_folder() -> Path:
    """Where compiled code and measurements are kept: $KERNELS_CACHE_DIR, else a folder among the user's caches."""
    home = os.environ.get("KERNELS_CACHE_DIR")
    return Path(home) if home else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spectroconv"


def memory() -> int:
    """Bytes of physical memory; where the system does not tell, more than any machine has."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 1 << 62


def cores() -> int:
    """Cores this process may use (its affinity mask), at most what Numba was given at start."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        return min(available, int(os.environ["NUMBA_NUM_THREADS"]))
    except (KeyError, ValueError):
        return available
