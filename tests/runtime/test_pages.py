"""Memory in pages of its own."""

from __future__ import annotations

import ctypes
import mmap
import re
from pathlib import Path

import numpy as np
import pytest

from kernels.runtime.pages import ALIGNMENT, LARGE, give_back, pages


@pytest.mark.parametrize("nbytes", (1, LARGE - 1, LARGE, 3 * LARGE + 5))
def test_bytes_begin_a_large_page_and_own_themselves(nbytes: int) -> None:
    found = pages(nbytes)
    assert found.shape == (nbytes,) and found.dtype == np.uint8 and found.flags.writeable
    found[:] = 7
    assert found[-1] == 7 and found[1:].base is found, "slices lead back to what was given"
    if hasattr(mmap, "MADV_HUGEPAGE"):
        assert found.ctypes.data % LARGE == 0


def test_elsewhere_bytes_begin_a_cache_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(mmap, "MADV_HUGEPAGE", raising=False)
    found = [pages(nbytes) for nbytes in (1, 1000, LARGE)]
    assert all(each.ctypes.data % ALIGNMENT == 0 and each.flags.writeable and each[1:].base is each for each in found)


def test_what_no_system_has_is_a_memory_error() -> None:
    for nbytes in (1 << 62, 1 << 70):
        with pytest.raises((MemoryError, ValueError)):
            pages(nbytes)


def test_whole_large_pages_are_asked_for() -> None:
    smaps = Path("/proc/self/smaps")
    if not smaps.exists():
        pytest.skip("no Linux")
    found = pages(2 * LARGE + 4096)
    flags: dict[int, str] = {}
    start = 0
    for line in smaps.read_text().splitlines():
        if at := re.match(r"([0-9a-f]+)-[0-9a-f]+ ", line):
            start = int(at[1], 16)
        elif line.startswith("VmFlags:"):
            flags[start] = line
    own = flags.get(found.ctypes.data)
    if own is None:  # joined with what lies before it, or without large pages
        pytest.skip("the system keeps no area of its own for it")
    assert " hg" in own


def _resident(array: np.ndarray) -> int:
    """Large pages' worth of bytes of an array that the process holds."""
    start, found, inside = array.ctypes.data, 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if at := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            inside = int(at[1], 16) < start + len(array) and start < int(at[2], 16)
        elif inside and line.startswith("Rss:"):
            found += int(line.split()[1]) << 10
    return found


def test_pages_that_are_given_back_are_the_systems_and_only_those() -> None:
    if not Path("/proc/self/smaps").exists() or not hasattr(mmap, "MADV_DONTNEED"):
        pytest.skip("no Linux")
    found = pages(16 * LARGE)
    found[:] = 7
    before = _resident(found)
    assert give_back(found, LARGE // 2, 15 * LARGE + 1) == 14 * LARGE
    assert _resident(found) <= before - 14 * LARGE
    assert (found[:LARGE] == 7).all() and (found[15 * LARGE :] == 7).all() and not found[LARGE : 15 * LARGE].any()
    assert give_back(found, 1, LARGE) == 0, "which is no whole page"


def test_pages_that_are_locked_stay() -> None:
    libc = ctypes.CDLL(None) if hasattr(mmap, "MADV_DONTNEED") else None
    found = pages(2 * LARGE)
    found[:] = 7
    place = ctypes.c_void_p(found.ctypes.data), ctypes.c_size_t(2 * LARGE)
    if libc is None or libc.mlock(*place):
        pytest.skip("memory cannot be locked here")
    assert give_back(found, 0, 2 * LARGE) == 0 and (found == 7).all()
    libc.munlock(*place)
