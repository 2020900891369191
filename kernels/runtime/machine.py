"""What this machine has: vector width, caches, cores. Everything can be overridden for tests with `pretend(...)`.

The vector width follows the CPU features that Numba compiles for (NUMBA_CPU_FEATURES included), because code wider than what the
compiler may use would be split, and code narrower would leave half of each register idle.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import platform
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from kernels.runtime import system
from kernels.runtime.completing import completed

P = ParamSpec("P")
T = TypeVar("T")

SHARED = 128 << 20  # of a larger last cache others have their part: of 480 MB, 64 were read at 26 GB/s a core, 128 at 18, 256 at 15


@dataclasses.dataclass(frozen=True, eq=False)  # compared by identity, which costs tables of recent calls nothing
class Machine:
    """vector_bytes: width of a vector register; registers: how many; l1, l2, l3: bytes of data cache (l1 and l2 per core, l3 in all, as
    far as one process may count on it); mesh: cores reach the last cache over a mesh, at two thirds of the rate of a few that share one;
    bfloat16: what multiplies pairs of bfloat16: "avx512_bf16", "" nothing, or for tests "float32", which any CPU has. matrices: what
    multiplies matrices of such pairs: "amx", where the system permits it (`system.tiles_permitted`), "", or for tests "float32"."""

    vector_bytes: int
    registers: int
    l1: int
    l2: int
    l3: int
    mesh: bool = False
    bfloat16: str = ""
    matrices: str = ""

    @property
    def by_element(self) -> bool:
        """Whether a multiply-add takes one lane of a register for every lane, as NEON's does, which alone has 32 registers of 16 bytes."""
        return self.vector_bytes == 16 and self.registers == 32

    def lanes(self, itemsize: int) -> int:
        """Elements of `itemsize` bytes in one vector register."""
        return self.vector_bytes // itemsize


@completed
def cpu() -> tuple[str, str]:
    """Name and feature string of the CPU that Numba compiles for."""
    import llvmlite.binding as llvm  # 0.1 s; nothing at import of the library needs it
    from numba.core import config

    name = config.CPU_NAME or llvm.get_host_cpu_name()
    if config.CPU_FEATURES is not None:
        return name, config.CPU_FEATURES
    try:
        features = llvm.get_host_cpu_features().flatten()
    except RuntimeError:  # LLVM cannot tell, which it says by an error or by an empty list, on macOS for one
        features = ""
    return name, features


@functools.cache
def _detected() -> Machine:
    name, listed = cpu()
    features = {word[1:] for word in listed.split(",") if word.startswith("+")}
    if "avx512f" in features:
        vector_bytes, registers = 64, 32
    elif "avx2" in features and "fma" in features:
        vector_bytes, registers = 32, 16
    else:  # every aarch64 has NEON, also where no feature is told
        vector_bytes, registers = 16, 32 if platform.machine().lower() in ("aarch64", "arm64") else 16
    caches = system.cache_bytes()
    l2 = caches.get(2, 512 << 10)
    mesh = vector_bytes == 64 and l2 >= 1 << 20 and not name.startswith("znver")  # Intel's servers since Skylake
    bfloat16 = "avx512_bf16" if vector_bytes == 64 and "avx512bf16" in features else ""
    matrices = "amx" if bfloat16 and {"amx-tile", "amx-bf16"} <= features else ""
    return Machine(vector_bytes, registers, caches.get(1, 32 << 10), l2, min(caches.get(3, 8 << 20), SHARED), mesh, bfloat16, matrices)


_pretended: list[Machine] = []


def machine() -> Machine:
    """The machine to compile for."""
    return _pretended[-1] if _pretended else _detected()


def remembered(function: Callable[P, T]) -> Callable[P, T]:
    """Remember results for recent arguments on this machine: what depends on both, such as the cut of a problem."""
    known: Any = functools.lru_cache(maxsize=512)(lambda _, *args, **options: function(*args, **options))

    @functools.wraps(function)
    def recall(*args: P.args, **options: P.kwargs) -> T:
        return known(machine(), *args, **options)  # type: ignore[no-any-return]

    return recall


@contextlib.contextmanager
def pretend(**changes: Any) -> Iterator[Machine]:
    """Plans made inside the block are made for another machine, e.g. `pretend(vector_bytes=16)`. For tests; not thread-safe."""
    _pretended.append(dataclasses.replace(machine(), **changes))
    try:
        yield _pretended[-1]
    finally:
        _pretended.pop()


def memory() -> int:
    """Bytes that this process may use: physical memory or, where it is less, what its control groups allow (read once); where the system
    reports neither, more than any machine has."""
    return min(system.physical_memory() or 1 << 62, memory_limit())


def _groups(root: Path) -> Iterator[tuple[str, Path]]:
    """(controllers, folder) of each control group of this process and of those above it, of both versions (man 7 cgroups); the second
    version names no controllers."""
    with contextlib.suppress(OSError, ValueError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, group = line.split(":", 2)
            top = root / "sys/fs/cgroup" / next((name for name in controllers.split(",") if name in ("memory", "cpu")), controllers)
            group = group.strip("/")
            for above in (group, *map(str, Path(group).parents)):  # in a container the group may lie at the top under its own name
                yield controllers, top / above


def _numbers(file: Path) -> list[int]:
    """Numbers that a file begins with; empty if there is no such file, or "max" in it."""
    with contextlib.suppress(OSError, ValueError):
        return [int(word) for word in file.read_text().split()]
    return []


@functools.cache
def memory_limit(root: Path = Path("/")) -> int:
    """Bytes: the least of the memory limits of this process's control groups and those above them."""
    limits = [1 << 62]
    for controllers, folder in _groups(root):
        if not controllers or "memory" in controllers.split(","):
            limits += _numbers(folder / ("memory.limit_in_bytes" if controllers else "memory.max"))[:1]
    return min(limits)


@functools.cache
def quota(root: Path = Path("/")) -> float:
    """Cores' worth of time that this process's control groups allow, read once. More threads than that are worse than fewer: all of them
    are stopped together in mid-call."""
    limits = [float("inf")]
    for controllers, folder in _groups(root):
        numbers = _numbers(folder / "cpu.max")
        if "cpu" in controllers.split(","):
            numbers = _numbers(folder / "cpu.cfs_quota_us") + _numbers(folder / "cpu.cfs_period_us")
        if len(numbers) == 2 and min(numbers) > 0:
            limits.append(numbers[0] / numbers[1])
    return min(limits)


def cores() -> int:
    """Threads that calls use: cores in this process's affinity mask (of an Apple processor the fast ones), at most what its control groups
    allow, NUMBA_NUM_THREADS says, or `numba.set_num_threads` in this Python thread."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else system.fast_cores() or os.cpu_count() or 1
    available = max(1, min(available, int(min(quota(), available))))
    with contextlib.suppress(KeyError, ValueError):
        available = max(1, min(available, int(os.environ["NUMBA_NUM_THREADS"])))
    numba_threads = sys.modules.get("numba.np.ufunc.parallel")
    if numba_threads is not None and numba_threads._is_initialized:  # reading it starts Numba's threads, which set_num_threads has done
        available = min(available, numba_threads._get_num_threads())
    return available
