"""Ctrl-C, told for certain: the exception alone is lost where it comes up in a destructor or in a callback of a C library."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def watched() -> Iterator[Callable[[], bool]]:
    """Says whether Ctrl-C was pressed since; KeyboardInterrupt comes up as ever."""
    came, before = threading.Event(), signal.getsignal(signal.SIGINT)

    def handler(number: int, frame: Any) -> None:
        came.set()
        signal.default_int_handler(number, frame)

    usual = before is signal.default_int_handler and threading.current_thread() is threading.main_thread()
    if usual:
        signal.signal(signal.SIGINT, handler)
    try:
        yield came.is_set
    finally:
        if usual:
            signal.signal(signal.SIGINT, before)
