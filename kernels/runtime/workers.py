"""Worker threads of the library's own: how many there are, how they start and how they end.

They start with the first region that wants them and end with the interpreter; a forked child starts its own. On Linux they are native
threads that know nothing of Python and sleep on a futex; elsewhere they are Python's threads and sleep on a semaphore. What they do is in
`pool`.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import dataclasses
import platform
import signal
import sys
import threading
import time
from typing import Any

from numba import types

from kernels.runtime import pool
from kernels.runtime.jit import address
from kernels.runtime.locks import in_children, lock
from kernels.runtime.machine import cores
from kernels.runtime.tasks import slot_bytes

SPIN = 200e-6  # seconds that an idle worker looks for work: as long as the gaps between a network's layers and a loop's calls
GAP = 20e-6  # seconds between two looks that only a worker without a core takes; it goes to sleep
END = 30e-6  # seconds beyond the time of a task that a caller looks whether the last ones are done; then it sleeps, which costs 50e-6
LONGEST_END = 300e-6  # seconds that it looks at most
SLICE = 0.1  # seconds after which a region returns to Python, which then looks for signals
STALL = 200e-6  # seconds that a region may take beyond what its caller alone would have: more, and workers did harm
FIRST_BACKOFF, LAST_BACKOFF = 2e-3, 256e-3  # seconds without workers after a stall; doubled by each further one
PROBE = 6e-3  # seconds that a worker must keep its core to end that: longer than Linux lets another process wait for it


@dataclasses.dataclass
class State:
    """participants: that a region can have by now, the caller among them. pythonic: workers are Python threads. entry: where `work` is."""

    participants: int = 1
    pythonic: bool = False
    entry: int = 0
    ended: bool = False
    starting: Any = dataclasses.field(default_factory=lock)
    semaphore: Any = dataclasses.field(default_factory=lambda: threading.Semaphore(0))


STATE = State()


def futex() -> bool:
    """Whether workers are native threads that sleep on a futex."""
    return sys.platform == "linux" and platform.machine() in ("x86_64", "aarch64") and sys.maxsize > 2**32


def _ticks_a_second() -> float:
    pool.now()  # compiles
    began, first = time.perf_counter(), pool.now()
    while time.perf_counter() - began < 5e-4:
        pass
    ended, last = time.perf_counter(), pool.now()
    return float((last - first) / (ended - began))


def link() -> None:
    """Make `run` known to the code that calls it, once."""
    if STATE.entry:
        return
    with STATE.starting:
        if not STATE.entry:
            rate = _ticks_a_second()
            times = {
                pool.SPIN_TICKS: SPIN, pool.GAP_TICKS: GAP, pool.END_TICKS: END, pool.LONGEST_END_TICKS: LONGEST_END,
                pool.SLICE_TICKS: SLICE, pool.STALL_TICKS: STALL, pool.PROBE_TICKS: PROBE,
                pool.BACKOFF: FIRST_BACKOFF, pool.SHORTEST: FIRST_BACKOFF, pool.LONGEST: LAST_BACKOFF,
            }  # fmt: skip
            for offset, seconds in times.items():
                pool.write(offset, int(seconds * rate))
            STATE.pythonic = not futex()
            pool.write(pool.NATIVE, int(futex()))
            pool.write(pool.STRIDE, slot_bytes(pool.MAXIMUM))
            pool.write(pool.RUN, address(pool.run, (), (types.int64,) * 6))
            STATE.entry = address(pool.work, (), (types.int64,))


def start(threads: int) -> None:
    """Have workers for regions of so many participants, the caller among them; fewer where the system has no thread to give."""
    with STATE.starting:
        pool.write(pool.LIMIT, cores())
        while STATE.participants < threads and not STATE.ended:
            number = STATE.participants - 1
            STATE.participants += 1  # before it starts: a signal's handler may start the next in the meantime
            if number < pool.MAXIMUM - 1 and (_pythonic if STATE.pythonic else _native)(number):
                pool.write(pool.WORKERS, max(number + 1, pool.read(pool.WORKERS)))


def _native(number: int) -> bool:
    """Start one by the system's own call; whether it could."""
    library = ctypes.CDLL(None)
    library.pthread_create.argtypes = [ctypes.c_void_p] * 4
    library.pthread_detach.argtypes = [ctypes.c_void_p]
    thread = ctypes.c_void_p()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # the worker inherits it: signals are for Python's threads
    try:
        if library.pthread_create(ctypes.byref(thread), None, STATE.entry, number):
            return False
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    library.pthread_detach(thread)
    return True


def _pythonic(number: int) -> bool:
    """Start one as a Python thread; whether it could."""

    def live(semaphore: Any) -> None:
        while not STATE.ended:
            pool.work(number)
            semaphore.acquire()
            pool.woken()

    with contextlib.suppress(RuntimeError):
        threading.Thread(target=live, args=(STATE.semaphore,), name=f"spectroconv-{number}", daemon=True).start()
        return True
    return False


def summon(threads: int) -> None:
    """Wake workers that are Python threads, before a region opens."""
    for _ in range(min(threads - 1, pool.read(pool.SLEEPERS))):
        STATE.semaphore.release()


def _end() -> None:
    """With the interpreter: who sleeps wakes and ends, who works ends after its task."""
    STATE.ended = True
    if STATE.participants > 1:
        pool.stop()


def _forget() -> None:
    """In a forked child, which has none of its parent's threads: nothing is open, nobody is there."""
    STATE.semaphore, STATE.participants = threading.Semaphore(0), 1
    pool.clear()


atexit.register(_end)
in_children(_forget)
