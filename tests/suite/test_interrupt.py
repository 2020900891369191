"""Ctrl-C is known of even where its exception was lost."""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Iterator

import pytest

from benchmarks.runner import interrupt


@pytest.fixture(autouse=True)
def usual_handler() -> Iterator[None]:
    """Python's own, which it does not install where a shell started it in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_known_of_where_a_destructor_swallowed_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Swallows:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    lost: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda each: lost.append(each.exc_type))
    with interrupt.watched() as interrupted:
        assert not interrupted()
        Swallows()
        gc.collect()
        assert interrupted() and lost == [KeyboardInterrupt]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_comes_up_as_ever() -> None:
    with interrupt.watched() as interrupted:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert interrupted()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with interrupt.watched() as interrupted:
        signal.raise_signal(signal.SIGINT)
        assert not interrupted() and signal.getsignal(signal.SIGINT) is signal.SIG_IGN
