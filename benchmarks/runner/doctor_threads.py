"""What `doctor` says of threads: settings that spoil times, OpenMP runtimes in one process, and who spins after work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.runner.finding import FALSE, Finding

COUNTS = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "BLIS_NUM_THREADS", "GOTO_NUM_THREADS")
PINS = ("OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY", "KMP_AFFINITY")
LOADED_BY_RUNS = ("torch", "onnxruntime", "openvino", "ncnn")  # what a run would load into this process
# libgomp, team.c and env.c: without OMP_WAIT_POLICY and GOMP_SPINCOUNT a thread looks 300,000 times before it sleeps, 1000 times where
# there are more threads than cores; "active" is 30 billion times, "passive" none.
GOMP_DEFAULT = 300_000


def pools() -> list[dict[str, Any]]:
    """Thread pools of the libraries that a run would load."""
    from threadpoolctl import threadpool_info

    for name in LOADED_BY_RUNS:
        with suppress(ImportError):
            import_module(name)
    return list(threadpool_info())


def runtimes(found: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """OpenMP runtimes in this process; each has threads of its own that spin a while after work."""
    names = sorted({f"{pool['prefix']} ({Path(pool['filepath']).parent.name})" for pool in found if pool.get("user_api") == "openmp"})
    if len(names) > 1:
        remedy = "nothing while the suite runs: it rests between contenders; in a program of yours, use one of them at a time"
        yield Finding("note", "OpenMP", f"{len(names)} runtimes in one process: {', '.join(names)}", remedy)
    else:
        yield Finding("ok", "OpenMP", names[0] if names else "no runtime loaded")


def waiting(environ: Mapping[str, str], found: Sequence[Mapping[str, Any]], loaded: bool) -> Iterator[Finding]:
    """How idle threads of each OpenMP runtime wait. Those that spin lose milliseconds when another process wants their core."""
    names = {str(pool["prefix"]) for pool in found if pool.get("user_api") == "openmp"}
    for name in sorted(names):
        said = _gomp(environ) if name == "libgomp" else _llvm(environ)
        if said is None:
            yield Finding("ok", f"{name} waits", "idle threads sleep at once")
        else:
            remedy = "OMP_WAIT_POLICY=passive lets them sleep at once: slower on an idle machine by microseconds a call, safe on a busy one"
            words = f"idle threads spin, {said}; beside other work that costs ms"
            yield Finding("trap" if loaded else "note", f"{name} waits", words, remedy)


def _gomp(environ: Mapping[str, str]) -> str | None:
    """How long libgomp's threads spin, None where they do not. GOMP_SPINCOUNT wins over the policy; unset is not zero."""
    count, policy = environ.get("GOMP_SPINCOUNT", "").strip().lower(), environ.get("OMP_WAIT_POLICY", "").strip().lower()
    if count:
        return None if count == "0" else f"{count} rounds (GOMP_SPINCOUNT)"
    if policy == "passive":
        return None
    if policy == "active":
        return "without end (OMP_WAIT_POLICY=active)"
    return f"{GOMP_DEFAULT:,} rounds, the default (GOMP_SPINCOUNT is not set)"


def _llvm(environ: Mapping[str, str]) -> str | None:
    """The same of LLVM's and Intel's runtime, whose default is 200 ms."""
    time, policy = environ.get("KMP_BLOCKTIME", "").strip().lower(), environ.get("OMP_WAIT_POLICY", "").strip().lower()
    if time:
        return None if time in ("0", "0ms", "0us") else f"{time} ms (KMP_BLOCKTIME)" if time.isdigit() else f"{time} (KMP_BLOCKTIME)"
    if policy == "passive":
        return None
    return "without end (OMP_WAIT_POLICY=active)" if policy == "active" else "200 ms, the default (KMP_BLOCKTIME is not set)"


def variables(environ: Mapping[str, str], usable: int) -> Iterator[Finding]:
    """Settings that give more threads than cores, pin them on top of each other, or keep them spinning."""
    traps: list[tuple[str, str]] = []
    for name in COUNTS:
        first = environ.get(name, "").split(",")[0].strip()
        if first.isdigit() and int(first) > usable:
            traps.append((name, f"more threads than the {usable} cores this process may use"))
        elif first.isdigit() and int(first) < usable and name == "OMP_NUM_THREADS":
            traps.append((name, f"some peers will not use all {usable} cores, ours will"))
    if environ.get("OMP_NESTED", "").lower() not in FALSE or environ.get("OMP_MAX_ACTIVE_LEVELS", "1") not in ("0", "1"):
        name = "OMP_NESTED" if environ.get("OMP_NESTED") else "OMP_MAX_ACTIVE_LEVELS"
        traps.append((name, "parallel regions inside parallel regions start threads squared"))
    if environ.get("OMP_DYNAMIC", "").lower() not in FALSE:
        traps.append(("OMP_DYNAMIC", "OpenMP may use fewer threads than asked for"))
    if environ.get("OMP_WAIT_POLICY", "").lower() == "active":
        traps.append(("OMP_WAIT_POLICY", "idle workers keep spinning and slow the next contender"))
    if environ.get("GOMP_SPINCOUNT", "").strip() not in ("", "0"):
        traps.append(("GOMP_SPINCOUNT", "idle workers keep spinning and slow the next contender"))
    if environ.get("KMP_BLOCKTIME", "").strip() not in ("", "0"):
        traps.append(("KMP_BLOCKTIME", "idle workers spin for so many milliseconds and slow the next contender"))
    for name in PINS:
        if environ.get(name, "").lower() not in FALSE:
            traps.append((name, "runtimes that pin alike put their threads on the same cores"))
    for name, why in traps:
        yield Finding("trap", "thread variables", f"{name}={environ[name]}: {why}", f"unset {name}")
    if not traps:
        yield Finding("ok", "thread variables", "none that spoils times")
