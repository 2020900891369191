"""A run: measure the machine, make the passes through pytest-benchmark, leave a folder that says everything."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn
from rich.progress import Progress as Bar
from rich.text import Text

from benchmarks import environment, limits, passes, resume
from benchmarks.cell import Bench, Clock, Spec
from benchmarks.flush import Flush
from benchmarks.options import Options
from benchmarks.plugin import NAME, Suite
from benchmarks.results import Line, Run, load

CRASHED, INTERRUPTED, OUT_OF_TIME = "crashed", "been interrupted", "run out of time"
CELLS = Path(__file__).with_name("test_cells.py")


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
            limits={str(count): limits.measure(count) for count in options.thread_counts()}, options=options.as_json(), stopped=CRASHED,
        )  # fmt: skip
    kept.save(folder)  # its cells are still to come: whatever ends the process from here on, --resume finds it
    return _measure(kept, folder, options, console, clock or Clock())


def go_on(out: Path, minutes: float | None, console: Console, clock: Clock | None = None) -> Run:
    """Continue the newest unfinished run under `out`, with its own options (but `minutes` more, if given)."""
    kept = resume.unfinished(out)
    options = Options.from_json(kept.options, out=out, command=kept.command)
    matrix = options.matrix()
    resume.check_same(kept, environment.collect({spec.contender for spec in matrix}))
    console.print(f"Going on with {kept.id}, which had {kept.stopped}.")
    assert kept.folder is not None
    return _measure(kept, kept.folder, replace(options, minutes=minutes or options.minutes), console, clock or Clock())


def _measure(kept: Run, folder: Path, options: Options, console: Console, clock: Clock) -> Run:
    """The passes that a run still lacks."""
    preset, matrix, clip = passes.PRESETS[options.preset], options.matrix(), options.clip()
    bench = Bench(clip, preset.budget, clock, Flush(max(options.thread_counts())) if options.cold_cache else None)
    progress = passes.Progress(matrix, options.passes or preset.passes, clock, resume.finished(folder))
    console.print(f"{len(matrix)} cells, {progress.passes} passes, at most {options.total_s / 60:.3g} minutes")
    with Bar(
        TextColumn("pass {task.fields[pass_]}"), BarColumn(bar_width=20), MofNCompleteColumn(), _Left(progress),
        TextColumn("{task.fields[cell]}"), console=console, transient=True,
    ) as bar:  # fmt: skip
        total = len(matrix) * progress.passes
        task = bar.add_task("", total=total, completed=len(progress.finished), pass_=1, cell="")

        def begin(spec: Spec) -> None:
            progress.begin(spec)
            bar.update(task, cell=spec.label, pass_=progress.pass_)

        def end(spec: Spec, line: Line) -> None:
            progress.end(spec, once=(line.prepare_s or 0.0) + (line.first_call_s or 0.0))
            bar.advance(task)

        stopped = ""
        while not stopped and progress.another(options.total_s):
            cells = progress.begin_pass()
            suite = Suite(bench, cells, progress.pass_, folder, begin, end, lambda: progress.elapsed > options.total_s)
            if cells and not one_pass(suite, free_name(folder, progress.pass_)):
                stopped = INTERRUPTED
                resume.AtWork(folder).end()
            elif progress.missing:
                stopped = OUT_OF_TIME
    if stopped:
        console.print(f"[yellow]Stopped in pass {progress.pass_}, having {stopped}; --resume goes on where it stopped.[/]")
    elif progress.pass_ < progress.passes:
        console.print(f"{progress.pass_} of {progress.passes} passes: another would exceed {options.total_s / 60:.3g} minutes.")
    used = list(dict.fromkeys(spec.contender for spec in matrix))
    replace(kept, passes=progress.pass_, environment=environment.collect(used), stopped=stopped).save(folder)
    return load(folder)


def free_name(folder: Path, pass_: int) -> Path:
    """pass-N.json; what a resumed run adds to a pass gets pass-N-2.json, and so on. The command line opens the file, so it may be empty."""
    names = (f"pass-{pass_}.json", *(f"pass-{pass_}-{part}.json" for part in range(2, 1000)))
    return next(path for name in names if not (path := folder / name).exists() or not path.stat().st_size)


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
