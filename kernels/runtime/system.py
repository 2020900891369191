"""What the system reports of the hardware, data caches, memory, fast cores: Linux by its files, macOS by sysctl, Windows by calls."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import platform
import struct
import sys
from pathlib import Path

ENTRY = struct.Struct("@QI4xBBHII4x")  # SYSTEM_LOGICAL_PROCESSOR_INFORMATION of a cache: mask, relation; level, ways, line, bytes, type
CACHE, INSTRUCTIONS = 2, 1  # a relation, a type of cache


@functools.cache
def cache_bytes() -> dict[int, int]:
    """Data cache sizes by level, in bytes, of a core (macOS: a fast one, whose second level is shared by its cluster); those that the
    system reports."""
    if sys.platform == "darwin":
        found = {level: _of_fast_core(name) for level, name in ((1, "l1dcachesize"), (2, "l2cachesize"), (3, "l3cachesize"))}
        return {level: size for level, size in found.items() if size}
    if sys.platform == "win32":
        with contextlib.suppress(OSError, AttributeError, struct.error):
            return windows_caches(_processor_information())
        return {}
    sizes: dict[int, int] = {}
    for index in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        with contextlib.suppress(OSError, ValueError):
            if (index / "type").read_text().strip() != "Instruction":
                text = (index / "size").read_text().strip()
                unit = {"K": 1024, "M": 1024**2}.get(text[-1], 1)
                sizes[int((index / "level").read_text())] = int(text.rstrip("KM")) * unit
    return sizes


@functools.cache
def tiles_permitted() -> bool:
    """Whether threads of this process may use AMX's registers: one system call of Linux permits it
    (`arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)`), for threads that there are and that will be, also of forked children."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return False
    arch_prctl, request, tile_data = 158, 0x1023, 18
    return bool(ctypes.CDLL(None).syscall(arch_prctl, request, tile_data) == 0)


@functools.cache
def physical_memory() -> int | None:
    """Bytes of memory; None where the system does not tell."""
    if sys.platform == "win32":
        with contextlib.suppress(OSError, AttributeError):
            return _windows_memory()
        return None
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return sysctl("hw.memsize") or None


def fast_cores() -> int | None:
    """Of an Apple processor the cores that compute fast, as PyTorch counts them too; None elsewhere."""
    return (_of_fast_core("physicalcpu") or None) if sys.platform == "darwin" else None


def _of_fast_core(name: str) -> int:
    return sysctl(f"hw.perflevel0.{name}") or sysctl(f"hw.{name}")


def sysctl(name: str) -> int:
    """A number of macOS's by its name; 0 where there is none."""
    value, size = ctypes.c_uint64(0), ctypes.c_size_t(8)
    try:
        call = ctypes.CDLL(None).sysctlbyname
        failed = call(name.encode(), ctypes.byref(value), ctypes.byref(size), None, ctypes.c_size_t(0))
    except (OSError, AttributeError, TypeError):
        return 0
    return 0 if failed else int(value.value)  # numbers of four bytes fill the lower half: these processors are little-endian


def _processor_information() -> bytes:
    library = ctypes.WinDLL("kernel32")  # type: ignore[attr-defined, unused-ignore]
    size = ctypes.c_ulong(0)
    library.GetLogicalProcessorInformation(None, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    if not library.GetLogicalProcessorInformation(buffer, ctypes.byref(size)):
        raise OSError("GetLogicalProcessorInformation failed")
    return buffer.raw[: size.value]


def windows_caches(table: bytes) -> dict[int, int]:
    """Data cache sizes by level from the table that GetLogicalProcessorInformation fills: of each level the largest."""
    sizes: dict[int, int] = {}
    for _, relation, level, _, _, nbytes, kind in ENTRY.iter_unpack(table[: len(table) // ENTRY.size * ENTRY.size]):
        if relation == CACHE and kind != INSTRUCTIONS:
            sizes[level] = max(sizes.get(level, 0), nbytes)
    return sizes


def _windows_memory() -> int:
    library = ctypes.WinDLL("kernel32")  # type: ignore[attr-defined, unused-ignore]
    status = ctypes.create_string_buffer(struct.pack("<II7Q", 64, 0, *[0] * 7), 64)  # MEMORYSTATUSEX, which begins with its own size
    if not library.GlobalMemoryStatusEx(status):
        raise OSError("GlobalMemoryStatusEx failed")
    return int(struct.unpack("<II7Q", status.raw)[2])
