"""What of this environment helps or spoils a measurement, and what to do about it: one finding a line, each trouble with its remedy.

Every check takes what it looks at as arguments, so that traps can be tested where they are not set, and yields findings; a check that
raises is a finding itself. "bad" is what stops the library from working, "trap" what falsifies times, "note" what is good to know.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil

from benchmarks.runner import doctor_threads
from benchmarks.runner.finding import FALSE, Finding

SLOW = ("NUMBA_DISABLE_JIT", "NUMBA_BOUNDSCHECK", "NUMBA_DEBUG", "NUMBA_DEBUGINFO")


def diagnose() -> list[Finding]:
    """All checks on this machine, in the order in which people read them."""
    from benchmarks.host import environment

    seen = environment.collect()
    usable = int(seen["usable_cores"] or seen["logical_cores"] or 1)
    load = psutil.getloadavg()[0]  # Windows has none of its own; psutil counts there from its first call on
    pools = doctor_threads.pools()
    checks: tuple[tuple[str, Callable[[], Iterable[Finding]]], ...] = (
        ("machine", lambda: machine(seen)),
        ("vectors", lambda: vectors(os.environ)),
        ("library", library),
        ("threading layer", lambda: layer(usable)),
        ("code cache", cache),
        ("peers", peers),
        ("BLAS", blas),
        ("OpenMP", lambda: doctor_threads.runtimes(pools)),
        ("threads that wait", lambda: doctor_threads.waiting(os.environ, pools, load > 0.3 * usable)),
        ("thread variables", lambda: doctor_threads.variables(os.environ, usable)),
        ("cgroup", lambda: cgroup(Path("/"), usable)),
        ("other work", lambda: other_work(load, usable, _read("/proc/stat"), seen["governor"])),
        ("clock", clock),
        ("reports", reports),
    )
    return [finding for what, check in checks for finding in _guarded(what, check)]


def _guarded(what: str, check: Callable[[], Iterable[Finding]]) -> list[Finding]:
    try:
        return list(check())
    except Exception as error:
        return [Finding("bad" if what == "library" else "note", what, f"cannot be looked at: {type(error).__name__}: {error}")]


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def machine(seen: Mapping[str, Any]) -> Iterator[Finding]:
    caches = ", ".join(f"{name} {size}" for name, size in (seen["caches"] or {}).items())
    cores = f"{seen['usable_cores']} usable of {seen['logical_cores']} logical, {seen['cores']} physical cores"
    yield Finding("ok", "machine", f"{seen['cpu']}; {cores}; {caches}; {seen['memory_bytes'] / 2**30:.1f} GiB")
    versions = ", ".join(f"{name} {seen['versions'][name]}" for name in ("numpy", "scipy", "numba", "llvmlite", "LLVM"))
    yield Finding("ok", "software", f"Python {seen['python']}, {versions}; {seen['os']}")
    if seen["cores"] and seen["usable_cores"] and seen["usable_cores"] > seen["cores"]:
        remedy = f"--threads {seen['cores']} uses one thread a core"
        yield Finding("note", "hyper-threading", "two logical cores share one set of multiply-add units", remedy)


def vectors(environ: Mapping[str, str]) -> Iterator[Finding]:
    """What code is generated for, and whether that is all the processor has."""
    import llvmlite.binding as llvm

    from kernels.runtime.machine import cpu
    from kernels.runtime.machine import machine as target

    has = {name for name, there in llvm.get_host_cpu_features().items() if there}
    used = {word[1:] for word in cpu()[1].split(",") if word.startswith("+")}
    width = next((name for name in ("avx512f", "avx2", "neon", "sse2") if name in used), "no vectors")
    found = f"{width}, {8 * target().vector_bytes} bits, {target().registers} registers, compiled for {cpu()[0]}"
    lost = sorted(name for name in ("avx512f", "avx2", "fma") if name in has - used)
    if lost:
        remedy = "unset NUMBA_CPU_NAME and NUMBA_CPU_FEATURES"
        yield Finding("trap", "vectors", f"{found}; the processor also has {', '.join(lost)}", remedy)
    elif width in ("sse2", "no vectors"):
        yield Finding("note", "vectors", found, "a processor with AVX2 and FMA, or NEON, is several times as fast")
    else:
        yield Finding("ok", "vectors", found)
    for name in SLOW:
        if environ.get(name, "").lower() not in FALSE:
            yield Finding("trap", "compiler", f"{name}={environ[name]} makes compiled code slow or takes it away", f"unset {name}")
    if environ.get("NUMBA_OPT", "3") not in ("3", "max"):
        yield Finding("trap", "compiler", f"NUMBA_OPT={environ['NUMBA_OPT']}: less than full optimisation", "unset NUMBA_OPT")


def library() -> Iterator[Finding]:
    """Make and call a small plan, which compiles or loads code as any first call does; a pool, because convolutions compile for longer."""
    import numpy as np

    import kernels

    start = time.perf_counter()
    x = np.arange(1024, dtype=np.float32).reshape(1, 1, 32, 32)
    plan = kernels.plan("max_pool2d", x.shape, 2)
    right = np.array_equal(plan(x), x[:, :, 1::2, 1::2])
    took = time.perf_counter() - start
    where = f"kernels {kernels.__version__} from {Path(kernels.__file__).parent}"
    if right:
        yield Finding("ok", "library", f"{where}; first plan and call took {took:.2f} s")
    else:
        yield Finding("bad", "library", f"{where}: {plan.implementation} gives wrong maxima", "run the tests: python -m pytest")


def layer(usable: int) -> Iterator[Finding]:
    """How many threads the library uses, and how they sleep."""
    from kernels.runtime.machine import cores
    from kernels.runtime.workers import futex

    threads = cores()
    if threads < usable:
        remedy = "unset NUMBA_NUM_THREADS, call numba.set_num_threads with more, or --threads"
        yield Finding("trap", "threads", f"{threads} of {usable} usable cores", remedy)
    else:
        yield Finding("ok", "threads", f"{threads}, {'native, asleep on a futex' if futex() else 'of Python'} when idle")


def cache() -> Iterator[Finding]:
    """Where compiled code is kept, whether it can be written, and its size."""
    from kernels.runtime.disk_cache import folder
    from kernels.runtime.user_files import cache_folder

    path = folder()
    if path is None:
        remedy = "set KERNELS_CACHE_DIR to a folder that can be written; until then each process compiles anew"
        yield Finding("trap", "code cache", f"nothing can be written under {cache_folder()}", remedy)
        return
    sizes = [file.stat().st_size for file in path.parent.rglob("*.bin")]
    own, builds = len(list(path.glob("*.bin"))), sum(each.is_dir() for each in path.parent.iterdir())
    found = f"{path}: {own} functions for this build; {builds} builds in {path.parent}, {sum(sizes) / 2**20:.0f} MiB"
    large = sum(sizes) > 2**30
    yield Finding("note" if large else "ok", "code cache", found, f"rm -r {path.parent} frees it" if large else "")


def peers(everyone: Sequence[Any] | None = None) -> Iterator[Finding]:
    """Peers that are installed, with versions, and those that are not."""
    from benchmarks import contenders
    from benchmarks.records.results import PEERS

    for each in contenders.everyone() if everyone is None else everyone:
        if each.name in PEERS:
            missing = each.available()
            remedy = f'{sys.executable} -m pip install -e ".[peers]"'
            yield Finding("note", each.name, missing, remedy) if missing else Finding("ok", each.name, str(each.version()))


def blas() -> Iterator[Finding]:
    """Whether the library can bound the threads of matrix products."""
    from kernels.runtime.blas import openblas

    for owner in ("numpy", "scipy"):
        found = openblas(owner)
        if found is None:
            remedy = "set MKL_NUM_THREADS or the like to --threads before a run, or install NumPy and SciPy from PyPI"
            yield Finding("trap", f"BLAS of {owner}", "no OpenBLAS: its threads cannot be bounded by a call", remedy)
        else:
            yield Finding("ok", f"BLAS of {owner}", f"OpenBLAS, {found[0]()} threads, bounded by each call")


def cgroup(root: Path, usable: int) -> Iterator[Finding]:
    """CPU time and memory that a container may use, which core counts do not show."""
    from kernels.runtime.machine import memory_limit, quota

    cores, memory = quota(root), memory_limit(root) / 2**30
    if cores < usable:
        remedy = f"--threads {max(1, int(cores))}, or give the container whole cores (docker run --cpuset-cpus)"
        yield Finding("trap", "cgroup", f"{cores:g} cores' worth of time for {usable} cores: work is stopped in mid-call", remedy)
    else:
        yield Finding("ok", "cgroup", "no limit on CPU time")
    if memory < 4:
        yield Finding("note", "memory", f"limited to {memory:.1f} GiB", "leave out large layers: --workload, --batch 1")


def other_work(load: float, usable: int, stat: str, governor: str | None) -> Iterator[Finding]:
    """What else takes time from this machine."""
    remedy = "end other programs, or give more passes (--passes 5) and look at the spread over passes"
    if load > 0.3 * usable:
        yield Finding("trap", "other work", f"{load:.1f} processes were running over the last minute, on {usable} cores", remedy)
    else:
        yield Finding("ok", "other work", f"load {load:.2f} on {usable} cores")
    times = [int(word) for word in (stat.splitlines() or [""])[0].split()[1:9]]
    if len(times) == 8 and times[7] > 0.005 * sum(times):
        share = times[7] / sum(times)
        yield Finding("trap", "virtual machine", f"{100 * share:.1f} % of the time since start went to other guests of this host", remedy)
    if governor not in (None, "performance"):
        yield Finding("trap", "governor", f"{governor}: the clock follows the load", "sudo cpupower frequency-set -g performance")


def clock() -> Iterator[Finding]:
    """The smallest step of the timer."""
    ticks = [time.perf_counter_ns() for _ in range(10_000)]
    step = min(later - earlier for earlier, later in pairwise(ticks) if later > earlier)
    remedy = "calls shorter than a hundred steps cannot be timed; see the system's clock source" if step > 1000 else ""
    yield Finding("trap" if remedy else "ok", "clock", f"steps of {step} ns", remedy)


def reports() -> Iterator[Finding]:
    """Whether a run can leave its results, and whether they will name the code that ran."""
    from benchmarks.host import environment

    folder = environment.ROOT / "runs"
    parent = folder if folder.exists() else folder.parent
    if os.access(parent, os.W_OK):
        yield Finding("ok", "reports", f"{folder} can be written")
    else:
        yield Finding("trap", "reports", f"{parent} cannot be written", "--out DIR puts runs elsewhere")
    if environment.dirty():
        found, remedy = "files differ from the commit, and runs will say so", "git commit before a run that is to be kept"
        yield Finding("note", "commit", found, remedy)
    elif environment.commit() is None:
        found, remedy = "no git checkout: runs will not name the code that ran", "git clone, or keep the archive beside its runs"
        yield Finding("note", "commit", found, remedy)
    if sys.flags.optimize or sys.gettrace():
        yield Finding("trap", "Python", "a debugger or profiler is attached, or -O is set", "run python -m benchmarks plainly")
