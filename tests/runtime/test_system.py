"""What other systems tell of the hardware is read right: tables and numbers as they give them."""

from __future__ import annotations

import struct
import sys
from typing import Any

import pytest

from kernels.runtime import machine, system


@pytest.fixture(autouse=True)
def _anew() -> Any:
    known = system.cache_bytes, system.physical_memory
    for each in known:
        each.cache_clear()
    yield
    for each in known:
        each.cache_clear()


def test_here_it_is_what_the_machine_uses() -> None:
    assert system.physical_memory() is None or system.physical_memory() >= machine.memory()
    assert all(level in (1, 2, 3, 4) and size >= 1 << 10 for level, size in system.cache_bytes().items())


def test_a_table_of_windows() -> None:
    """As documented: 32 bytes an entry, of which those of relation 2 hold level, ways, line, bytes and type (0 unified, 1 instructions)."""
    def entry(relation: int, *cache: int) -> bytes:
        return struct.pack("<QII", 1, relation, 0) + (struct.pack("<BBHIIQ", *cache, 0)[:16] if cache else bytes(16))

    table = entry(0) + entry(2, 1, 8, 64, 49152, 2) + entry(2, 1, 8, 64, 32768, 1) + entry(2, 2, 16, 64, 2 << 20, 0) + entry(3)
    table += entry(2, 3, 12, 64, 30 << 20, 0) + entry(2, 1, 8, 64, 32768, 2)
    assert system.windows_caches(table) == {1: 49152, 2: 2 << 20, 3: 30 << 20}
    assert system.windows_caches(table[:40]) == system.windows_caches(b"") == {}


def test_an_apple_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"hw.perflevel0.l1dcachesize": 131072, "hw.perflevel0.l2cachesize": 12 << 20, "hw.perflevel0.physicalcpu": 4}
    told["hw.l2cachesize"] = 4 << 20
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(system, "sysctl", lambda name: told.get(name, 0))
    assert system.cache_bytes() == {1: 131072, 2: 12 << 20}
    assert system.fast_cores() == 4
    monkeypatch.delattr(machine.os, "sched_getaffinity", raising=False)
    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    assert machine.cores() == 4


@pytest.mark.parametrize("platform", ["darwin", "win32", "freebsd14"])
def test_what_is_not_told_is_guessed(monkeypatch: pytest.MonkeyPatch, platform: str) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(system, "Path", lambda _: sys.modules["pathlib"].Path("/nowhere"))
    monkeypatch.delattr(machine.os, "sched_getaffinity", raising=False)
    monkeypatch.delattr(machine.os, "sysconf", raising=False)
    monkeypatch.setattr(system, "sysctl", lambda name: 0)
    assert system.cache_bytes() == {} and system.physical_memory() is None
    assert machine.cores() >= 1 and machine.memory() > 0
    detected = machine._detected.__wrapped__()
    assert min(detected.l1, detected.l2, detected.l3) > 0
