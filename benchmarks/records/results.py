"""What a run leaves behind, as values: Line, Cell and Run.

A Line is one finished cell of one pass; `merge` makes one Cell of those of all passes. Reports read these values; they never see a
contender or the library. archive.py keeps them on the disk.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from math import inf
from pathlib import Path
from statistics import median
from typing import Any, get_args, get_type_hints

SCHEMA = 1
# The suite's own peers, in the order that reports show
PEERS = ("torch", "torch_channels_last", "torch_compiled", "onnxruntime", "openvino", "ncnn", "mnn")
BASELINES = ("scipy",)  # what one would write without any of them; nobody is proud of being faster
CHOOSERS = ("auto", "measured")  # of ours: another implementation by another name
STATUSES = ("ok", "wrong", "refused", "over_budget", "failed")

Limits = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Line:
    """One finished cell of one pass: a line of cells.jsonl."""

    workload: str
    contender: str
    threads: int
    batch: int
    op: str
    problem: str
    flops: int
    bytes: int  # compulsory: every input, weight and output once
    status: str
    reason: str = ""
    seconds: tuple[float, ...] = ()  # raw samples, one call each
    error: float | None = None  # max|y - ref| / max|ref|
    error_bound: float | None = None  # of error_of_sum where there is one, else of error
    workspace_bytes: int | None = None
    prepare_s: float | None = None
    first_call_s: float | None = None
    predicted_s: float | None = None
    inside_timer: str = ""
    pass_: int = 1  # "pass" in the file; 0 is a process of its own (--fresh), which times the beginning only
    count: int = 1  # how often a user's model has this layer
    peer: bool | None = None  # whether it is none of our implementations; lines without it tell by the name
    import_s: float | None = None  # what the contender runs on, in a process of its own
    peak_bytes: int | None = None  # by which the process grew at most in preparation and first call
    identity: str = ""  # of what was measured: its problem and its input's content, whatever it is called; "" in older runs
    error_of_sum: float | None = None  # max|y - ref| / the largest sum of |x| |w| over a window; not in networks, nor in older runs

    @property
    def key(self) -> tuple[str, str, int, int]:
        return self.workload, self.contender, self.threads, self.batch

    @property
    def bounded_error(self) -> float | None:
        """The error that `error_bound` bounds."""
        return self.error if self.error_of_sum is None else self.error_of_sum

    def as_json(self) -> str:
        fields = asdict(self)
        return json.dumps({"pass": fields.pop("pass_"), **fields}, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Line:
        """Read a line; fields that a later version may have added are left out. TypeError says which field holds what it may not."""
        values = json.loads(text)
        values["pass_"] = values.pop("pass")
        values["seconds"] = tuple(map(float, values["seconds"]))
        known = {name: value for name, value in values.items() if name in _KINDS}
        if wrong := [name for name, value in known.items() if not isinstance(value, _KINDS[name])]:
            raise TypeError(f"{', '.join(wrong)} are of another kind than they should be")
        return cls(**known)


_KINDS: dict[str, Any] = {  # what each field of a line may hold; JSON writes whole floats without a point
    name: tuple if name == "seconds" else kind | int if float in get_args(kind) else kind for name, kind in get_type_hints(Line).items()
}


@dataclass(frozen=True)
class Cell:
    """Workload x contender of a run, its passes merged."""

    workload: str
    contender: str
    threads: int
    batch: int
    op: str
    problem: str
    flops: int
    bytes: int
    status: str
    reason: str
    samples: tuple[tuple[float, ...], ...]  # one tuple of seconds per timed pass
    error: float | None
    error_bound: float | None
    workspace_bytes: int | None
    prepare_s: float | None
    first_call_s: float | None
    predicted_s: float | None
    inside_timer: str
    count: int = 1
    peer: bool | None = None
    import_s: float | None = None  # known where prepare_s and first_call_s are those of a process of its own
    peak_bytes: int | None = None
    identity: str = ""
    error_of_sum: float | None = None

    def same_thing(self, other: Cell) -> bool:
        """Whether both cells measured one problem on one input."""
        known = self.identity and other.identity
        return self.identity == other.identity if known else (self.problem, self.flops) == (other.problem, other.flops)

    @property
    def key(self) -> tuple[str, str, int, int]:
        return self.workload, self.contender, self.threads, self.batch

    @property
    def is_ours(self) -> bool:
        """Whether it is one of our implementations, or chooses among them."""
        return self.contender not in (*PEERS, *BASELINES) if self.peer is None else not self.peer and self.contender not in BASELINES

    @property
    def is_peer(self) -> bool:
        """Whether it is set against ours: another library, but no baseline."""
        return not self.is_ours and self.contender not in BASELINES

    @property
    def chose(self) -> str:
        """What "auto" took, where it said so."""
        return self.reason.removeprefix("chose ") if self.reason.startswith("chose ") and self.is_ours else ""

    @cached_property
    def pass_medians(self) -> tuple[float, ...]:
        return tuple(median(seconds) for seconds in self.samples)

    @cached_property
    def median_s(self) -> float | None:
        """Median over passes of each pass's median; None for a cell without a time."""
        return median(self.pass_medians) if self.samples else None

    @property
    def gflops(self) -> float | None:
        return self.flops / self.median_s / 1e9 if self.median_s else None

    @property
    def gbs(self) -> float | None:
        return self.bytes / self.median_s / 1e9 if self.median_s else None

    def limit_s(self, limits: Limits) -> float | None:
        """The least time this machine could take: the larger of flops over FMA peak and compulsory bytes over bandwidth."""
        machine = limits.get(str(self.threads))
        if machine is None:
            return None
        return max(self.flops / (machine["fma_gflops"] * 1e9), self.bytes / (machine["bandwidth_gbs"] * 1e9))

    def share_of_limit(self, limits: Limits) -> float | None:
        """1.0 is as fast as the machine can; above 1 for methods that need fewer operations, or data that stays in cache."""
        limit = self.limit_s(limits)
        return limit / self.median_s if limit is not None and self.median_s else None


@dataclass(frozen=True)
class Run:
    """One run of the suite."""

    id: str
    created: str
    command: tuple[str, ...]
    preset: str
    passes: int
    threads: tuple[int, ...]
    audio: str
    environment: dict[str, Any]
    limits: dict[str, dict[str, float]]
    cells: tuple[Cell, ...] = ()
    folder: Path | None = field(default=None, compare=False)
    options: dict[str, Any] = field(default_factory=dict)  # those that were not the defaults
    stopped: str = ""  # "" for a whole run; else what it had done: crashed, been interrupted, run out of time
    unreadable: int = 0  # lines of cells.jsonl that could not be read
    about: dict[str, dict[str, str]] = field(default_factory=dict)  # what each workload is: model, layer, source, input

    def workloads(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(cell.workload for cell in self.cells))

    def contenders(self) -> tuple[str, ...]:
        """Ours first, in the order they ran; then the peers in PEERS order; then those of other packages; baselines last."""
        names, ours = dict.fromkeys(cell.contender for cell in self.cells), self.ours()
        known = [*(name for name in names if name in ours), *PEERS]
        rank = {name: place for place, name in enumerate(known)} | {name: len(names) + len(known) for name in BASELINES}
        return tuple(sorted(names, key=lambda name: rank.get(name, len(known))))

    def ours(self) -> frozenset[str]:
        """Names of our implementations."""
        return frozenset(cell.contender for cell in self.cells if cell.is_ours)

    def peers(self) -> frozenset[str]:
        """Names of the other libraries that ours are set against."""
        return frozenset(cell.contender for cell in self.cells if cell.is_peer)

    def cell(self, workload: str, contender: str, threads: int | None = None, batch: int | None = None) -> Cell | None:
        for cell in self.cells:
            if (cell.workload, cell.contender) == (workload, contender) and threads in (None, cell.threads) and batch in (None, cell.batch):
                return cell
        return None

    def as_json(self) -> dict[str, Any]:
        """What run.json holds."""
        return {
            "schema": SCHEMA, "id": self.id, "created": self.created, "command": list(self.command), "preset": self.preset,
            "passes": self.passes, "threads": list(self.threads), "audio": self.audio, "environment": self.environment,
            "limits": self.limits, "options": self.options, "stopped": self.stopped, "about": self.about,
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: dict[str, Any], cells: tuple[Cell, ...], folder: Path, unreadable: int = 0) -> Run:
        """The run that run.json tells of. KeyError or TypeError say which field is missing, or holds what it may not."""
        if wrong := [name for name, right in _MAY_HOLD.items() if name in data and not right(data[name])]:
            raise TypeError(f"{', '.join(wrong)} of another kind than it should be")
        return cls(
            id=data["id"], created=data["created"], command=tuple(data["command"]), preset=data["preset"], passes=data["passes"],
            threads=tuple(data["threads"]), audio=data["audio"], environment=data["environment"], limits=data["limits"],
            cells=cells, folder=folder, options=data.get("options", {}), stopped=data.get("stopped", ""), unreadable=unreadable,
            about=data.get("about", {}),
        )  # fmt: skip


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _is_limits(value: Any) -> bool:
    """By number of threads what the machine can do at most, in numbers above 0; spreads may be 0."""
    return isinstance(value, dict) and all(
        threads.isdecimal() and isinstance(machine, dict) and {"fma_gflops", "bandwidth_gbs"} <= machine.keys()
        and all(type(number) in (int, float) and 0 <= number < inf for number in machine.values())
        and machine["fma_gflops"] > 0 < machine["bandwidth_gbs"]
        for threads, machine in value.items()
    )  # fmt: skip


_MAY_HOLD: dict[str, Callable[[Any], bool]] = {  # each field of run.json, since people and torn disks write there too
    **dict.fromkeys(("id", "created", "preset", "audio", "stopped"), lambda value: isinstance(value, str)),
    **dict.fromkeys(("environment", "options"), lambda value: isinstance(value, dict)),
    "command": _texts, "passes": lambda value: type(value) is int, "limits": _is_limits,
    "threads": lambda value: isinstance(value, list) and all(type(each) is int for each in value),
    "about": lambda value: isinstance(value, dict) and all(isinstance(each, dict) and _texts([*each.values()]) for each in value.values()),
}  # fmt: skip


def merge(found: Iterable[Line]) -> tuple[Cell, ...]:
    """One Cell per key and identity, in order of first appearance: what was measured under one name but is not the same is two cells.

    A wrong answer in any pass makes the cell wrong and takes its times away; else one timed pass makes it ok; else the last pass speaks.
    Errors and memory are the largest over passes, prepare and first-call times those of the first pass (later ones are warm), or of a
    process of its own, which comes before it.
    """
    groups: dict[tuple[object, ...], list[Line]] = {}
    for line in sorted(found, key=lambda line: line.pass_):
        groups.setdefault((line.key, line.identity), []).append(line)
    return tuple(_merge_one(group) for group in groups.values())


def _merge_one(group: list[Line]) -> Cell:
    statuses = {line.status: line for line in group}  # the last of each
    speaker = statuses.get("wrong") or statuses.get("ok") or group[-1]

    def largest(name: str) -> Any:
        return max((value for line in group if (value := getattr(line, name)) is not None), default=None)

    def first(name: str) -> Any:
        return next((value for line in group if (value := getattr(line, name)) is not None), None)

    return Cell(
        workload=speaker.workload, contender=speaker.contender, threads=speaker.threads, batch=speaker.batch, op=speaker.op,
        problem=speaker.problem, flops=speaker.flops, bytes=speaker.bytes, status=speaker.status, reason=speaker.reason,
        samples=tuple(line.seconds for line in group if line.seconds) if speaker.status == "ok" else (),
        error=largest("error"), error_bound=largest("error_bound"), workspace_bytes=largest("workspace_bytes"),
        prepare_s=first("prepare_s"), first_call_s=first("first_call_s"), predicted_s=first("predicted_s"),
        inside_timer=speaker.inside_timer, count=speaker.count, peer=speaker.peer,
        import_s=first("import_s"), peak_bytes=largest("peak_bytes"), identity=speaker.identity, error_of_sum=largest("error_of_sum"),
    )  # fmt: skip
