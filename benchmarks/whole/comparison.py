"""A whole model in front of all runtimes: outputs compared with onnxruntime's, calls in turns, a time line of each."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.report import own_files
from benchmarks.whole.own_process import alone
from benchmarks.whole.runtimes import RUNTIMES, Part, Running
from kernels.network.checking import shares

Array = np.ndarray
OURS = "spectroconv"
A_TURN, MOST = 0.05, 200  # seconds of calls of each runtime in a turn, and calls at most; one at least
REST = 0.1  # seconds between runtimes, for threads that go on spinning


@dataclass(frozen=True)
class Whole:
    """What one model took. seconds: of a call, the median of each turn, by runtime. reasons: why a runtime has none. error: the largest of
    ours against the reference, as a share of each output's largest value; error_of_reference: the same of the reference runtime, where both
    are compared with float64; errors: ours by output. first, memory: see `alone`; seconds of ours, bytes by runtime."""

    model: str
    input: str
    threads: int
    seconds: Mapping[str, Sequence[float]]
    reasons: Mapping[str, str] = field(default_factory=dict)
    error: float | None = None
    first: float | None = None
    memory: Mapping[str, float | None] = field(default_factory=dict)
    timelines: Mapping[str, Sequence[Part]] = field(default_factory=dict)
    errors: Mapping[str, float] = field(default_factory=dict)
    error_of_reference: float | None = None

    def median(self, runtime: str) -> float | None:
        """Seconds of a call."""
        found = self.seconds.get(runtime)
        return float(np.median(found)) if found else None

    @property
    def speed(self) -> float | None:
        """The quickest other runtime's time over ours: the median over turns, since what else the machine does hits all of a turn alike."""
        others = [name for name in self.seconds if name != OURS and self.seconds[name]]
        if not others or not self.seconds.get(OURS):
            return None
        best = min(others, key=lambda name: float(np.median(self.seconds[name])))
        return float(np.median(np.array(self.seconds[best]) / np.array(self.seconds[OURS])))


def measure(model: str, path: Path, inputs: Mapping[str, Array], shown: str, threads: int, turns: int, say: Callable[[str], None]) -> Whole:
    """Prepare, check and time an ONNX model. Raises what this library raises for a model that it cannot run."""
    makers = {name: partial(make, path, inputs, threads) for name, make in RUNTIMES.items()}
    return compare(model, makers, "onnxruntime", shown, threads, turns, say, partial(alone, path=path, inputs=inputs, threads=threads))


def compare(
    model: str, makers: Mapping[str, Callable[[], Running]], reference: str, shown: str, threads: int, turns: int,
    say: Callable[[str], None], own: Callable[[str, str], float | None] | None = None,
    exact: Callable[[], Mapping[str, Array]] | None = None,
) -> Whole:  # fmt: skip
    """The same for a model that `makers` prepare; reference: the runtime whose outputs ours are compared with, unless `exact` gives those
    that both are; own: see `alone`."""
    say(f"{model}: preparing")
    ours = makers[OURS]()
    answers = {OURS: ours.run()}
    started = own("first answer", OURS) if own else None  # after another process has compiled what the model needs
    memory = {name: own("memory", name) for name in (OURS, reference)} if own else {}
    running: dict[str, Running] = {OURS: ours}
    reasons: dict[str, str] = {}
    for name, make in makers.items():
        if name == OURS:
            continue
        try:
            made = make()
            answers[name] = made.run()
            running[name] = made
        except ImportError as why:
            reasons[name] = f"not installed: {why.name}"
        except Exception as why:  # runtimes have exceptions of their own for what they cannot do
            reasons[name] = str(why).strip().splitlines()[-1][:120]
    wanted = exact() if exact else answers.get(reference)
    errors, of_reference = (shares(answers[name], wanted) if wanted and name in answers else {} for name in (OURS, reference))
    error, error_of_reference = (max(each.values(), default=0.0) if wanted else None for each in (errors, of_reference))
    seconds: dict[str, list[float]] = {name: [] for name in running}
    calls = {name: _calls(each) for name, each in running.items()}
    gc.collect()
    for turn in range(turns):
        say(f"{model}: turn {turn + 1} of {turns}")
        for name, each in list(running.items())[:: 1 if turn % 2 == 0 else -1]:
            time.sleep(REST)
            each.before()
            each.timed()
            seconds[name].append(float(np.median([_timed(each) for _ in range(calls[name])])))
    say(f"{model}: time lines")
    timelines = {name: [(part, float(f"{took:.4g}")) for part, took in each.timeline()] for name, each in running.items()}
    return Whole(model, shown, threads, seconds, reasons, error, started, memory, timelines, errors, error_of_reference if exact else None)


def _timed(running: Running) -> float:
    """Seconds of one call."""
    started = time.perf_counter()
    running.timed()
    return time.perf_counter() - started


def _calls(running: Running) -> int:
    """Calls that fill a turn."""
    running.timed()
    return max(1, min(MOST, int(A_TURN / max(_timed(running), 1e-7))))


def store(found: Sequence[Whole], folder: Path, about: Mapping[str, str]) -> Path:
    """Keep what was measured; returns the file."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for each in found:
        rounded = {name: [float(f"{second:.5g}") for second in times] for name, times in each.seconds.items()}
        rows.append(asdict(each) | {"seconds": rounded})
    path = folder / "models.json"
    data = {"comment": own_files.MARK, "about": dict(about), "models": rows}
    return own_files.write(path, json.dumps(data, indent=1) + "\n")


def read(path: Path) -> tuple[list[Whole], dict[str, str]]:
    """What `store` kept."""
    data = json.loads(path.read_text(encoding="utf-8"))
    return [Whole(**row) for row in data["models"]], data["about"]
