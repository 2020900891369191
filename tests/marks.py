"""A region for tests in processes of their own, and such processes."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

from patience import PATIENCE

from kernels.runtime.regions import region

_TESTS = Path(__file__).parent


@region
def mark(task, thread, done):
    """Count each task."""
    done[task] += 1


def python(code: str, before: str = "") -> str:
    """What a process prints that runs the code; it must end well and say nothing else."""
    head = f"""
import atexit, os, signal, sys, threading, time
from pathlib import Path
sys.path[:0] = [{str(_TESTS.parent)!r}, {str(_TESTS)!r}]
import numpy as np
from kernels.runtime import pool, workers
{before}
from marks import mark
from patience import PATIENCE, until
workers.link()
mark.ready(np.zeros(1, np.int64))
"""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", head + textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0 and not done.stderr, done.stderr[-3000:]
    return done.stdout.strip()
