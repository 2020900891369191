"""What Ctrl-C does not end in its midst, and what compiling is done so."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from patience import PATIENCE

from kernels import methods
from kernels.runtime import jit
from kernels.runtime.completing import completed


@pytest.fixture
def interrupts() -> Iterator[None]:
    """Python's own handler, whatever runs the tests has."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(sys.platform == "win32", reason="waits of Windows are not interrupted")
def test_an_interrupted_call_goes_on_to_its_end_and_the_next_waits_for_it(interrupts: None) -> None:
    begun, go, done = threading.Event(), threading.Event(), []

    @completed
    def long() -> None:
        begun.set()
        assert go.wait(PATIENCE)
        done.append(threading.current_thread())

    def interrupt() -> None:
        begun.wait(PATIENCE)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        long()
    assert not done
    threading.Timer(0.05, go.set).start()
    assert completed(lambda: list(done))() == done  # behind the first
    assert len(done) == 1 and done[0] is not threading.main_thread()


def test_results_errors_and_inner_calls() -> None:
    inner = completed(threading.current_thread)
    assert completed(lambda: inner() is threading.current_thread())(), "a call within one needs no further thread"
    with pytest.raises(ZeroDivisionError):
        completed(lambda: 1 // 0)()
    found: list[threading.Thread] = []
    other = threading.Thread(target=lambda: found.append(inner()))
    other.start()
    other.join()
    assert found == [other], "signals come to the main thread alone"


def test_no_thread_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fork would warn of it, and who counts threads would count it."""
    run = threading.Thread.run

    def slow_to_end(self: threading.Thread) -> None:
        run(self)
        time.sleep(0.05)

    monkeypatch.setattr(threading.Thread, "run", slow_to_end)
    assert not completed(threading.current_thread)().is_alive()


def test_an_interpreter_without_further_threads_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none)
    assert completed(lambda: 3)() == 3


def test_compiling_and_importing_are_done_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every way to the compiler: addresses, native code, entries, and a call of Python that finds nothing compiled."""
    found: list[threading.Thread] = []

    def doubled(a: int) -> int:
        return 2 * a

    dispatcher = jit.njit(doubled)
    for use in ("python", "c", "native"):
        of_use = dispatcher if use == "python" else dispatcher.of_use(use)
        compiled = type(of_use).compile.__get__(of_use)

        def spy(signature: object, compiled: object = compiled) -> object:
            found.append(threading.current_thread())
            return compiled(signature)  # type: ignore[operator]

        monkeypatch.setattr(of_use, "compile", completed(spy) if use == "python" else spy)
    assert dispatcher(4) == 8 and jit.entry(dispatcher, np.float64(2))(np.float64(2)) == 4
    assert jit.address(dispatcher, (), (jit.types.int64,)) and jit.code(dispatcher, (jit.types.int64,))
    assert len(found) == 4 and threading.main_thread() not in found
    monkeypatch.setattr(methods.importlib, "import_module", lambda name: found.append(threading.current_thread()) or methods)
    methods.load.__wrapped__()
    assert len(found) > 4 and threading.main_thread() not in found


@pytest.mark.skipif(sys.platform == "win32", reason="waits of Windows are not interrupted")
def test_a_first_call_that_is_interrupted_as_it_imports_can_be_made_again() -> None:
    """The import that is under way has brought parts of Numba, which would not become parts of another Numba."""
    script = """
import os, signal, sys
import numpy as np
import kernels

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == "numba.core.compiler":
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Interrupting())
x = np.arange(9.0).reshape(1, 1, 3, 3)
try:
    kernels.global_max_pool(x, implementation="jit")
    raise AssertionError("no interrupt")
except KeyboardInterrupt:
    assert kernels.global_max_pool(x, implementation="jit").item() == 8
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr[-3000:]
