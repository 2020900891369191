"""What a cell's beginning costs a user: imports, preparation and first call in a process of its own, for `--fresh`.

In the process that times everything, earlier cells have loaded shared code, started threads and filled allocators. Here one process does
one cell: import what the contender runs on, make the arrays, prepare, call once. `started` leaves our compiled code on the disk, as the
second start of a user's program finds it; `installed` gives each cell an empty cache directory, as the first start does.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the child's own imports are timed one by one
    from benchmarks.records.results import Line
    from benchmarks.runner.cell import Bench, Spec

KINDS = ("started", "installed")
PASS = 0  # lines of fresh processes come before the first pass, so that their times are the cell's
PATIENCE_S = 300.0


def measure(bench: Bench, spec: Spec, kind: str, audio: Path | None) -> Line:
    """The line of one cell in a process of its own."""
    line = bench.blank(spec, PASS)
    order = pickle.dumps((spec.workload, spec.contender.name, spec.threads, audio))
    with tempfile.TemporaryDirectory() if kind == "installed" else nullcontext("") as empty:
        environment = os.environ | ({"KERNELS_CACHE_DIR": empty} if empty else {})
        try:
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.runner.fresh", *spec.contender.modules], input=order, capture_output=True,
                timeout=PATIENCE_S, env=environment, cwd=Path(__file__).parent.parent.parent,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return replace(line, reason=f"a process of its own took more than {PATIENCE_S:.0f} s")
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        return replace(line, reason=f"a process of its own ended with status {done.returncode}: {last}")
    return replace(line, status="ok", **json.loads(done.stdout.decode().strip().rpartition("\n")[2]))


def timed(action: Callable[[], object]) -> tuple[object, float]:
    start = time.perf_counter()
    result = action()
    return result, time.perf_counter() - start


def main() -> None:
    """The child: modules to import as arguments, the cell on standard input, seconds and bytes as JSON on the last line."""
    _, import_s = timed(lambda: [import_module(name) for name in sys.argv[1:]])
    workload, name, threads, audio = pickle.load(sys.stdin.buffer)

    import numpy as np
    from threadpoolctl import threadpool_limits

    from benchmarks import contenders
    from benchmarks.host.peak_memory import HighWater
    from benchmarks.inputs.audio_file import read_audio
    from benchmarks.inputs.clip import RATE, Clip
    from benchmarks.inputs.synthesiser import synthesise
    from benchmarks.inputs.tensors import tensors

    silent = Clip("not heard", RATE, np.ones((2, RATE), np.float32))
    clip = silent if workload.input is None else read_audio(audio) if audio else synthesise()
    (contender,) = contenders.select([name])
    given = tensors(workload, clip)
    with threadpool_limits(limits=threads, user_api="blas"):
        high_water = HighWater()
        prepared, prepare_s = timed(lambda: contender.prepare(workload, given, threads))
        _, first_call_s = timed(prepared.run)  # type: ignore[attr-defined]
    found = {"import_s": import_s, "prepare_s": prepare_s, "first_call_s": first_call_s, "peak_bytes": high_water.growth()}
    sys.stdout.write("\n" + json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
