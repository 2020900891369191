"""Calibration: numbers that are kept, read and mistrusted, and what they change; the command line. No real time is measured for long."""

from __future__ import annotations

import itertools
import json
import math
import os
import sys
from pathlib import Path

import pytest
from processes import start_anew

import kernels
from kernels import __main__ as command
from kernels import parse
from kernels.cost import calibration
from kernels.cost.calibration import BUILT_IN, Calibration, built_in, threads_for
from kernels.dispatch import calibrate, measure, tuning
from kernels.dispatch.heuristic import choose
from kernels.methods import load
from kernels.runtime import store
from kernels.runtime.machine import machine, pretend

load()
LAYER = parse("conv2d n1 c64 20x60 -> c64 k3x3 s1x1 p1+1x1+1 d1x1 g1 float32")
MEASURED = Calibration(3e9, 20e9, 5e-6, {"conv winograd": 50.0})


@pytest.fixture(autouse=True)
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever else the machine does."""
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0), raising=False)


def test_a_busy_machine_is_told_of(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (99.0, 0.0, 0.0), raising=False)
    command.main(["tune", "--layers", "none.txt"])
    assert "other programs are at work (load 99.0" in capsys.readouterr().err


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """The calibration beside a tuning file of the test's own."""
    monkeypatch.setenv("KERNELS_TUNING", str(tmp_path / "mine.json"))
    calibration._known.cache_clear()
    start_anew()
    yield tmp_path / "calibration.json"
    calibration._known.cache_clear()
    start_anew()
    tuning._state["generation"] += 1


def ours() -> Calibration:
    """What is built in for this machine."""
    return built_in(machine().vector_bytes)


def test_built_in() -> None:
    assert calibration.calibration() is ours()
    for vector_bytes, known in BUILT_IN.items():
        with pretend(vector_bytes=vector_bytes):
            assert calibration.calibration() is known
            assert math.isfinite(choose(LAYER).estimates["direct"])


def test_what_was_measured_is_kept_and_decides(file: Path) -> None:
    estimate = choose(LAYER).estimates["winograd"]
    assert choose(LAYER).name == "winograd" and threads_for(2e4, 2) == 1
    assert calibration.keep(MEASURED) and file.exists()
    assert calibration.calibration() == MEASURED and threads_for(2e4, 2) == 2
    assert choose(LAYER).name != "winograd" and choose(LAYER).estimates["winograd"] > 10 * estimate
    with pretend(vector_bytes=machine().vector_bytes // 2):
        assert calibration.calibration() is ours(), "measured for other vectors"
    with calibration.using(BUILT_IN[64]):
        assert calibration.calibration() is BUILT_IN[64]
    assert calibration.calibration() == MEASURED


WRONG = {"clock": -1, "bandwidth": "fast", "waking": math.nan, "factors": {"conv winograd": 0}}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_numbers_warn_and_are_not_used(file: Path, name: str) -> None:
    calibration.keep(MEASURED)
    held = json.loads(file.read_text())
    for section in held[store.title("calibration")].values():
        for entry in section.values():
            entry[name] = WRONG[name]
    file.write_text(json.dumps(held))
    calibration._known.cache_clear()
    with pytest.warns(RuntimeWarning, match="damaged and not used"):
        assert calibration.calibration() is ours()


def test_a_foreign_file_warns_and_stays(file: Path) -> None:
    file.write_text("{}")
    with pytest.warns(RuntimeWarning, match="is not used"):
        assert calibration.calibration() is ours()
    with pytest.warns(RuntimeWarning, match="is left alone"):
        assert not calibration.keep(MEASURED)
    assert file.read_text() == "{}"


def test_factors_are_measured_over_estimated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every method takes twice its estimate on one layer and eight times on another."""
    layers = [f"max_pool2d n1 c8 {size} -> k2x2 s2x2 p0+0x0+0 d1x1 float32" for size in ("8x8", "20x30")]
    slower = itertools.cycle([2.0, 8.0])

    def race(calls: dict[str, float], budget: float, lingers: object, everybody: bool) -> dict[str, float]:
        factor = next(slower)
        return {name: factor * seconds for name, seconds in calls.items()}

    def checked(problem: kernels.Pool, threads: int, names: list[str], budget: float) -> dict[str, float]:
        with calibration.using(Calibration(5e9 / machine().lanes(4), 7e9, 3e-5)):
            return {name: choose(problem).estimates[name] for name in names}

    monkeypatch.setattr(calibrate, "LAYERS", layers)
    monkeypatch.setattr(calibrate, "race", race)
    monkeypatch.setattr(calibrate, "checked", checked)
    for name, value in (("multiply_adds", 1e10), ("bandwidth", 7e9), ("waking", 3e-5)):
        monkeypatch.setattr(calibrate, name, lambda value=value: value)
    said: list[str] = []
    found = calibrate.calibrate(said.append)
    assert found.clock == 5e9 / machine().lanes(4) and (found.bandwidth, found.waking) == (7e9, 3e-5)
    assert found.factors == pytest.approx({"pool window": 4.0, "pool jit": 4.0, "pool naive": 4.0})
    assert any("7.0 GB/s" in line for line in said) and any("30 us" in line for line in said)
    assert not any("other programs" in line for line in said)


def test_the_machines_own_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are what the work and the clock say; the work is done whatever the clock says."""
    ticks = itertools.count(step=0.001)
    monkeypatch.setattr(measure, "clock", lambda: next(ticks))
    monkeypatch.setattr(calibrate, "ARRAY", 1 << 16)
    monkeypatch.setattr(calibrate, "ASLEEP", 0.0)
    assert calibrate.multiply_adds() == pytest.approx(200_000 * 12 * machine().lanes(4) / 0.001)
    assert calibrate.bandwidth() == pytest.approx(2 * (1 << 16) / 0.001)
    assert calibrate.waking() in (calibrate.SLOWEST_WAKING, ours().waking)


def test_every_layer_of_the_calibration_is_able_to_tell() -> None:
    problems = [parse(line) for line in calibrate.LAYERS]
    told = [{name for name, s in choose(problem).estimates.items() if s <= calibrate.LONGEST} for problem in problems]
    assert set().union(*told) >= {"direct", "winograd", "fft", "depthwise", "im2col", "jit", "window"}
    assert all(len(names) >= 2 for names in told)


def test_tune_measures_and_keeps(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The whole way, by a clock on which every call takes one tick: by the machine's own, races of a busy one need not agree."""
    ticks = itertools.count(step=1e-4)
    monkeypatch.setattr(measure, "clock", lambda: next(ticks))
    layers = tmp_path / "layers.txt"
    layers.write_text("max_pool2d n1 c4 8x8 -> k2x2 s2x2 p0+0x0+0 d1x1 float32  # top\n" * 3)
    assert command.main(["tune", "--layers", str(layers), "--budget", "0.01", "--threads", "1"]) == 0
    said, complaints = (text.splitlines() for text in capsys.readouterr())
    assert complaints == []
    assert said[0].startswith("top  3x") and said[-1] == f"kept in {tuning.path()}"
    assert tuning.recall(parse("max_pool2d n1 c4 8x8 -> k2x2 s2x2 p0+0x0+0 d1x1 float32"), 1) is not None


def test_tune_says_what_it_gains(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    layers = tmp_path / "layers.txt"
    own = choose(LAYER).name
    layers.write_text(f"{LAYER}  # first\n{LAYER}\n")
    found = tuning.Measured("naive", {"naive": 0.001, own: 0.003})
    monkeypatch.setattr("kernels.__main__.measure", lambda problem, threads, budget: found)
    assert command.main(["tune", "--layers", str(layers), "--threads", "1"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].split() == ["first", "2x", "1.000", "ms", "naive,", "3.00x", own]
    assert said[1].split()[:5] == ["all", "2.000", "ms", "as", "measured,"] and "6.000 ms as estimated" in said[1]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--layers", "none.txt"], "none.txt"),
        (["--layers", "none.txt", "--budget", "0"], "--budget is 0"),
        (["--layers", "none.txt", "--threads", "0"], "threads is 0"),
        (["--layers", "none.txt", "--input", "x=1x2"], "--input gives shapes"),
        (["--onnx", "none.onnx"], "none.onnx"),
    ],
)
def test_what_cannot_be_tuned(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    if "--onnx" in arguments:
        pytest.importorskip("onnx")
    assert command.main(["tune", *arguments]) == 2
    complaint = capsys.readouterr().err
    assert message in complaint and len(complaint.splitlines()) == 1


def test_without_onnx_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert command.main(["tune", "--onnx", "model.onnx"]) == 2
    assert "pip install 'spectroconv[onnx]'" in capsys.readouterr().err


def test_ctrl_c_and_calibrate(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], file: Path) -> None:
    def interrupted(tell: object) -> Calibration:
        raise KeyboardInterrupt

    monkeypatch.setattr(calibrate, "calibrate", interrupted)
    assert command.main(["calibrate"]) == 130 and not file.exists()
    monkeypatch.setattr(calibrate, "calibrate", lambda tell: MEASURED)
    assert command.main(["calibrate"]) == 0 and file.exists()
    assert f"kept in {file}" in capsys.readouterr().out
