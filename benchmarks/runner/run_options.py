"""What the user asked of a run, as a value that run.json keeps and `--resume` reads again, and the cells that follow from it."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, Self

from benchmarks import contenders, workloads
from benchmarks.host import environment
from benchmarks.inputs.audio_file import read_audio
from benchmarks.inputs.clip import Clip
from benchmarks.inputs.synthesiser import synthesise
from benchmarks.runner import fresh, schedule
from benchmarks.runner.cell import Spec
from benchmarks.workloads import users
from benchmarks.workloads.training_passes import FORWARD, expand
from benchmarks.workloads.users import Own

REPORTS = environment.ROOT / "reports"  # runs that are committed
RUNS = environment.ROOT / "runs"  # everybody's own, which git ignores
PATHS = ("audio", "layers", "onnx")
MOST_BESIDE = 256  # more than cores would only make the machine unusable
NOT_KEPT = ("out", "command")  # where a run lies and how it was typed are no part of what was measured


_read = cache(users.read)  # a model of many megabytes is read once


@dataclass(frozen=True)
class Options:
    """The options of `run`; ValueError, from what reads them, says what there is instead."""

    preset: str = "quick"
    workloads: tuple[str, ...] = ()
    contenders: tuple[str, ...] = ()
    threads: tuple[int, ...] = ()
    batch: int = 1
    training: tuple[str, ...] = (FORWARD,)
    passes: int | None = None
    minutes: float | None = None
    audio: Path | None = None
    layers: Path | None = None
    onnx: Path | None = None
    inputs: tuple[str, ...] = ()
    cold_cache: bool = False
    denormals: bool = False
    beside: int = 0
    fresh: str = ""
    out: Path = RUNS
    command: tuple[str, ...] = ()

    def matrix(self) -> list[Spec]:
        """The cells asked for."""
        if any(count < 1 for count in self.threads) or self.batch < 1 or (self.passes is not None and self.passes < 1):
            raise ValueError("threads, batch and passes must be at least 1")
        if not 0 <= self.beside <= MOST_BESIDE:
            raise ValueError(f"--beside {self.beside}: 0 to {MOST_BESIDE} busy processes")
        if self.minutes is not None and not self.minutes > 0:
            raise ValueError("minutes must be more than 0")
        if self.fresh and self.fresh not in fresh.KINDS:
            raise ValueError(f"--fresh {self.fresh!r}: {' or '.join(fresh.KINDS)}")
        chosen = [
            replace(workload.batched(self.batch), denormals=self.denormals)
            for workload in expand(workloads.select(self.preset, self.workloads, self.own().workloads), self.training)
        ]
        return schedule.specs(chosen, contenders.select(self.contenders), self.thread_counts())

    def own(self) -> Own:
        """The user's own layers, if there are any."""
        if self.layers and self.onnx:
            raise ValueError("--layers and --onnx: one of them at a time")
        if self.inputs and not self.onnx:
            raise ValueError("--input fixes the free axes of a model that --onnx names")
        if self.onnx:
            return _read(self.onnx, self.inputs)
        return _read(self.layers) if self.layers else Own(())

    def thread_counts(self) -> tuple[int, ...]:
        from numba import config

        most = int(config.NUMBA_NUM_THREADS)
        if any(count > most for count in self.threads):
            raise ValueError(f"threads {max(self.threads)}: this process may use {most} (cores, or NUMBA_NUM_THREADS)")
        return self.threads or (most,)

    def clip(self) -> Clip:
        return read_audio(self.audio) if self.audio else synthesise()

    @property
    def total_s(self) -> float:
        """Seconds that the run may take."""
        return self.minutes * 60 if self.minutes else schedule.PRESETS[self.preset].total_s

    def as_json(self) -> dict[str, Any]:
        """Everything that differs from the defaults and belongs to the measurement."""
        given = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in NOT_KEPT}
        given = {name: value for name, value in given.items() if value != getattr(Options(), name)}
        return {name: str(value.resolve()) if isinstance(value, Path) else value for name, value in given.items()}

    @classmethod
    def from_json(cls, kept: dict[str, Any], **others: Any) -> Self:
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in kept.items()}
        values |= {name: Path(value) for name, value in values.items() if name in PATHS}
        return cls(**values, **others)
