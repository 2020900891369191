"""Other work on the machine, on purpose: processes that compute all the time, for `--beside N`.

Real machines are never idle. What waits for its threads to meet while another process has one of their cores waits for the scheduler,
4 ms and more, and only a load shows it. The processes may run on every core, whatever this process was pinned to; they are made for each
cell's warm-up and samples and ended with it, also when this process is killed: they read its end from their standard input.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# The reader of standard input blocks in the system, the loop keeps a core. Says one byte when it begins.
BUSY = """
import os, sys, threading
if hasattr(os, "sched_setaffinity"):
    try:
        os.sched_setaffinity(0, range(os.cpu_count() or 1))
    except OSError:
        pass
threading.Thread(target=lambda: (sys.stdin.buffer.read(), os._exit(0)), daemon=True).start()
sys.stdout.write("."); sys.stdout.flush()
while True:
    sum(range(10_000))
"""


@contextmanager
def processes(count: int) -> Iterator[list[int]]:
    """So many busy processes while the block runs; their ids."""
    started = [
        subprocess.Popen([sys.executable, "-S", "-E", "-c", BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        for _ in range(count)
    ]
    try:
        for each in started:
            assert each.stdout is not None
            if each.stdout.read(1) != b".":
                raise RuntimeError("--beside: a busy process did not begin")
        yield [each.pid for each in started]
    finally:
        for each in started:
            each.kill()
        for each in started:
            each.communicate()
