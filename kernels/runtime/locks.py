"""Locks that a fork and a signal cannot leave shut.

A fork copies locks as they are: one that another thread held stays shut in the child, where nobody is left to open it. `lock` gives
locks that are open in every child. They are reentrant: a signal's handler, or a finaliser that garbage collection calls, runs in the thread
that holds one, and may call the library too. So what they guard must stand a fork or a second call between any two lines. A compiler in the
midst of its work does not, so a fork waits for it (`waits_for`).
"""

from __future__ import annotations

import functools
import os
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

Value = TypeVar("Value")

_open_in_children: weakref.WeakSet[Any] = weakref.WeakSet()


def lock() -> Any:
    """A reentrant lock, open in forked children but for what the forking thread itself holds."""
    made = threading.RLock()
    _open_in_children.add(made)
    return made


class cached_property(functools.cached_property[Value]):
    """functools' own, whose lock, one for all instances until Python 3.12, is open in children too."""

    def __init__(self, function: Callable[[Any], Value]) -> None:
        super().__init__(function)
        if sys.version_info < (3, 12):
            self.lock = lock()


def waits_for(*locks: Any) -> None:
    """Let a fork take these, behind those that were named before, and both processes give them back."""
    _waited.extend(locks)


_waited: list[Any] = []
_taken = threading.local()  # several threads may fork at once


def _take() -> None:
    _taken.locks = []  # so far, should an interrupt come between two
    for each in _waited:
        each.acquire()
        _taken.locks.append(each)


def _give() -> None:
    while _taken.locks:
        _taken.locks.pop().release()


def _open() -> None:
    for each in list(_open_in_children):
        if not each._is_owned():
            each._at_fork_reinit()  # as threading's own classes do


def in_children(function: Callable[[], None]) -> None:
    """Call it in every forked child, on systems that fork."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=function)


in_children(_open)
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(before=_take, after_in_parent=_give, after_in_child=_give)
