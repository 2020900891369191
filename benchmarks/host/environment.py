"""Where a run happened: machine, versions, threads, commit. Whatever cannot be read is null, never guessed."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numpy as np
import psutil
from threadpoolctl import threadpool_info

from kernels.runtime.machine import cores

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGES = (
    "numpy", "scipy", "numba", "llvmlite", "torch", "onnxruntime", "openvino", "ncnn", "MNN", "onnx", "pytest-benchmark",
)  # fmt: skip
# What changes how many threads there are, how they wait, or which code is generated.
THREAD_VARIABLES = ("OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "BLIS_", "NUMBA_", "TBB_", "GOTO_", "VECLIB_")
FEATURES = re.compile(r"sse4|avx|fma|f16c|bmi|amx|neon|sve|asimd|dotprod")


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None


def cpu_model() -> str:
    for line in (_read("/proc/cpuinfo") or "").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    import cpuinfo  # a second slower, so only where /proc has no name (macOS, Windows, most ARM)

    return str(cpuinfo.get_cpu_info().get("brand_raw", platform.processor()))


def _caches() -> dict[str, str]:
    """Size of each level as one core sees it, e.g. {"L1d": "32K"}."""
    found = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = (_read(str(index / name)) for name in ("level", "type", "size"))
        if level and size:
            found[f"L{level}" + {"Data": "d", "Instruction": "i"}.get(kind or "", "")] = size
    return found


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def commit() -> str | None:
    return _git("rev-parse", "HEAD")


def dirty() -> bool | None:
    """Whether the code differs from the commit: files that are changed, or new ones beside them, a method's say. Results do not count."""
    status = _git("status", "--porcelain", "--untracked-files=all", "--", ".", ":!reports", ":!runs")
    return None if status is None else bool(status)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _blas() -> str | None:
    config: Any = np.show_config(mode="dicts")
    blas = config.get("Build Dependencies", {}).get("blas", {})
    return f"{blas.get('name')} {blas.get('version')}" if blas.get("name") else None


def _safely(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except Exception:  # a field that cannot be read must not cost the run its results
        return None


def collect(contenders: Iterable[Any] = ()) -> dict[str, Any]:
    """The environment as run.json keeps it. The threading layer is known after a parallel region only, so collect after the cells too."""
    import kernels

    return {
        "cpu": _safely(cpu_model),
        "cores": psutil.cpu_count(logical=False),
        "logical_cores": psutil.cpu_count(),
        "usable_cores": _safely(lambda: len(psutil.Process().cpu_affinity())),
        "caches": _safely(_caches),
        "features": sorted(name for name, has in llvm.get_host_cpu_features().items() if has and FEATURES.search(name)),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "memory_bytes": psutil.virtual_memory().total,
        "os": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES} | {"LLVM": ".".join(map(str, llvm.llvm_version_info))},
        "blas": _safely(_blas),
        "thread_pools": [{key: pool.get(key) for key in ("internal_api", "version", "num_threads")} for pool in threadpool_info()],
        "threads": _safely(cores),
        "thread_variables": {name: value for name, value in sorted(os.environ.items()) if name.startswith(THREAD_VARIABLES)},
        "tuning": os.environ.get("KERNELS_TUNING"),
        "commit": commit(),
        "dirty": dirty(),
        "kernels": getattr(kernels, "__version__", None),
        "contenders": {each.name: each.version() for each in contenders},
    }
