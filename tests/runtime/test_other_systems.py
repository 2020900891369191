"""The library in a process that is told it runs on macOS or Windows, without what only Linux has: right results, on threads of Python."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from other_systems import run

from kernels.runtime import machine

LAYERS = """
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


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_a_process_that_is_told_it_is_elsewhere(system: str, tmp_path: Path) -> None:
    run(LAYERS, str(tmp_path), pretence=system)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork to take away on this system")
def test_processes_that_are_spawned_where_nothing_forks(tmp_path: Path) -> None:
    script = tmp_path / "spawned.py"
    script.write_text(SPAWNED)
    run(str(script))


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
