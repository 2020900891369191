"""A run: measure the machine, make the passes through pytest-benchmark, leave a folder that says everything."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn
from rich.progress import Progress as Bar
from rich.text import Text

from benchmarks import contenders, environment, limits, passes, signals, workloads
from benchmarks.cell import Bench, Clock, Spec
from benchmarks.plugin import NAME, Suite
from benchmarks.results import Line, Run, load

CELLS = Path(__file__).with_name("test_cells.py")
REPORTS = environment.ROOT / "reports"


@dataclass(frozen=True)
class Options:
    """What the user asked for."""

    preset: str = "quick"
    workloads: tuple[str, ...] = ()
    contenders: tuple[str, ...] = ()
    threads: tuple[int, ...] = ()
    batch: int = 1
    passes: int | None = None
    audio: Path | None = None
    out: Path = REPORTS
    command: tuple[str, ...] = ()

    def matrix(self) -> list[Spec]:
        """The cells asked for; ValueError says what there is instead."""
        if any(count < 1 for count in self.threads) or self.batch < 1 or (self.passes is not None and self.passes < 1):
            raise ValueError("threads, batch and passes must be at least 1")
        chosen = [workload.batched(self.batch) for workload in workloads.select(self.preset, self.workloads)]
        return passes.specs(chosen, contenders.select(self.contenders), self.thread_counts())

    def thread_counts(self) -> tuple[int, ...]:
        from numba import config

        most = int(config.NUMBA_NUM_THREADS)
        if any(count > most for count in self.threads):
            raise ValueError(f"threads {max(self.threads)}: this process may use {most} (cores, or NUMBA_NUM_THREADS)")
        return self.threads or (most,)

    def clip(self) -> signals.Clip:
        return signals.read_wav(self.audio) if self.audio else signals.synthesise()


def run_id(now: datetime, commit: str | None, out: Path) -> str:
    """UTC date-time and short commit; a second run within the minute gets a number."""
    base = f"{now:%Y-%m-%dT%H%MZ}-{(commit or 'nocommit')[:7]}"
    names = (base, *(f"{base}-{count}" for count in range(2, 1000)))
    return next(name for name in names if not (out / name).exists())


class _Left(ProgressColumn):
    """Time left, from what each cell took before; rich's own guess assumes that all cells are alike."""

    def __init__(self, progress: passes.Progress) -> None:
        super().__init__()
        self.progress = progress

    def render(self, task: Task) -> Text:
        left = self.progress.remaining()
        return Text("  --:-- left" if left is None else f"{int(left) // 60:4d}:{int(left) % 60:02d} left", style="cyan")


def run(options: Options, console: Console, clock: Clock | None = None) -> Run:
    """Measure everything that was asked for and return the run as it was kept."""
    clock = clock or Clock()
    preset = passes.PRESETS[options.preset]
    matrix = options.matrix()
    if not matrix:
        raise ValueError("nothing to run")
    clip = options.clip()
    used = list(dict.fromkeys(spec.contender for spec in matrix))
    now = datetime.now(UTC)
    folder = options.out / run_id(now, environment.commit(), options.out)
    with console.status("measuring what this machine can do"):
        kept = Run(
            id=folder.name, created=now.isoformat(timespec="seconds"), command=options.command, preset=options.preset, passes=0,
            threads=options.thread_counts(), audio=clip.name, environment=environment.collect(used),
            limits={str(count): limits.measure(count) for count in options.thread_counts()},
        )  # fmt: skip
    kept.save(folder)

    bench = Bench(clip, preset.budget, clock)
    progress = passes.Progress(matrix, options.passes or preset.passes, clock)
    with Bar(
        TextColumn("pass {task.fields[pass_]}"), BarColumn(bar_width=20), MofNCompleteColumn(), _Left(progress),
        TextColumn("{task.fields[cell]}"), console=console, transient=True,
    ) as bar:  # fmt: skip
        task = bar.add_task("", total=len(matrix) * progress.passes, pass_=1, cell="")

        def begin(spec: Spec) -> None:
            progress.begin(spec)
            bar.update(task, cell=spec.label, pass_=progress.pass_)

        def end(spec: Spec, line: Line) -> None:
            progress.end(spec, once=(line.prepare_s or 0.0) + (line.first_call_s or 0.0))
            bar.advance(task)

        finished = True
        while finished and progress.another(preset.total_s):
            progress.begin_pass()
            suite = Suite(bench, passes.ordered(matrix, progress.pass_), progress.pass_, folder, begin, end)
            finished = one_pass(suite, folder / f"pass-{progress.pass_}.json")
    if not finished:
        console.print(f"[yellow]Stopped in pass {progress.pass_}; what was finished is kept.[/]")
    elif progress.pass_ < progress.passes:
        console.print(f"{progress.pass_} of {progress.passes} passes: another would exceed {preset.total_s / 60:.0f} minutes.")
    replace(kept, passes=progress.pass_, environment=environment.collect(used)).save(folder)
    return load(folder)


def one_pass(suite: Suite, json: Path) -> bool:
    """Run the cells once under pytest-benchmark, whose JSON (raw samples included) goes to `json`; False if the user stopped it."""
    status = pytest.main(arguments(json), plugins=[_Named(suite)])
    if status == pytest.ExitCode.INTERRUPTED and not suite.problems:
        return False
    if suite.problems or status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise RuntimeError("pytest could not run the cells:\n" + ("\n".join(suite.problems) or f"exit status {status}"))
    return True


class _Named:
    """Registers the suite under its name, which is how conftest.py knows that cells were chosen already."""

    def __init__(self, suite: Suite) -> None:
        self.suite = suite

    @pytest.hookimpl(tryfirst=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        config.pluginmanager.register(self.suite, NAME)


def arguments(json: Path) -> list[str]:
    """pytest's command line for one pass: nothing of the user's own configuration, no output of its own, no capturing of ours."""
    return [
        str(CELLS), f"--rootdir={environment.ROOT}", "-o", "addopts=", "-o", "filterwarnings=", "-W", "ignore",
        "-p", "no:terminal", "-p", "no:cacheprovider", "-p", "no:xdist", "--capture=no",
        "--benchmark-quiet", "--benchmark-disable-gc", f"--benchmark-json={json}",
    ]  # fmt: skip
