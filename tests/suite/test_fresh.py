"""Beginnings timed in processes of their own."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from scipy.io import wavfile

from benchmarks import workloads
from benchmarks.contenders import select
from benchmarks.inputs.clip import Clip
from benchmarks.records import archive, results
from benchmarks.records.results import Line
from benchmarks.runner import fresh, run
from benchmarks.runner.cell import Bench, Budget, Spec
from benchmarks.runner.run_options import Options

CLIP = Clip("test", 32000, np.ones((2, 32000), np.float32))
SMALL = workloads.by_id("effat.preemph")
LINE = Line("effat.preemph", "jit", 1, 1, "conv1d", "conv1d n1 …", 2000, 400, "ok", seconds=(1e-6,), prepare_s=9.0, first_call_s=8.0)


def measured(name: str, kind: str, audio: Path) -> Line:
    (contender,) = select([name])
    return fresh.measure(Bench(CLIP, Budget(0.1, 1.0)), Spec(SMALL, contender, 1), kind, audio)


def test_compiling_shows_where_nothing_was_compiled_before(tmp_path: Path) -> None:
    wave = tmp_path / "short.wav"
    wavfile.write(wave, 32000, np.ones((32000, 2), np.float32))
    measured("jit", "started", wave)  # whoever comes first leaves the code on the disk
    started, installed = (measured("jit", kind, wave) for kind in fresh.KINDS)
    for line in (started, installed):
        assert line.status == "ok" and line.pass_ == fresh.PASS and line.seconds == ()
        assert line.import_s and line.prepare_s is not None and line.first_call_s is not None
    assert installed.prepare_s + installed.first_call_s > started.prepare_s + started.first_call_s  # type: ignore[operator]


def test_a_process_that_fails_says_so_and_costs_the_cell_nothing(tmp_path: Path) -> None:
    line = measured("jit", "started", tmp_path / "no such.wav")
    assert line.status == "failed" and "status 1" in line.reason and "there is no file" in line.reason
    (cell,) = results.merge([replace(LINE, identity=line.identity), line])
    assert cell.status == "ok" and cell.prepare_s == 9.0 and cell.import_s is None


def test_a_fresh_beginning_is_the_cells(tmp_path: Path) -> None:
    (cell,) = results.merge([LINE, Line(*[*LINE.key[:2], 1, 1, "conv1d", "", 2000, 400, "ok"], prepare_s=1.0, import_s=2.0, pass_=0)])
    assert (cell.import_s, cell.prepare_s, cell.first_call_s, cell.samples) == (2.0, 1.0, 8.0, ((1e-6,),))


def test_only_timed_cells_begin_afresh_and_none_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = Options(workloads=("effat.preemph",), contenders=("jit", "direct", "im2col"), threads=(1,), fresh="started")
    for name, seconds, pass_ in (("jit", (1.0,), 1), ("direct", (), 1), ("im2col", (1.0,), 1), ("im2col", (), 0)):
        archive.append_cell(tmp_path, Line("effat.preemph", name, 1, 1, "conv1d", "", 2, 4, "ok", seconds=seconds, pass_=pass_))
    begun = []

    def measure(bench: Bench, spec: Spec, kind: str, audio: Path | None) -> Line:
        begun.append((spec.contender.name, kind))
        return bench.blank(spec, fresh.PASS)

    monkeypatch.setattr(fresh, "measure", measure)
    console = Console(file=io.StringIO())
    bench = Bench(CLIP, Budget(0.1, 1.0))
    assert run._afresh(bench, options, tmp_path, console, lambda: True) == "run out of time" and begun == []
    assert run._afresh(bench, options, tmp_path, console, lambda: False) == "" and begun == [("jit", "started")]
    assert run._afresh(bench, options, tmp_path, console, lambda: False) == "" and len(begun) == 1
    with pytest.raises(ValueError, match="started or installed"):
        Options(fresh="later").matrix()
