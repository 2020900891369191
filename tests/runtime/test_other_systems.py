"""The library in a process that is told it runs on macOS or Windows, without what only Linux has: right results, on threads of Python."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kernels.runtime import machine

ROOT = Path(__file__).resolve().parent.parent.parent

# what the library imports is there before the name changes: it was built for the system that it is really on
PRETEND = """
import asyncio, concurrent.futures, ctypes, json, multiprocessing, os, platform, re, signal, subprocess, sys, tempfile, threading
import llvmlite.binding, numba, numpy as np, scipy.signal, scipy.fft
from numba.core import codegen
import numba.np.ufunc.parallel

system, folder = sys.argv[1:]
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

import kernels
from kernels.runtime import machine, pool, workers

assert machine.cores() == 2 and machine.machine().l2 > 0 and machine.memory() > 0
x = np.random.default_rng(0).standard_normal((4, 3, 40, 50)).astype(np.float32)
weight = np.random.default_rng(1).standard_normal((8, 3, 3, 3)).astype(np.float32)
for _ in range(3):
    y = kernels.conv2d(x, weight, implementation="direct", activation="relu", threads=2)
expected = kernels.conv2d(x.astype(np.float64), weight.astype(np.float64), implementation="naive", activation="relu")
assert np.abs(y - expected).max() < 1e-4
assert np.array_equal(kernels.max_pool2d(x, 2, threads=2), x.reshape(4, 3, 20, 2, 25, 2).max((3, 5)))

from kernels.runtime.regions import region

@region
def mark(task, thread, done):
    done[task] += 1

done = np.zeros(64, np.int64)
for _ in range(200):
    mark.ready(done)(2, len(done), done)
assert (done == 200).all() and not workers.futex()
assert any(thread.name.startswith("spectroconv-") for thread in threading.enumerate()), "no worker of Python's"
kept = list(__import__("pathlib").Path(folder).rglob("*.bin"))
assert kept, "nothing was kept on disk"
print("right")
"""

SPAWNED = """
import multiprocessing, os, sys
import numpy as np
import kernels

def work(seed):
    x = np.random.default_rng(seed).standard_normal((1, 2, 30)).astype(np.float32)
    weight = np.ones((3, 2, 5), np.float32)
    return float(np.abs(kernels.conv1d(x, weight) - kernels.conv1d(x, weight, implementation="naive")).max())

if __name__ == "__main__":
    del os.fork, os.register_at_fork
    multiprocessing.set_start_method("spawn")
    with multiprocessing.Pool(2) as pool:
        assert max(pool.map(work, range(4))) < 1e-5
    print("right")
"""


def _run(*command: str) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=240, env=environment)
    assert done.returncode == 0 and done.stdout.split() == ["right"], done.stderr[-3000:]


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_a_process_that_is_told_it_is_elsewhere(system: str, tmp_path: Path) -> None:
    _run("-c", PRETEND, system, str(tmp_path))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork to take away on this system")
def test_processes_that_are_spawned_where_nothing_forks(tmp_path: Path) -> None:
    script = tmp_path / "spawned.py"
    script.write_text(SPAWNED)
    _run(str(script))


@pytest.mark.parametrize(("architecture", "registers"), [("arm64", 32), ("aarch64", 32), ("ARM64", 32), ("x86_64", 16)])
@pytest.mark.parametrize("told", ["nothing", "an error"])
def test_registers_where_llvm_tells_no_features(monkeypatch: pytest.MonkeyPatch, architecture: str, registers: int, told: str) -> None:
    """On macOS LLVM lists none, and raised before; NEON's 32 registers are there all the same."""
    import llvmlite.binding as llvm

    def features() -> dict[str, bool]:
        if told == "an error":
            raise RuntimeError("failed to get host cpu features")
        return llvm.targets.FeatureMap()

    monkeypatch.setattr(llvm, "get_host_cpu_features", features)
    monkeypatch.setattr(machine.platform, "machine", lambda: architecture)
    monkeypatch.setattr("numba.core.config.CPU_FEATURES", None)
    found = machine._detected.__wrapped__()
    assert (found.vector_bytes, found.registers) == (16, registers) and found.by_element == (registers == 32)
