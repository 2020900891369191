"""Numbers and names as people read them: three significant digits, a unit that fits, and nothing where there is no value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import floor, log10
from typing import Any

from benchmarks.records.results import Cell, Run
from benchmarks.report.standing import Mean, Ratio

NOTHING = "–"


def digits(value: float | None) -> str:
    """Three significant digits, without an exponent where it stays readable: 0.0671, 5.20, 57.8, 1234."""
    if value is None:
        return NOTHING
    if value == 0:
        return "0"
    size = abs(value)
    if size < 0.0009995:
        return f"{value:.2g}"
    places = 0 if size >= 99.95 else 1 if size >= 9.995 else 2 if size >= 0.9995 else 3 if size >= 0.09995 else 4
    return f"{value:.{places}f}"


def seconds(value: float | None) -> str:
    if value is None:
        return NOTHING
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= 0.9995 * size:
            return f"{digits(value / size)} {unit}"
    return f"{digits(value * 1e9)} ns"


def milliseconds(value: float | None) -> str:
    return NOTHING if value is None else digits(value * 1e3)


def size(value: int | None) -> str:
    """Bytes."""
    if value is None:
        return NOTHING
    for unit, scale in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if value >= scale:
            return f"{digits(value / scale)} {unit}"
    return f"{value} B"


def short(name: str, most: int) -> str:
    """A name of at most so many characters, what is cut from its middle shown as …: exported graphs have names of hundreds."""
    if len(name) <= most:
        return name
    end = most // 2
    return f"{name[: most - 1 - end]}…{name[len(name) - end :]}"


def share(value: float | None) -> str:
    return NOTHING if value is None else f"{100 * value:.0f} %" if value >= 0.01 else f"{100 * value:.2g} %"


def error(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.1e}" if value else "0"


def times(value: Ratio | Mean | None) -> str:
    """As in 2.31× or 0.000021×."""
    return NOTHING if value is None else f"{relative(value.value)}×"


def relative(value: float) -> str:
    """A ratio's digits, never with an exponent."""
    return digits(value) if value >= 0.001 or value == 0 else f"{value:.{1 - floor(log10(value))}f}"


def interval(value: Ratio | Mean | None) -> str:
    """As in 1.9–2.2, or nothing where there is no interval."""
    if value is None or value.low is None or value.high is None:
        return ""
    return f"{digits(value.low)}–{digits(value.high)}"


def machine(run: Run) -> str:
    """The processor in one line."""
    cpu = run.environment.get("cpu")
    if isinstance(cpu, dict):
        cpu = cpu.get("model") or cpu.get("name")
    return str(cpu or run.environment.get("cpu_model") or "an unnamed machine")


def commit(run: Run) -> str:
    """Short commit, with a + where files were changed and not committed."""
    value = str(run.environment.get("commit") or "")[:7]
    return (value or "no commit") + ("+" if value and run.environment.get("dirty") else "")


def date(run: Run) -> str:
    """Day and minute of the run."""
    return run.created[:16].replace("T", " ")


def reason(cell: Cell) -> str:
    """Why a cell has no time, in one sentence; empty for a timed one."""
    if cell.status == "over_budget" and cell.predicted_s is not None and not cell.reason:
        return f"predicted to take {seconds(cell.predicted_s)} a call"
    return cell.reason


LIMITS = {
    "fma_gflops": "multiply-adds, GFLOP/s", "bandwidth_gbs": "y = a·x, GB/s", "copy_gbs": "y = x, GB/s",
    "launch_us": "launch of threads, µs", "fma4_gflops": "with 4 lanes, GFLOP/s", "fma8_gflops": "with 8 lanes, GFLOP/s",
    "fma16_gflops": "with 16 lanes, GFLOP/s",
}  # fmt: skip


def limits(run: Run) -> list[tuple[str, list[str]]]:
    """What was measured of the machine: each limit's name, and its value with its spread for each number of threads."""
    names = dict.fromkeys(name for machine in run.limits.values() for name in machine if not name.endswith("_spread"))
    found = []
    for name in names:
        spread = name.rpartition("_")[0] + "_spread"
        values = [(machine.get(name), machine.get(spread)) for machine in run.limits.values()]
        found.append((LIMITS.get(name, name), [digits(value) + ("" if each is None else f" ± {share(each)}") for value, each in values]))
    return found


def flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings as (name, text), names joined by a middle dot; inner names (variables, contenders) stay as they are."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from flat(inner, f"{name} · {key}" if name else str(key).replace("_", " "))
    elif isinstance(value, list | tuple) and value and all(isinstance(inner, Mapping) for inner in value):
        for number, inner in enumerate(value, 1):  # thread pools, say: a line each
            yield f"{name} · {number}", ", ".join(f"{key} {text}" for key, text in flat(inner))
    elif name.endswith("bytes") and isinstance(value, int):
        yield name.removesuffix("bytes").strip(), size(value)
    elif isinstance(value, list | tuple):
        yield name, ", ".join(map(str, value)) or NOTHING
    elif isinstance(value, bool):
        yield name, "yes" if value else "no"
    else:
        yield name, NOTHING if value is None else str(value)
