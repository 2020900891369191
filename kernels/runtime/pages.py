"""Memory in pages of its own, large ones where Linux gives them.

A pass over an array of many pages of 4 KB waits for the table of pages more than for memory, on a virtual machine most of all, where each
entry is looked up through the tables of two systems. The C library's heap has small pages, and keeps holes between what lives long.
"""

from __future__ import annotations

import contextlib
import mmap

import numpy as np

LARGE = 2 << 20  # bytes of a large page
ALIGNMENT = 64  # a cache line and an AVX-512 vector


def pages(nbytes: int) -> np.ndarray:
    """Uninitialised bytes that begin a large page; what fills no large page lies in small ones. Where the system gives no large pages they
    begin a cache line. Raises MemoryError."""
    if not hasattr(mmap, "MADV_HUGEPAGE"):  # no Linux
        raw = np.empty(nbytes + ALIGNMENT, np.uint8)
        return np.frombuffer(raw.data, np.uint8, nbytes, -raw.ctypes.data % ALIGNMENT)
    try:
        memory = mmap.mmap(-1, nbytes + LARGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)  # what nobody touches is none
    except (OSError, OverflowError) as error:
        raise MemoryError(f"the system has no {nbytes:,} bytes") from error
    start = -np.frombuffer(memory, np.uint8).ctypes.data % LARGE
    whole = nbytes // LARGE * LARGE
    with contextlib.suppress(OSError):  # a system without large pages
        if whole:
            memory.madvise(mmap.MADV_HUGEPAGE, start, whole)
    return np.frombuffer(memory, np.uint8, nbytes, start)


def give_back(array: np.ndarray, start: int, stop: int) -> int:
    """Let the system have the large pages that lie wholly in these bytes of what `pages` gave, and say how many bytes they are; whoever
    touches them again gets others."""
    view = array.base
    memory = view.obj if isinstance(view, memoryview) else view
    first, end = -(-start // LARGE) * LARGE, stop // LARGE * LARGE  # the array begins a large page
    if end <= first or not isinstance(memory, mmap.mmap) or not hasattr(mmap, "MADV_DONTNEED"):
        return 0
    begin = array.ctypes.data - np.frombuffer(memory, np.uint8).ctypes.data
    try:
        memory.madvise(mmap.MADV_DONTNEED, begin + first, end - first)
    except OSError:  # of memory that is locked, as programs that play audio have it
        return 0
    return end - first
