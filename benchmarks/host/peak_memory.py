"""How much memory a cell took: the growth of what the process held at once, as Linux counts it.

The kernel keeps a high-water mark of resident memory (VmHWM), and lets a process set its own mark back. Memory that an allocator kept
from earlier cells is not counted when used again, so in a long process the figure is a lower bound; in a fresh one it is right to the few
100 KB in which the kernel counts.
"""

from __future__ import annotations

import re
from pathlib import Path

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def _read(name: str) -> int | None:
    try:
        found = re.search(rf"^{name}:\s*(\d+) kB", STATUS.read_text(), re.MULTILINE)
    except OSError:  # no Linux
        return None
    return int(found[1]) * 1024 if found else None


def high_water() -> int | None:
    """Bytes that this process has held at most since it began; None where that cannot be read."""
    return _read("VmHWM")


class HighWater:
    """Bytes by which resident memory grew at most since this object was made; None where that cannot be read."""

    def __init__(self) -> None:
        try:
            RESET.write_text("5")  # sets VmHWM to what is resident now
            self._before = _read("VmRSS")
        except OSError:
            self._before = None

    def growth(self) -> int | None:
        high = _read("VmHWM")
        return None if high is None or self._before is None else max(0, high - self._before)
