"""A run that is stopped, by Ctrl-C, by the end of its process or of its time, goes on without losing a finished cell."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from patience import until
from scipy.io import wavfile

from benchmarks import workloads
from benchmarks.contenders import select
from benchmarks.host import environment
from benchmarks.inputs.clip import Clip
from benchmarks.records import archive
from benchmarks.records.results import Line, Run
from benchmarks.runner import resume, schedule
from benchmarks.runner.cell import Bench, Budget, Spec
from benchmarks.runner.pytest_plugin import Suite
from benchmarks.runner.run_options import Options

LINE = Line("effat.preemph", "jit", 1, 1, "conv1d", "conv1d n1 …", 2000, 400, "ok", seconds=(1e-6,))
SMALL = workloads.by_id("effat.preemph")
CLIP = Clip("test", 32000, np.ones((2, 32000), np.float32))


def begin(out: Path, *arguments: str) -> subprocess.Popen[str]:
    full = [sys.executable, "-m", "benchmarks", *arguments, "--out", str(out)]

    def listen() -> None:  # shells start what runs in the background deaf to Ctrl-C, and its children inherit that
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    first = listen if os.name == "posix" else None
    return subprocess.Popen(full, cwd=environment.ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=first)


def wait_for(out: Path, count: int, process: subprocess.Popen[str]) -> None:
    """Until that many cells are finished."""

    def finished() -> bool:
        assert process.poll() is None, process.communicate()[0]
        return sum(text.count("\n") for path in out.glob("*/cells.jsonl") for text in [path.read_text()]) >= count

    until(finished)


@pytest.mark.skipif(os.name != "posix", reason="no Ctrl-C can be sent to one process on this system")
def test_out_of_time_then_killed_then_interrupted_then_whole(tmp_path: Path) -> None:
    wave = tmp_path / "short.wav"  # synthesising the usual clip would be most of what these processes do
    wavfile.write(wave, 32000, np.ones((32000, 2), np.float32))
    contenders = ("jit", "im2col", "direct", "scipy")
    process = begin(tmp_path, "--workload", "effat.preemph", *(f"--contender={name}" for name in contenders),
                    "--passes=2", "--threads=1", f"--audio={wave}", "--minutes=0.00001")  # fmt: skip
    told, _ = process.communicate()
    assert process.returncode == 0 and "4 cells, 2 passes, at most 1e-05 minutes" in told, told
    (folder,) = (path.parent for path in tmp_path.glob("*/run.json"))
    assert archive.load(folder).stopped == "run out of time" and len(list(archive.lines(folder))) <= 1

    process = begin(tmp_path, "--resume", "--minutes=20")
    wait_for(tmp_path, 2, process)
    process.kill()
    process.communicate()
    after_kill = (folder / "cells.jsonl").read_text()

    process = begin(tmp_path, "run", "--resume", "--minutes=20")
    wait_for(tmp_path, after_kill.count("\n") + 1, process)
    process.send_signal(signal.SIGINT)
    told, _ = process.communicate()
    assert process.returncode == 130 and "--resume goes on" in told, told
    after_interrupt = (folder / "cells.jsonl").read_text()
    assert after_interrupt.startswith(after_kill) and archive.load(folder).stopped == "been interrupted"
    assert not (folder / "at-work.json").exists() and (folder / "index.html").exists()

    process = begin(tmp_path, "--resume", "--minutes=20")
    told, _ = process.communicate()
    assert process.returncode == 0, told
    assert gzip.decompress((folder / "cells.jsonl.gz").read_bytes()).decode().startswith(after_interrupt)
    found = [(line.contender, line.pass_, line.status, bool(line.seconds)) for line in archive.lines(folder)]
    assert sorted(found) == sorted((name, pass_, "ok", True) for name in contenders for pass_ in (1, 2))
    assert archive.load(folder).stopped == "" and archive.load(folder).passes == 2


def suite(folder: Path, names: list[str]) -> Suite:
    matrix = schedule.specs([SMALL], select(names), [1])
    return Suite(Bench(CLIP, Budget(0.01, 1.0)), matrix, 1, folder)


def test_a_cell_that_ends_the_process_twice_is_given_up(tmp_path: Path) -> None:
    class Deadly(Bench):
        def measure(self, *_: object) -> Line:
            raise SystemExit("gone")

    cells = suite(tmp_path, ["jit", "direct"])
    for _ in range(2):
        with pytest.raises(SystemExit):
            Suite(Deadly(CLIP, Budget(0.01, 1.0)), cells.cells, 1, tmp_path).measure(cells.cells[0], lambda run, rounds: [])
    gone, well = (cells.measure(spec, lambda run, rounds: [0.5] * rounds) for spec in cells.cells)
    assert gone.status == "failed" and gone.reason == "the process ended 2 times while this cell ran"
    assert well.status == "ok" and [line.status for line in archive.lines(tmp_path)] == ["failed", "ok"]


def test_finished_cells_are_neither_run_nor_expected_again(tmp_path: Path) -> None:
    for name, pass_ in (("jit", 1), ("direct", 1), ("jit", 2)):
        archive.append_cell(tmp_path, replace(LINE, contender=name, pass_=pass_))
    matrix = schedule.specs([SMALL], select(["jit", "direct", "im2col"]), [1])
    progress = schedule.Progress(matrix, 2, Clock(), resume.finished(tmp_path))

    def names(cells: list[Spec]) -> list[str]:
        return [spec.contender.name for spec in cells]

    assert names(progress.begin_pass()) == ["im2col"] and progress.missing == 1
    progress.begin(matrix[0])
    progress.clock.sleep(4.0)
    progress.end(next(spec for spec in matrix if spec.contender.name == "im2col"))
    assert progress.missing == 0 and progress.remaining() == pytest.approx(8.0)
    assert sorted(names(progress.begin_pass())) == ["direct", "im2col"]


class Clock(schedule.Clock):
    """Moves only when told to sleep."""

    time = 0.0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


def test_the_newest_unfinished_run_of_the_same_machine_and_code(tmp_path: Path) -> None:
    here = {"cpu": "one", "commit": "abc", "versions": {"numpy": "2"}}
    for name, stopped in (("2026-01-01", "crashed"), ("2026-01-02", "been interrupted"), ("2026-01-03", "")):
        archive.save(Run(name, "", (), "quick", 0, (1,), "", here, {}, options={"batch": 2}, stopped=stopped), tmp_path / name)
    found = resume.unfinished(tmp_path)
    assert found.id == "2026-01-02" and found.options == {"batch": 2}
    resume.check_same(found, here)
    with pytest.raises(ValueError, match="no unfinished run"):
        resume.unfinished(tmp_path / "2026-01-03")
    with pytest.raises(ValueError, match="began with commit abc, this is def"):
        resume.check_same(found, here | {"commit": "def"})


def test_options_survive_the_file(tmp_path: Path) -> None:
    options = Options("core", workloads=("a*",), threads=(1, 2), audio=tmp_path / "x.wav", cold_cache=True, minutes=1.5, out=tmp_path)
    kept = options.as_json()
    assert "out" not in kept and "batch" not in kept
    assert Options.from_json(kept, out=tmp_path) == options


@pytest.mark.parametrize("change", ["size", "clip", "nothing"])
def test_a_name_that_stands_for_something_else_now_is_no_run_to_go_on_with(tmp_path: Path, change: str) -> None:
    """A changed file of layers, another recording under the same name."""
    heard = workloads.by_id("vggish.conv1")
    bench = Bench(CLIP, Budget(0.01, 1.0))
    spec = schedule.specs([heard], select(["jit"]), [1])[0]
    archive.append_cell(tmp_path, bench.blank(spec, 1))
    now = replace(heard, h=64, w=96, input=None) if change == "size" else heard
    clip = Clip(CLIP.name, 32000, CLIP.samples * 2) if change == "clip" else CLIP
    later, matrix = Bench(clip, Budget(0.01, 1.0)), schedule.specs([now], select(["jit"]), [1])
    if change == "nothing":
        resume.check_cells(tmp_path, later, matrix)
        return
    with pytest.raises(ValueError, match="was conv2d .* and is conv2d" if change == "size" else "has another input"):
        resume.check_cells(tmp_path, later, matrix)
