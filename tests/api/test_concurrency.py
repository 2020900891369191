"""Plans called from several threads, after a fork and in pools of processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import reference
from cases import PRECISION
from patience import PATIENCE
from processes import at_once

import kernels
from kernels import implementations
from kernels.methods import load, registry

load()
DRAW = np.random.default_rng(7)
WEIGHT = DRAW.standard_normal((8, 8, 3, 3)).astype(np.float32)
XS = [DRAW.standard_normal((1, 8, 20, 50)).astype(np.float32) for _ in range(8)]
SAME = (1, 1), ((1, 1), (1, 1)), (1, 1)


@pytest.mark.parametrize("name", registry.every("conv"))
@pytest.mark.parametrize("threads", [1, 2])
def test_one_convolution_plan_from_eight_threads(name: str, threads: int, poisoned_scratch: None) -> None:
    options = {"padding": 1, **PRECISION.get(name, {})}
    groups = 8 if implementations("conv2d", XS[0].shape, WEIGHT, **options)[name] else 1
    weight = WEIGHT[:, :1] if groups == 8 else WEIGHT
    xs = [x[:, :, :9, :14] for x in XS] if name == "naive" else XS
    options |= {"groups": groups, "activation": "relu"}
    plan = kernels.plan("conv2d", xs[0].shape, weight, implementation=name, threads=threads, **options)
    rounds = 1 if name == "naive" else 10

    def work(x: np.ndarray) -> list[np.ndarray]:
        return [plan(x) for _ in range(rounds)]

    for x, results in zip(xs, at_once([lambda x=x: work(x) for x in xs])):
        expected = np.maximum(reference.conv(x, weight, None, *SAME, groups), 0)
        for y in results:
            assert reference.share(y, expected) <= plan.error_bound


@pytest.mark.parametrize("name", registry.every("pool"))
def test_one_pool_plan_from_eight_threads(name: str, poisoned_scratch: None) -> None:
    plan = kernels.plan("max_pool2d", XS[0].shape, 3, 2, implementation=name, threads=2)
    for x, y in zip(XS, at_once([lambda x=x: plan(x) for x in XS])):
        np.testing.assert_array_equal(y, reference.max_pool(x, (3, 3), (2, 2), ((0, 0), (0, 0)), (1, 1), False)[0])


def test_planning_from_eight_threads() -> None:
    """Plans of different layers made, compiled and called at once."""

    def work(c_out: int) -> np.ndarray:
        return kernels.conv2d(XS[0], WEIGHT[:c_out], padding=1)

    for c_out, y in zip(range(1, 9), at_once([lambda c=c: work(c) for c in range(1, 9)])):
        assert reference.share(y, reference.conv(XS[0], WEIGHT[:c_out], None, *SAME, 1)) <= 1e-4


COMMON = """
import multiprocessing, os, signal, sys, threading
import numpy as np
import kernels, kernels.api

draw = np.random.default_rng(7)
weight = draw.standard_normal((8, 8, 3, 3)).astype(np.float32)
x = draw.standard_normal((1, 8, 20, 50)).astype(np.float32)
NAMES = [name for name, no in kernels.implementations("conv2d", x.shape, weight, padding=1).items() if no is None and name != "naive"]
expected = kernels.conv2d(x[:, :, :5, :6], weight, implementation="naive")

def right(name, threads=2):
    y = kernels.conv2d(x, weight, implementation=name, threads=threads)
    return bool(np.abs(y[:, :, :3, :4] - expected).max() <= 1e-4 * np.abs(expected).max())

def all_right(_=None):
    pooled = kernels.max_pool2d(x, 2, threads=2)
    return all(right(name) for name in NAMES) and pooled[0, 0, 0, 0] == x[0, 0, :2, :2].max()
"""

FORK = """
assert all_right()
for _ in range(3):
    child = os.fork()
    if child == 0:
        signal.alarm(PATIENCE)
        os._exit(0 if all_right() else 1)
    assert os.waitpid(child, 0)[1] == 0, "the forked child failed"
assert all_right()
"""

FORK_FIRST = """
child = os.fork()
if child == 0:
    signal.alarm(PATIENCE)
    os._exit(0 if all_right() else 1)
assert os.waitpid(child, 0)[1] == 0
assert all_right()
"""

POOL = """
if __name__ == "__main__":
    assert all_right()
    with multiprocessing.get_context("{method}").Pool(2) as pool:
        assert pool.map_async(all_right, range(4)).get(PATIENCE) == [True] * 4
"""

THREADS = """
threads = [threading.Thread(target=lambda: results.append(all(all_right() for _ in range(5)))) for _ in range(8)]
results = []
for thread in threads: thread.start()
for thread in threads: thread.join(PATIENCE)
assert results == [True] * 8, results
"""


def run(tmp_path: Path, script: str, **environment: str) -> None:
    file = tmp_path / "script.py"
    file.write_text((COMMON + script).replace("PATIENCE", str(PATIENCE)))
    command = [sys.executable, "-W", "ignore::DeprecationWarning", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=os.environ | environment)
    assert done.returncode == 0, done.stderr[-3000:]


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")


@needs_fork
@pytest.mark.parametrize("script", [FORK, FORK_FIRST], ids=["after_use", "before_use"])
def test_fork(tmp_path: Path, script: str) -> None:
    """A child forked from a process whose threads have run computes the right answer and lives."""
    run(tmp_path, script)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_pool_of_processes(tmp_path: Path, method: str) -> None:
    if method == "fork" and not hasattr(os, "fork"):
        pytest.skip("no fork on this system")
    run(tmp_path, POOL.format(method=method))


def test_eight_threads(tmp_path: Path) -> None:
    run(tmp_path, THREADS)
