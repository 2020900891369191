"""Where a run happened: machine, versions, threads, commit. Whatever cannot be read is null, never guessed."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
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


def _sysctl(name: str) -> str | None:
    """A value of macOS's kernel, None where there is none."""
    try:
        done = subprocess.run(["sysctl", "-n", name], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def usable_cores() -> int | None:
    """Cores that this process may run on; macOS has no affinity, so all of them."""
    process = psutil.Process()
    return len(process.cpu_affinity()) if hasattr(process, "cpu_affinity") else psutil.cpu_count()


def physical_cores() -> int | None:
    """Of Apple silicon the performance cores alone: the efficient ones are a third as fast, and a region waits for its slowest thread."""
    fast = _sysctl("hw.perflevel0.physicalcpu") if sys.platform == "darwin" else None
    return int(fast) if fast and fast.isdigit() else psutil.cpu_count(logical=False)


def caches(root: Path = Path("/sys/devices/system/cpu/cpu0/cache")) -> dict[str, str]:
    """Size of each level as one core sees it, e.g. {"L1d": "32K"}: of Linux's files, else of macOS's kernel, else as py-cpuinfo asks."""
    if sys.platform == "darwin":
        names = {"L1d": "l1dcachesize", "L1i": "l1icachesize", "L2": "l2cachesize", "L3": "l3cachesize"}
        sizes = {level: _sysctl(f"hw.perflevel0.{name}") or _sysctl(f"hw.{name}") for level, name in names.items()}
        return {level: f"{int(size) >> 10}K" for level, size in sizes.items() if size and size.isdigit() and int(size)}
    if not root.exists():
        import cpuinfo

        seen = cpuinfo.get_cpu_info()
        keys = {"L1d": "l1_data_cache_size", "L1i": "l1_instruction_cache_size", "L2": "l2_cache_size", "L3": "l3_cache_size"}
        return {level: f"{seen[key] >> 10}K" for level, key in keys.items() if isinstance(seen.get(key), int)}
    found = {}
    for index in sorted(root.glob("index*")):
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
        "cores": _safely(physical_cores),
        "logical_cores": psutil.cpu_count(),
        "usable_cores": _safely(usable_cores),
        "caches": _safely(caches),
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
