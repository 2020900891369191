"""A made-up run for the tests of the reports: seeded numbers in the suite's format. Nothing in it was measured."""

from __future__ import annotations

import random
from pathlib import Path

from benchmarks.records import archive
from benchmarks.records.archive import append_cell
from benchmarks.records.results import BASELINES, PEERS, Line, Run

OURS = ("naive", "jit", "im2col", "fft", "direct", "auto")
EVERYBODY = (*OURS, *PEERS, *BASELINES)
# name, operation, problem text, flops, compulsory bytes
WORKLOADS = (
    ("vggish.conv1", "conv2d", "conv2d x1x1x96x64 w64x1x3x3 p1", 7_077_888, 1_600_000),
    ("cnn14.pool1", "avg_pool2d", "avg_pool2d x1x64x1001x64 k2", 4_096_000, 20_496_384),
    ("cnn14.b2c2", "conv2d", "conv2d x1x128x500x32 w128x128x3x3 p1", 4_718_592_000, 16_973_824),
    ("cnn14.b6c2", "conv2d", "conv2d x1x2048x31x2 w2048x2048x3x3 p1", 4_680_843_264, 152_010_752),
    ("panns.stft", "conv1d", "conv1d x1x1x320000 w1026x1x1024 s320", 1_051_674_624, 5_439_396),
    ("musicnn.timbral67", "conv2d", "conv2d x1x1x187x96 w204x1x7x67", 1_073_484_720, 5_033_088),
    ("deepsalience.distribute", "conv2d", "conv2d x1x64x360x100 w8x64x70x3", 6_657_638_400, 9_346_592),
    ("yamnet.pw8", "conv2d", "conv2d x1x256x12x8 w512x256x1x1", 12_582_912, 1_146_880),
)
EFFICIENCY = {
    "naive": 0.00004, "jit": 0.03, "im2col": 0.4, "fft": 0.3, "direct": 0.8, "auto": 0.8,
    "torch": 0.6, "torch_channels_last": 0.65, "onnxruntime": 0.7, "openvino": 0.68, "scipy": 0.02,
}  # fmt: skip
LIMITS = {"2": {"fma_gflops": 240.0, "fma_spread": 0.01, "bandwidth_gbs": 33.0, "bandwidth_spread": 0.03}}


def header(passes: int = 3, **changes: object) -> Run:
    values: dict = {
        "id": "2026-01-02T0304Z-abcdef1", "created": "2026-01-02T03:04:05+00:00",
        "command": ("python", "-m", "benchmarks", "--preset", "quick"), "preset": "quick", "passes": passes, "threads": (2,),
        "audio": "a synthetic clip", "limits": LIMITS,
        "environment": {
            "cpu": "A CPU (made up)", "cores": 2, "caches": {"L1d": 32768, "L2": 1048576}, "commit": "abcdef1234", "dirty": False,
            "versions": {"numpy": "2.4.6", "numba": "0.68.1"}, "thread_env": {"OMP_NUM_THREADS": None},
        },
    } | changes  # fmt: skip
    return Run(**values)


def line(workload: tuple, contender: str, pass_: int = 1, threads: int = 2, batch: int = 1, **changes: object) -> Line:
    """One cell of one pass with a time drawn from a generator seeded by its names."""
    name, op, problem, flops, size = workload
    draw = random.Random(f"{name} {contender} {pass_} {threads} {batch}")
    floor = max(flops / 240e9, size / 33e9) * 2 / threads * batch
    typical = floor / EFFICIENCY.get(contender, 0.5) * random.Random(f"{name} {contender}").uniform(0.7, 1.5) + 2e-6
    values: dict = {
        "workload": name, "contender": contender, "threads": threads, "batch": batch, "op": op, "problem": problem, "flops": flops * batch,
        "bytes": size * batch, "status": "ok", "seconds": tuple(typical * draw.uniform(0.97, 1.06) for _ in range(12)), "error": 3e-7,
        "error_of_sum": 5e-8, "error_bound": 1e-5, "workspace_bytes": 65536, "prepare_s": 0.02, "first_call_s": typical * 9,
        "inside_timer": "run into a preallocated output", "pass_": pass_,
    } | changes  # fmt: skip
    if values["status"] != "ok":
        values |= {"seconds": (), "error": values["error"] if values["status"] == "wrong" else None, "error_of_sum": None}
    return Line(**values)


def lines(
    passes: int = 3, threads: tuple[int, ...] = (2,), batches: tuple[int, ...] = (1,), workloads: tuple[tuple, ...] = WORKLOADS
) -> list[Line]:
    """Every workload x contender with some of each status."""
    found = []
    for pass_ in range(1, passes + 1):
        for count in threads:
            for batch in batches:
                for workload in workloads:
                    for contender in EVERYBODY:
                        found.append(line(workload, contender, pass_, count, batch, **_outcome(workload, contender)))
    return found


def _outcome(workload: tuple, contender: str) -> dict:
    name, op, _, flops, _ = workload
    if contender == "naive" and flops > 1e8:
        return {"status": "over_budget", "reason": "predicted 470 s a call, the budget is 2 s", "predicted_s": flops / 1e7}
    if contender == "fft" and not (op.startswith("conv") and flops > 1e9):
        return {"status": "refused", "reason": "fft: the kernel 3x3 is too small to win anything"}
    if contender == "scipy" and op == "conv1d":
        return {"status": "failed", "reason": "MemoryError: 3.2 GiB for the unfolded input"}
    if contender == "im2col" and name == "yamnet.pw8":
        return {"status": "wrong", "reason": "error 0.3 is above the bound 1e-05", "error": 0.3}
    return {}


def write(folder: Path, cells: list[Line] | None = None, run: Run | None = None) -> Path:
    """Write the folder of a run."""
    archive.save(run or header(), folder)
    for cell in lines() if cells is None else cells:
        append_cell(folder, cell)
    return folder
