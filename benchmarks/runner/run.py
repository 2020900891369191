"""A run: measure the machine, make the passes through pytest-benchmark, leave a folder that says everything."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.host import environment, limits
from benchmarks.host.cache_flush import Flush
from benchmarks.inputs.clip import Clip
from benchmarks.records import archive
from benchmarks.records.archive import append_cell, lines
from benchmarks.records.results import Run
from benchmarks.runner import fresh, interrupt, resume, schedule
from benchmarks.runner.cell import Bench, Clock, Spec
from benchmarks.runner.pytest_plugin import NAME, Suite
from benchmarks.runner.run_options import Options
from benchmarks.runner.screen import Screen

CRASHED, INTERRUPTED, OUT_OF_TIME = "crashed", "been interrupted", "run out of time"
CELLS = environment.ROOT / "benchmarks" / "test_cells.py"


def run_names(now: datetime, commit: str | None) -> Iterator[str]:
    """UTC date-time and short commit; further runs of the same minute get numbers."""
    base = f"{now:%Y-%m-%dT%H%MZ}-{(commit or 'nocommit')[:7]}"
    yield base
    yield from (f"{base}-{count}" for count in range(2, 1000))


def new_folder(out: Path, now: datetime) -> Path:
    """A folder of this run's own; ValueError where there can be none, before anything is measured."""
    try:
        return archive.make(out, run_names(now, environment.commit()))
    except OSError as error:
        raise ValueError(f"--out {out}: no run can be kept there ({error.strerror or error}); name a folder that can be written") from None


def run(options: Options, console: Console, clock: Clock | None = None) -> Run:
    """Measure everything that was asked for and return the run as it was kept."""
    matrix = options.matrix()
    if not matrix:
        raise ValueError("nothing to run")
    clip = options.clip()
    for note in options.own().notes:
        console.print(note, soft_wrap=True, highlight=False, markup=False)
    now = datetime.now(UTC)
    folder = new_folder(options.out, now)
    with archive.locked(folder):
        return _begin(options, matrix, clip, folder, now, console, clock or Clock())


def _begin(options: Options, matrix: list[Spec], clip: Clip, folder: Path, now: datetime, console: Console, clock: Clock) -> Run:
    """What the machine can do, then all passes."""
    used = list(dict.fromkeys(spec.contender for spec in matrix))
    with console.status("measuring what this machine can do"):
        kept = Run(
            id=folder.name, created=now.isoformat(timespec="seconds"), command=options.command, preset=options.preset, passes=0,
            threads=options.thread_counts(), audio=clip.name, environment=environment.collect(used),
            limits={str(count): limits.measure(count) for count in options.thread_counts()}, options=options.as_json(), stopped=CRASHED,
            about={spec.workload.id: spec.workload.about() for spec in matrix},
        )  # fmt: skip
    archive.save(kept, folder)  # its cells are still to come: whatever ends the process from here on, --resume finds it
    return _measure(kept, folder, options, console, clock)


def go_on(out: Path, minutes: float | None, console: Console, clock: Clock | None = None) -> Run:
    """Continue the newest unfinished run under `out`, with its own options (but `minutes` more, if given)."""
    kept = resume.unfinished(out)
    options = Options.from_json(kept.options, out=out, command=kept.command)
    matrix = options.matrix()
    resume.check_same(kept, environment.collect({spec.contender for spec in matrix}))
    console.print(f"Going on with {kept.id}, which had {kept.stopped}.")
    assert kept.folder is not None
    with archive.locked(kept.folder):
        return _measure(kept, kept.folder, replace(options, minutes=minutes or options.minutes), console, clock or Clock())


def _measure(kept: Run, folder: Path, options: Options, console: Console, clock: Clock) -> Run:
    """The passes that a run still lacks, then the processes of their own."""
    preset, matrix, clip = schedule.PRESETS[options.preset], options.matrix(), options.clip()
    bench = Bench(clip, preset.budget, clock, Flush(max(options.thread_counts())) if options.cold_cache else None, options.beside)
    resume.check_cells(folder, bench, matrix)
    progress = schedule.Progress(matrix, options.passes or preset.passes, clock, resume.finished(folder))
    console.print(f"{len(matrix)} cells, {progress.passes} passes, at most {options.total_s / 60:.3g} minutes")

    stopped = ""
    with interrupt.watched() as interrupted, Screen(console, progress) as screen:

        def over() -> bool:
            return interrupted() or progress.elapsed > options.total_s

        while not stopped and progress.another(options.total_s):
            suite = Suite(bench, progress.begin_pass(), progress.pass_, folder, screen.begin, screen.end, over)
            if suite.cells and (not one_pass(suite) or interrupted()):
                stopped = INTERRUPTED
                resume.AtWork(folder).end()
            elif progress.missing:
                stopped = OUT_OF_TIME
    made = progress.pass_
    if not stopped and made < progress.passes:
        console.print(f"{made} of {progress.passes} passes: another would exceed {options.total_s / 60:.3g} minutes.")
    if options.fresh and not stopped:
        stopped = _afresh(bench, options, folder, console, over)
    if stopped:
        console.print(f"[yellow]Stopped in pass {made}, having {stopped}; --resume goes on where it stopped.[/]")
    used = list(dict.fromkeys(spec.contender for spec in matrix))
    archive.save(replace(kept, passes=made, environment=environment.collect(used), stopped=stopped), folder)
    if not stopped:
        archive.pack(folder)
    return archive.load(folder)


def _afresh(bench: Bench, options: Options, folder: Path, console: Console, over: Callable[[], bool]) -> str:
    """Each timed cell begun in a process of its own; why it stopped, or nothing."""
    timed = {line.key for line in lines(folder) if line.seconds}
    cells = [spec for spec in options.matrix() if spec.key in timed]
    progress = schedule.Progress(cells, fresh.PASS, bench.clock, resume.finished(folder), fresh.PASS)
    with Screen(console, progress) as screen:
        try:
            for spec in progress.begin_pass():
                if over():
                    return OUT_OF_TIME
                screen.begin(spec)
                line = fresh.measure(bench, spec, options.fresh, options.audio)
                append_cell(folder, line)
                screen.end(spec, replace(line, prepare_s=None, first_call_s=None))
        except KeyboardInterrupt:
            return INTERRUPTED
    return ""


def one_pass(suite: Suite) -> bool:
    """Run the cells once under pytest-benchmark; False if the user stopped it."""
    with _nobody_elses():
        status = pytest.main(arguments(), plugins=[_Named(suite)])
    if status == pytest.ExitCode.INTERRUPTED and not suite.problems:
        return False
    if suite.problems or status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise RuntimeError("pytest could not run the cells:\n" + ("\n".join(suite.problems) or f"exit status {status}"))
    return True


@contextlib.contextmanager
def _nobody_elses() -> Iterator[None]:
    """Options that the environment adds are hidden from a pass; and pytest-benchmark times nothing in a worker of pytest-xdist."""
    held = {name: os.environ.pop(name) for name in ("PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER") if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(held)


class _Named:
    """Registers the suite under its name, which is how conftest.py knows that cells were chosen already."""

    def __init__(self, suite: Suite) -> None:
        self.suite = suite

    @pytest.hookimpl(tryfirst=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        config.pluginmanager.register(self.suite, NAME)


def arguments() -> list[str]:
    """pytest's command line for one pass: nothing of the user's own configuration, no output of its own, no capturing of ours."""
    return [
        str(CELLS), f"--rootdir={environment.ROOT}", "-o", "addopts=", "-o", "filterwarnings=", "-W", "ignore",
        "-p", "no:terminal", "-p", "no:cacheprovider", "-p", "no:xdist", "--capture=no",
        "--benchmark-quiet", "--benchmark-disable-gc",
    ]  # fmt: skip
