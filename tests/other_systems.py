"""A process that is told it runs on macOS or Windows: what only Linux has is gone before the library is imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from patience import PATIENCE

ROOT = Path(__file__).resolve().parent.parent

# what the library imports is there before the name changes: it was built for the system that it is really on
PRETENCE = """
import asyncio, concurrent.futures, ctypes, json, multiprocessing, os, platform, re, signal, subprocess, sys, tempfile, threading
import llvmlite.binding, numba, numpy as np, scipy.signal, scipy.fft
from numba.core import codegen
import numba.np.ufunc.parallel

try:
    import psutil, threadpoolctl, filelock, soundfile, cpuinfo, typer.testing, rich.console, rich.progress, jinja2, matplotlib.pyplot
except ImportError:
    pass  # only the suite needs them

system, folder = sys.argv[1:3]
platform.uname()  # remembered: on Windows it asks no program of Linux
gone = {
    "darwin": {os: "sched_getaffinity sched_setaffinity"},
    "win32": {
        os: "fork register_at_fork sched_getaffinity sched_setaffinity sysconf geteuid getuid getloadavg uname RTLD_NOLOAD killpg",
        signal: "pthread_sigmask setitimer alarm SIGALRM SIGKILL SIGHUP valid_signals",
    },
}[system]
for module, names in gone.items():
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)

def refuse(event, args):
    if event == "open" and isinstance(args[0], (str, bytes)) and os.fsdecode(args[0]).startswith(("/proc", "/sys")):
        if re.search("psutil|threadpoolctl", sys._getframe(1).f_code.co_filename):  # which have code of their own for each system
            return
        raise FileNotFoundError(args[0])
    if event == "ctypes.dlopen" and "gomp" in str(args[0]):
        raise OSError("no libgomp")

sys.addaudithook(refuse)
if system == "win32":
    sys.modules["fcntl"] = sys.modules["resource"] = None  # importing them fails
llvmlite.binding.get_host_cpu_features = lambda: llvmlite.binding.targets.FeatureMap()  # as LLVM answers on macOS
sys.platform = system
os.environ["KERNELS_CACHE_DIR"] = folder
os.environ.pop("NUMBA_NUM_THREADS", None)
os.cpu_count = lambda: 2

"""


def run(script: str, *arguments: str, pretence: str = "") -> None:
    """Run a script that prints "right" at its end; pretence: "darwin" or "win32", and the first argument a folder for what is kept."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", PRETENCE + script, pretence, *arguments] if pretence else [sys.executable, script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=environment)
    assert done.returncode == 0 and done.stdout.split()[-1:] == ["right"], done.stderr[-3000:]
