"""The user's own layers as workloads: a JSON file of rows in the catalogue's format, or of lines as the library prints problems."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from benchmarks.contenders.ours import problem_text
from benchmarks.workloads import Workload, from_row
from kernels.problem import AdaptivePool, Conv, ConvTranspose, Pool, Problem, parse

# What a row may leave out. Sizes and channels it may not.
USUAL = {
    "n": 1, "h": 1, "kh": 1, "sh": 1, "sw": 1, "ph": 0, "ph_end": 0, "pw": 0, "pw_end": 0, "dh": 1, "dw": 1, "groups": 1, "bias": False,
    "axes": "", "core": False, "input": None, "source": "",
}  # fmt: skip
NEEDED = ("op", "c_in", "w", "c_out", "kw")


@dataclass(frozen=True)
class Own:
    """Layers that differ, each with its count, and sentences about what was left out or is done otherwise."""

    workloads: tuple[Workload, ...]
    notes: tuple[str, ...] = ()


def read(path: Path) -> Own:
    """The layers of a file; ValueError names the entry that is none."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"--layers: {path} cannot be read as JSON: {error}") from None
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"--layers: {path} is no list of layers; it holds rows as in catalogue.json, or lines that problems print as")
    found, notes = [], []
    for number, entry in enumerate(entries, 1):
        name = f"{path.stem}.{number}"
        try:
            if isinstance(entry, str):
                problem = parse(entry)
                found.append(from_problem(problem, name))
                notes += [f"{name}: timed without its {each}" for each in _epilogue(problem)]
            else:
                found.append(_from_user(entry, name))
            problem_text(found[-1])  # the library's own checks of what makes a layer
        except (TypeError, ValueError) as error:
            raise ValueError(f"--layers: {path}, entry {number}: {error}") from None
    return Own(merged(found), tuple(notes))


def _from_user(entry: Any, name: str) -> Workload:
    if not isinstance(entry, dict):
        raise ValueError(f"{entry!r} is neither a row nor a line")
    missing = [field for field in NEEDED if field not in entry]
    if missing:
        raise ValueError(f"the row has no {', '.join(missing)}")
    called = str(entry.get("id", name))
    row = USUAL | {"id": called, "model": called.partition(".")[0], "layer": called.partition(".")[2], "note": ""} | entry
    return from_row(row)


def _epilogue(problem: Problem) -> list[str]:
    if not isinstance(problem, Conv):
        return []
    present = {"scale and shift": problem.scale, "activation": problem.activation, "pool": problem.pool}
    return [name for name, has in present.items() if has]


def from_problem(problem: Problem, name: str) -> Workload:
    """A workload with a problem's numbers, without the epilogue that layers of the suite do not have."""
    if len(problem.size) == 3:
        raise ValueError(f"{problem.op}: the suite's layers have one or two spatial axes")
    if problem.dtype != "float32":
        raise ValueError(f"{problem.op}: the suite runs float32, this is {problem.dtype}")
    if isinstance(problem, AdaptivePool) or (isinstance(problem, Pool) and (problem.return_indices or problem.divisor_override)):
        raise ValueError(f"{problem.op}: the suite has no adaptive pools, positions of maxima or divisors of one's own")
    padding = problem.padding
    if isinstance(problem, ConvTranspose):
        padding = tuple((before, after - more) for (before, after), more in zip(padding, problem.output_padding))
    conv = isinstance(problem, Conv)
    (kh, kw), (ph, pw), (h, w) = problem.kernel, padding, problem.size
    return Workload(
        id=name, model=name.partition(".")[0], layer=name.partition(".")[2], op=problem.op, n=problem.n, c_in=problem.c_in, h=h, w=w,
        c_out=problem.c_out if conv else problem.c_in, kh=kh, kw=kw, stride=(problem.stride[0], problem.stride[1]),
        padding=((ph[0], ph[1]), (pw[0], pw[1])), dilation=(problem.dilation[0], problem.dilation[1]), groups=problem.groups if conv else 1,
        bias=conv and problem.bias, axes="", ceil_mode=not conv and problem.ceil_mode,
        count_include_pad=conv or problem.count_include_pad,
    )  # fmt: skip


def merged(layers: Iterable[Workload]) -> tuple[Workload, ...]:
    """Equal layers as one that counts them, under the name of the first; ValueError if two that differ share a name."""
    names = {each.name for each in fields(Workload)} & {"id", "model", "layer", "core", "note", "source"}
    first: dict[Workload, Workload] = {}
    counts: Counter[Workload] = Counter()
    for layer in layers:
        bare = replace(layer, count=1, **{name: type(getattr(layer, name))() for name in names})
        first.setdefault(bare, layer)
        counts[bare] += layer.count
    found = tuple(replace(layer, count=counts[bare]) for bare, layer in first.items())
    twice = [name for name, times in Counter(each.id for each in found).items() if times > 1]
    if twice:
        raise ValueError(f"layers that differ are both called {twice[0]}")
    return found


