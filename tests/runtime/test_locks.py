"""What a fork or a signal meets in the middle leaves nothing shut."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator

import pytest
from patience import PATIENCE

from kernels.runtime import blas, locks

START = """
import os, signal, threading, time
from kernels.runtime.locks import cached_property, lock

def held(by):
    begun, end = threading.Event(), threading.Event()
    def hold():
        with by:
            begun.set()
            end.wait()
    threading.Thread(target=hold, daemon=True).start()
    begun.wait()
    return end

def forked(child):
    number = os.fork()
    if number == 0:
        signal.alarm(PATIENCE)
        os._exit(not child())
    assert os.waitpid(number, 0)[1] == 0
"""


def python(script: str) -> None:
    code = (START + textwrap.dedent(script)).replace("PATIENCE", str(PATIENCE))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr[-3000:]


pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")


def test_a_lock_that_another_thread_holds_is_open_in_a_child() -> None:
    python("""
        one, own = lock(), lock()
        end = held(one)
        with own:
            forked(lambda: one.acquire(timeout=PATIENCE) and own._is_owned() and not own.release())
        end.set()
        assert one.acquire(timeout=PATIENCE)
    """)


def test_a_property_that_another_thread_computes_is_computed_in_a_child() -> None:
    python("""
        begun, slow = threading.Event(), threading.Event()
        class Some:
            @cached_property
            def number(self):
                begun.set()
                if threading.current_thread() is not threading.main_thread():
                    slow.wait()
                return 3
        threading.Thread(target=lambda: Some().number, daemon=True).start()
        begun.wait()
        forked(lambda: Some().number == 3)
        slow.set()
    """)


def test_a_fork_waits_until_nobody_compiles() -> None:
    python("""
        import numpy as np
        import kernels
        from numba.core.compiler_lock import global_compiler_lock
        import kernels.runtime.jit
        from kernels.runtime.completing import completing
        for each in completing, global_compiler_lock:
            end = held(each)
            timer = threading.Timer(0.2, end.set)
            timer.start()
            forked(lambda: end.is_set() and kernels.global_max_pool(np.ones((1, 1, 4, 4)), implementation="jit").item() == 1)
            assert completing.acquire(timeout=PATIENCE) and not completing.release()
    """)


def test_bounds_of_other_threads_products_end_in_a_child() -> None:
    python("""
        from kernels.runtime import blas
        control = blas.openblas("numpy")
        if control:
            control[1](2)
            held(blas.bounded(1))
            assert control[0]() == 1
            forked(lambda: control[0]() == 2 and not blas._bounds["numpy"])
    """)


def test_two_threads_that_fork_at_once_give_back_what_each_took(monkeypatch: pytest.MonkeyPatch) -> None:
    class Lock:
        """Another thread takes it before the one that releases it goes on."""

        def __init__(self) -> None:
            self.real, self.other = threading.Lock(), threading.Thread(target=lambda: (locks._take(), locks._give()))

        def acquire(self) -> None:
            self.real.acquire()
            self.owner = threading.current_thread()

        def release(self) -> None:
            assert self.owner is threading.current_thread()
            self.real.release()
            if self.owner is not self.other:
                self.other.start()
                self.other.join(1)

    one = Lock()
    monkeypatch.setattr(locks, "_waited", [])
    locks.waits_for(one)
    locks._take()
    locks._give()
    one.other.join()
    assert one.owner is one.other and not one.real.locked()


def test_a_handlers_product_within_anothers_bound_changes_neither() -> None:
    """Wherever the handler comes: each time the library's number of threads is read or written."""
    for moment in range(8):
        number, seen = [4], itertools.count()

        def put(threads: int, number: list[int] = number, seen: Iterator[int] = seen, moment: int = moment) -> None:
            number[0] = threads
            handler(seen, moment)

        def get(number: list[int] = number, seen: Iterator[int] = seen, moment: int = moment) -> int:
            handler(seen, moment)
            return number[0]

        def bound(threads: int, get: Callable[[], int] = get, put: Callable[[int], None] = put) -> blas.bounded:
            made = blas.bounded(threads)
            made._control = get, put
            return made

        def handler(seen: Iterator[int], moment: int, bound: Callable[[int], blas.bounded] = bound) -> None:
            if next(seen) == moment:
                with bound(1):
                    pass

        for _ in range(2):
            with bound(2):
                assert number[0] <= 2
            assert number[0] == 4, moment


def test_a_child_forked_within_a_bounded_product_ends_it() -> None:
    python("""
        from kernels.runtime import blas
        control = blas.openblas("numpy")
        if control:
            control[1](2)
            def leave():
                bound.__exit__()
                return control[0]() == 2
            bound = blas.bounded(1)
            with bound:
                forked(leave)
            assert control[0]() == 2
    """)
