"""What a model costs a user in a process of its own: seconds to its first answer, and the memory that it takes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

import numpy as np

Array = np.ndarray
STARTS = {"first answer": 3, "memory": 1}  # new processes; their median counts
CALLS = 3  # after which memory has grown as far as it does


def alone(kind: str, runtime: str, path: Path, inputs: Mapping[str, Array], threads: int) -> float | None:
    """Seconds from loading a model to its first answer in a process that has imported the runtime and done nothing; or the bytes by which
    one that has run a model of one small layer grows at most while it loads this one and answers three times. None where another runtime is
    not installed, or cannot do it."""
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder) / "given.npz"
        np.savez(given, **dict(inputs))  # type: ignore[arg-type]
        command = [sys.executable, "-m", "benchmarks.whole.own_process", kind, runtime, str(path), str(given), str(threads)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        done = [subprocess.run(command, env=environment, capture_output=True, text=True) for _ in range(STARTS[kind])]
    failed = [each.stderr.strip().rpartition("\n")[2] for each in done if each.returncode]
    if failed and runtime == "spectroconv":
        raise RuntimeError(f"{path.name} in a process of its own: {failed[0]}")
    if failed:
        return None
    return float(np.median([float(each.stdout.strip().rpartition("\n")[2]) for each in done]))


def _small(folder: str) -> Path:
    """A model of one layer."""
    from onnx import TensorProto, helper, numpy_helper

    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, n, 32, 32]) for name, n in (("x", 1), ("y", 4))]
    weight = numpy_helper.from_array(np.ones((4, 1, 3, 3), np.float32), "w")
    graph = helper.make_graph([helper.make_node("Conv", ["x", "w"], ["y"], pads=[1] * 4)], "small", ends[:1], ends[1:], [weight])
    path = Path(folder) / "small.onnx"
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString())
    return path


def main() -> None:
    """The child: the figure is the last line of its output."""
    from benchmarks.host.peak_memory import HighWater
    from benchmarks.whole.runtimes import RUNTIMES

    kind, runtime, path, given, threads = sys.argv[1:]
    import_module("kernels" if runtime == "spectroconv" else runtime)
    make, inputs = RUNTIMES[runtime], dict(np.load(given))
    if kind == "memory":
        with tempfile.TemporaryDirectory() as folder:
            make(_small(folder), {"x": np.ones((1, 1, 32, 32), np.float32)}, int(threads)).run()
        before = HighWater()
        running = make(Path(path), inputs, int(threads))
        for _ in range(CALLS):
            running.run()
        sys.stdout.write(f"{before.growth()}\n")
        return
    started = time.perf_counter()
    make(Path(path), inputs, int(threads)).run()
    sys.stdout.write(f"{time.perf_counter() - started}\n")


if __name__ == "__main__":
    main()
