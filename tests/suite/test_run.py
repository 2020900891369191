"""Results written and read back, the machine's limits, and the commands as a user types them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import timeit
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from patience import PATIENCE
from scipy.io import wavfile
from threadpoolctl import threadpool_limits
from typer.testing import CliRunner

from benchmarks.__main__ import app
from benchmarks.host import environment, limits, peak_memory
from benchmarks.records import archive
from benchmarks.records.results import Line, Run
from benchmarks.runner.run import new_folder
from benchmarks.runner.run_options import Options

LINE = Line("some.layer", "direct", 2, 1, "conv2d", "conv2d n1 …", 2000, 400, "ok", seconds=(1e-6, 2e-6, 9e-6), error=1e-7, prepare_s=0.5)


def kept(folder: Path, *lines: Line) -> Run:
    for line in lines:
        archive.append_cell(folder, line)
    limit = {"2": {"fma_gflops": 4.0, "fma_spread": 0.01, "bandwidth_gbs": 0.1, "bandwidth_spread": 0.02}}
    command = ("python", "-m", "benchmarks")
    archive.save(Run("id", "2026-01-02T03:04:05+00:00", command, "quick", 2, (2,), "clip", {"cpu": "x"}, limit), folder)
    return archive.load(folder)


def test_round_trip_and_derived_numbers(tmp_path: Path) -> None:
    second = replace(LINE, pass_=2, seconds=(4e-6, 4e-6), error=3e-7, prepare_s=0.01)
    run = kept(tmp_path, LINE, second)
    (cell,) = run.cells
    assert cell.samples == (LINE.seconds, second.seconds)
    assert cell.pass_medians == (2e-6, 4e-6) and cell.median_s == pytest.approx(3e-6)
    assert cell.gflops == pytest.approx(2000 / 3e-6 / 1e9) and cell.gbs == pytest.approx(400 / 3e-6 / 1e9)
    assert cell.limit_s(run.limits) == pytest.approx(4e-6), "400 bytes at 0.1 GB/s take longer than 2000 flops at 4 GFLOP/s"
    assert cell.share_of_limit(run.limits) == pytest.approx(4 / 3)
    assert cell.error == 3e-7 and cell.prepare_s == 0.5, "the worst error, the cold preparation"
    assert run.cell("some.layer", "direct") is cell and run.cell("some.layer", "torch") is None


def test_a_wrong_pass_takes_the_time_away(tmp_path: Path) -> None:
    wrong = replace(LINE, pass_=2, status="wrong", reason="error 1 of the largest output", seconds=(), error=1.0)
    (cell,) = kept(tmp_path, LINE, wrong, replace(LINE, pass_=3)).cells
    assert cell.status == "wrong" and cell.samples == () and cell.median_s is None and cell.gflops is None and cell.error == 1.0


def test_refusals_keep_their_sentence_and_a_cut_line_is_left_out(tmp_path: Path) -> None:
    refused = replace(LINE, contender="fft", status="refused", reason="stride 2 is not supported", seconds=(), error=None)
    kept(tmp_path, LINE, refused)
    with open(tmp_path / "cells.jsonl", "a") as file:
        file.write('{"pass": 1, "workload": "cut sho')
    run = archive.load(tmp_path)
    assert [(cell.contender, cell.status, cell.reason) for cell in run.cells] == [
        ("direct", "ok", ""), ("fft", "refused", "stride 2 is not supported"),
    ]  # fmt: skip


def test_an_unknown_status_or_schema_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="status 'fine'"):
        archive.append_cell(tmp_path, replace(LINE, status="fine"))
    kept(tmp_path, LINE)
    data = json.loads((tmp_path / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps(data | {"schema": 99}))
    with pytest.raises(ValueError, match="schema 99"):
        archive.load(tmp_path)


def test_limits_are_measured_and_plausible() -> None:
    by_lanes = limits.fma_gflops(1, repeats=5)
    fma, spread = max(by_lanes.values())
    assert 0 <= spread < 2 and set(by_lanes) == {4, 8, 16}
    a = np.ones((768, 768), np.float32)
    with threadpool_limits(limits=1, user_api="blas"):
        product = min(timeit.repeat(lambda: a @ a, number=1, repeat=9))
    # A peak is at least what a matrix product reaches; half of it allows for a machine that is busy at the wrong moment.
    assert 0.5 * 2 * 768**3 / product / 1e9 < fma < 2000
    for bandwidth, _ in limits.bandwidth_gbs(1, repeats=3, array_bytes=32 << 20).values():
        assert 0.2 < bandwidth < 2000
    for threads in (1, 2):
        launch, _ = limits.launch_us(threads, launches=50)
        assert 0.01 < launch < 100_000
    counts = np.zeros(2, np.int64)
    limits._nothing.ready(counts)(2, 2, counts)
    assert list(counts) == [1, 1]


def test_the_environment_is_json_and_says_where() -> None:
    found = json.loads(json.dumps(environment.collect()))
    assert found["cpu"] and found["memory_bytes"] > 1 << 28
    assert found["versions"]["numpy"] == np.__version__
    assert found["python"].count(".") == 2


def test_the_environment_of_other_systems(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No /proc, no /sys, no affinity: Apple silicon's performance cores and their caches, Windows by py-cpuinfo."""
    values = {"hw.perflevel0.physicalcpu": "6", "hw.perflevel0.l1dcachesize": "131072", "hw.perflevel0.l2cachesize": "12582912"}
    monkeypatch.setattr(environment, "_sysctl", values.get)
    monkeypatch.setattr(environment.sys, "platform", "darwin")
    monkeypatch.delattr(environment.psutil.Process, "cpu_affinity", raising=False)
    assert environment.physical_cores() == 6 and environment.caches() == {"L1d": "128K", "L2": "12288K"}
    assert environment.usable_cores() == environment.psutil.cpu_count()
    monkeypatch.setattr(environment.sys, "platform", "win32")
    monkeypatch.setitem(sys.modules, "cpuinfo", SimpleNamespace(get_cpu_info=lambda: {"l2_cache_size": 1 << 20, "l3_cache_size": "8 MB"}))
    assert environment.caches(tmp_path / "no sys") == {"L2": "1024K"}
    assert json.dumps(environment.collect()) and peak_memory.HighWater().growth() != -1


def test_run_folders_never_collide(tmp_path: Path) -> None:
    """Not even those of runs that begin in the same minute, at the same moment."""
    now = datetime(2026, 11, 22, 15, 10, tzinfo=UTC)
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: new_folder(tmp_path / "runs", now), range(24)))
    assert len(set(folders)) == 24 and all(folder.is_dir() for folder in folders)
    assert min(folder.name for folder in folders).startswith("2026-11-22T1510Z-")


def test_a_place_that_cannot_be_written_is_a_sentence_before_anything_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.runner.cell.Bench.measure", None)
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        done = CliRunner().invoke(app, ["run", "--workload", "effat.preemph", "--contender", "jit", "--out", str(out)])
        assert done.exit_code == 2 and "no run can be kept there" in " ".join(done.output.split()), done.output
        assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("options", [Options(threads=(0,)), Options(batch=0), Options(passes=0), Options(threads=(100_000,))])
def test_numbers_out_of_range_are_sentences(options: Options) -> None:
    with pytest.raises(ValueError, match=r"at least 1|this process may use"):
        options.matrix()


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    # pytest-benchmark times nothing where it believes itself to be a worker of pytest-xdist
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_XDIST", "PYTEST_ADDOPTS"))}
    full = [sys.executable, "-m", *arguments]
    return subprocess.run(full, cwd=environment.ROOT, capture_output=True, text=True, timeout=PATIENCE, env=own)


def test_a_run_from_the_command_line_leaves_everything(tmp_path: Path) -> None:
    """Two workloads, one of them refused, two passes, the user's own clip, JSON on standard output."""
    wave = tmp_path / "mine.wav"
    wavfile.write(wave, 22050, (np.random.default_rng(0).normal(0, 3000, (44100, 2))).astype(np.int16))
    done = command(
        "benchmarks", "--workload", "effat.preemph", "--workload", "musicnn.backend-temporal-pooling", "--contender", "jit",
        "--contender", "scipy", "--passes", "2", "--threads", "1", "--audio", str(wave), "--out", str(tmp_path / "runs"), "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    run = archive.load(shown["folder"])
    assert run.folder is not None and run.passes == 2 and run.threads == (1,) and run.audio == "mine.wav"
    assert run.command[:3] == ("python", "-m", "benchmarks") and "--passes" in run.command
    assert {(cell.workload, cell.contender): cell.status for cell in run.cells} == {
        ("effat.preemph", "jit"): "ok", ("effat.preemph", "scipy"): "ok",
        ("musicnn.backend-temporal-pooling", "jit"): "refused", ("musicnn.backend-temporal-pooling", "scipy"): "refused",
    }  # fmt: skip
    for cell in run.cells:
        assert len(cell.samples) == (2 if cell.status == "ok" else 0)
    assert {path.name for path in run.folder.iterdir()} == {"run.json", "cells.jsonl.gz", "index.html"}
    order = [(line.pass_, line.workload, line.contender) for line in archive.lines(run.folder)]
    assert [each[1:] for each in order if each[0] == 2] == [each[1:] for each in order if each[0] == 1][::-1]
    assert set(run.limits) == {"1"} and run.limits["1"]["fma_gflops"] == max(run.limits["1"][f"fma{lanes}_gflops"] for lanes in (4, 8, 16))
    assert run.limits["1"]["launch_us"] > 0 and run.limits["1"]["copy_gbs"] > 0 and "threads" in run.environment
    assert (run.folder / "index.html").stat().st_size > 10_000 and (run.folder.parent / "README.md").exists()


def test_pytest_runs_the_same_cells(tmp_path: Path) -> None:
    stored = tmp_path / "out.json"
    done = command(
        "pytest", "benchmarks", "-p", "no:cacheprovider", "--workload", "effat.preemph", "--contender", "jit", "--threads", "1",
        f"--benchmark-json={stored}",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
    (entry,) = json.loads(stored.read_text())["benchmarks"]
    assert entry["name"] == "test_cell[effat.preemph-jit-t1]" and entry["extra_info"]["status"] == "ok"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--workload", "nope"], "no workload fits 'nope'"),
        (["run", "--contender", "nope"], "no contender fits 'nope'"),
        (["--preset", "huge"], "no preset 'huge'; there are quick, core, full"),
        (["--threads", "two"], "whole numbers separated by commas"),
        (["--audio", "nowhere.wav"], "there is no file nowhere.wav"),
        (["report", "nowhere"], "nowhere is no run's folder"),
    ],
)
def test_mistakes_get_a_sentence_and_status_2(arguments: list[str], sentence: str) -> None:
    verb = [] if arguments[0] in ("run", "report") else ["run"]
    done = CliRunner().invoke(app, [*verb, *arguments])
    assert done.exit_code == 2
    assert sentence in " ".join(done.output.split())
