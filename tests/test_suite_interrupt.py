"""Ctrl-C is known of even where its exception was lost."""

from __future__ import annotations

import contextlib
import gc
import signal
import sys

import pytest

from benchmarks import interrupt


def test_known_of_where_a_destructor_swallowed_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Swallows:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    lost: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda each: lost.append(each.exc_type))
    before = signal.getsignal(signal.SIGINT)
    with interrupt.watched() as interrupted:
        assert not interrupted()
        Swallows()
        gc.collect()
        assert interrupted() and lost == [KeyboardInterrupt]
    assert signal.getsignal(signal.SIGINT) is before


def test_comes_up_as_ever() -> None:
    with interrupt.watched() as interrupted:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert interrupted()
    ignored = signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.ExitStack() as stack:
        stack.callback(signal.signal, signal.SIGINT, ignored)
        with interrupt.watched() as interrupted:
            signal.raise_signal(signal.SIGINT)
            assert not interrupted() and signal.getsignal(signal.SIGINT) is signal.SIG_IGN
