"""How tests wait and what they count, so that a slow or busy machine changes no outcome."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

PATIENCE = 600  # seconds after which a process, thread or page counts as hung: minutes more than any takes beside four others


def until(condition: Callable[[], object], what: str = "it did not happen") -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.01)


def lines_run(call: Callable[[], object]) -> int:
    """Lines of Python that a call runs in this thread: work that no clock has to measure."""
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count
