"""Remembered choices: found again by the next process, shared between processes, and never in the way whatever the file holds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from patience import PATIENCE
from processes import start_anew

import kernels
from kernels import parse
from kernels.dispatch import tuning
from kernels.dispatch.tuning import Measured
from kernels.runtime import store

LAYER = parse("conv2d n1 c3 6x9 -> c4 k3x3 s1x1 p1+1x1+1 d1x1 g1 float32")
OTHER = parse("max_pool2d n1 c8 8x8 -> k2x2 s2x2 p0+0x0+0 d1x1 float32")
FOUND = Measured("im2col", {"im2col": 0.001, "direct": 0.002})


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where choices are kept for one test; none are remembered before it."""
    path = tmp_path / "folder" / "tuning.json"
    monkeypatch.setenv("KERNELS_TUNING", str(path))
    start_anew()
    return path


@pytest.fixture(autouse=True)
def nothing_stays() -> object:
    yield
    start_anew()
    tuning._state["generation"] += 1


def test_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERNELS_CACHE_DIR", str(tmp_path))
    for value, expected in (("off", None), ("OFF", None), ("readonly", tmp_path / "tuning.json"), ("x/y.json", Path("x/y.json"))):
        monkeypatch.setenv("KERNELS_TUNING", value)
        assert tuning.path() == expected
    monkeypatch.delenv("KERNELS_TUNING")
    assert tuning.path() == tmp_path / "tuning.json"
    monkeypatch.delenv("KERNELS_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert tuning.path() == tmp_path / "spectroconv" / "tuning.json"
    monkeypatch.delenv("XDG_CACHE_HOME")

    def homeless() -> Path:
        raise RuntimeError

    monkeypatch.setattr(Path, "home", homeless)
    assert tuning.path() is not None and tuning.path().name == "tuning.json"


def test_the_next_process_finds_it(file: Path) -> None:
    tuning.remember(LAYER, 2, FOUND)
    start_anew()
    assert tuning.recall(LAYER, 2) == FOUND
    assert tuning.recall(LAYER, 1) is None and tuning.recall(OTHER, 2) is None
    assert tuning.recall(parse(str(LAYER).replace("32", "64")), 2) is None
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    assert f'"{LAYER}, 2 threads"' in file.read_text() and '"im2col": 1.0' in file.read_text()  # milliseconds, for people


def test_load_save_and_another_file(file: Path, tmp_path: Path) -> None:
    tuning.remember(LAYER, 2, FOUND)
    assert tuning.save(tmp_path / "copy.json") == tmp_path / "copy.json"
    file.unlink()
    start_anew()
    assert tuning.recall(LAYER, 2) is None
    assert tuning.load(tmp_path / "copy.json") == 1
    assert tuning.recall(LAYER, 2) == FOUND
    assert tuning.save() == file and file.exists()


def test_forget(file: Path) -> None:
    for problem in (LAYER, OTHER):
        for threads in (1, 2):
            tuning.remember(problem, threads, FOUND)
    tuning.forget(str(LAYER))
    start_anew()
    assert tuning.recall(LAYER, 1) is tuning.recall(LAYER, 2) is None and tuning.recall(OTHER, 1) == FOUND
    tuning.forget()
    assert tuning.recall(OTHER, 1) is None
    start_anew()
    assert tuning.recall(OTHER, 1) is None


def beginning(text: str) -> str:
    return text[: len(text) // 2]


def wrong_entry(text: str) -> str:
    return text.replace('"winner": "im2col"', '"winner": 3')


DAMAGED: dict[str, Callable[[str], str]] = {"cut short": beginning, "emptied": lambda text: "", "a wrong entry": wrong_entry}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_file_warns_and_is_replaced(file: Path, damage: str) -> None:
    tuning.remember(LAYER, 2, FOUND)
    file.write_text(DAMAGED[damage](file.read_text()))
    start_anew()
    with pytest.warns(RuntimeWarning, match="tuning file"):
        assert tuning.recall(LAYER, 2) is None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tuning.remember(OTHER, 2, FOUND)
    start_anew()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore" if damage == "a wrong entry" else "error")
        assert tuning.recall(OTHER, 2) == FOUND


FOREIGN = ["a page of notes", "[1, 2]", '{"colour": 3}', "[" * 10_000, '{"spectroconv tuning": 7}', "\x00\xff"]


@pytest.mark.parametrize("text", FOREIGN, ids=range(len(FOREIGN)))
def test_a_foreign_file_warns_and_is_left_alone(file: Path, text: str) -> None:
    file.parent.mkdir()
    file.write_text(text, encoding="latin-1")
    before = file.read_bytes()
    with pytest.warns(RuntimeWarning, match="is not used"):
        assert tuning.recall(LAYER, 2) is None
    with pytest.warns(RuntimeWarning, match="is left alone"):
        tuning.remember(LAYER, 2, FOUND)
    with pytest.warns(RuntimeWarning, match="is left alone"):
        tuning.forget()
    assert file.read_bytes() == before
    assert tuning.recall(LAYER, 2) is None


def test_what_is_no_file_warns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERNELS_TUNING", str(tmp_path))
    start_anew()
    with pytest.warns(RuntimeWarning, match="is not used"):
        tuning.recall(LAYER, 2)
    with pytest.warns(RuntimeWarning, match="is not written"):
        tuning.remember(LAYER, 2, FOUND)
    assert tuning.recall(LAYER, 2) == FOUND


def test_a_stale_file_warns_and_its_entries_stay(file: Path) -> None:
    tuning.remember(LAYER, 2, FOUND)
    file.write_text(file.read_text().replace(np.__version__, "1.0"))
    start_anew()
    with pytest.warns(RuntimeWarning, match="other versions or on another CPU"):
        assert tuning.recall(LAYER, 2) is None
    tuning.remember(LAYER, 2, Measured("direct", {"direct": 1.0}))
    sections = json.loads(file.read_text())[store.title("tuning")]
    assert len(sections) == 2 and "numpy 1.0" in min(sections)
    assert [entry["winner"] for entries in sections.values() for entry in entries.values()] == ["im2col", "direct"]


def test_a_read_only_file_warns_and_stays(file: Path) -> None:
    tuning.remember(LAYER, 2, FOUND)
    before = file.read_bytes()
    file.chmod(0o444)
    with pytest.warns(RuntimeWarning, match="is read-only"):
        tuning.remember(OTHER, 2, FOUND)
    assert file.read_bytes() == before and tuning.recall(OTHER, 2) == FOUND
    with pytest.warns(RuntimeWarning, match="is read-only"):
        assert tuning.save() is None


@pytest.mark.parametrize("name", ["wall/tuning.json", "wall/deeper/t.json", "x" * 5000, "~nobody-of-that-name/t.json"], ids=range(4))
def test_a_file_that_cannot_be_made_warns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wall").write_text("")
    (tmp_path / "~nobody-of-that-name").write_text("")
    monkeypatch.setenv("KERNELS_TUNING", name)
    start_anew()
    assert tuning.recall(LAYER, 2) is None
    with pytest.warns(RuntimeWarning, match="is not written"):
        tuning.remember(LAYER, 2, FOUND)
    assert tuning.recall(LAYER, 2) == FOUND


def test_readonly_reads_and_off_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERNELS_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("KERNELS_TUNING")
    start_anew()
    tuning.remember(LAYER, 2, FOUND)
    before = (tmp_path / "tuning.json").read_bytes()
    for mode, expected in (("readonly", FOUND), ("off", None)):
        monkeypatch.setenv("KERNELS_TUNING", mode)
        start_anew()
        assert tuning.recall(LAYER, 2) == expected
        tuning.remember(OTHER, 2, FOUND)
        assert tuning.recall(OTHER, 2) == FOUND, "a process remembers what it measured itself"
        tuning.forget()
        assert (tmp_path / "tuning.json").read_bytes() == before


def test_memory_and_file_are_bounded(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "MOST", 3)
    monkeypatch.setattr(store, "ENVIRONMENTS", 2)
    file.parent.mkdir()
    file.write_text(json.dumps({store.title("tuning"): {f"machine {i}": {} for i in range(5)}}, indent=1))
    for threads in range(1, 6):
        tuning.remember(LAYER, threads, FOUND)
    assert [tuning.recall(LAYER, threads) for threads in range(1, 6)] == [None, None, FOUND, FOUND, FOUND]
    sections = json.loads(file.read_text())[store.title("tuning")]
    assert len(sections) == 2 and "machine 4" in sections
    assert list(sections[store.environment()]) == [f"{LAYER}, {threads} threads" for threads in (3, 4, 5)]


def test_an_interrupted_write_leaves_the_file_as_it_was(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tuning.remember(LAYER, 2, FOUND)
    before = file.read_bytes()

    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", interrupted)
        tuning.remember(OTHER, 2, FOUND)
    assert file.read_bytes() == before and len(list(file.parent.iterdir())) == 1
    tuning.remember(OTHER, 2, FOUND)
    assert file.read_bytes() != before


WRITER = """
import sys
from kernels import parse, tuning
for threads in range(1, 41):
    tuning.remember(parse(sys.argv[1]), threads, tuning.Measured(sys.argv[2], {sys.argv[2]: 1.0}))
"""


def test_processes_that_write_at_once_lose_nothing(file: Path) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-W", "error", "-c", WRITER, str(problem), "naive"], stderr=subprocess.PIPE, text=True)
        for problem in (LAYER, OTHER)
    ]
    for writer in writers:
        _, said = writer.communicate(timeout=PATIENCE)
        assert writer.returncode == 0, said
    start_anew()
    assert all(tuning.recall(problem, threads) for problem in (LAYER, OTHER) for threads in range(1, 41))
    assert [path.name for path in file.parent.iterdir()] == [file.name]


X = np.zeros((1, 3, 6, 9), np.float32)
W = np.ones((4, 3, 3, 3), np.float32)


def planned(**options: object) -> kernels.Plan:
    return kernels.plan("conv2d", X.shape, W, padding=1, threads=1, **options)


def test_auto_takes_what_was_measured(file: Path) -> None:
    estimated = planned().implementation
    assert estimated != "naive" and "measured" not in planned().explain()
    tuning.remember(LAYER, 1, Measured("naive", {"naive": 0.0015, estimated: 0.002}))
    plan = planned()
    assert plan.implementation == "naive"
    assert "naive: taken, measured fastest, 1 thread," in plan.explain() and "of one core, measured 1.5 ms" in plan.explain()
    assert f"{estimated}: supported, estimated " in plan.explain() and "measured 2 ms" in plan.explain()
    assert planned(implementation="jit").implementation == "jit"
    tuning.forget(LAYER)
    assert planned().implementation == estimated


@pytest.mark.parametrize("winner", ["no such", "depthwise", "direct:no such", "winograd"])
def test_a_winner_that_cannot_do_it_is_not_taken(file: Path, winner: str) -> None:
    tuning.remember(LAYER, 1, Measured(winner, {winner: 1e-9}))
    assert planned().implementation not in ("no such", "depthwise", "winograd")
