"""The files of a run: torn at every byte, damaged, packed, locked; nothing that was finished is lost and nothing half is read."""

from __future__ import annotations

import gzip
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.host import environment
from benchmarks.records import archive
from benchmarks.records.results import Line, Run
from benchmarks.report import list_of_runs
from benchmarks.runner import resume
from benchmarks.runner.resume import AtWork

LINE = Line("some.layer", "direct", 1, 1, "conv2d", "conv2d n1 …", 2000, 400, "ok", seconds=(1e-6, 2e-6), error=1e-7)
RUN = Run("id", "2026-01-02T03:04:05+00:00", ("python",), "quick", 1, (1,), "clip", {"cpu": "x"}, {}, stopped="crashed")


def contenders(folder: Path) -> list[str]:
    return [line.contender for line in archive.lines(folder)]


def test_a_line_torn_at_any_byte_is_cut_off_and_the_run_goes_on(tmp_path: Path) -> None:
    for line in (LINE, replace(LINE, contender="fft")):
        archive.append_cell(tmp_path, line)
    whole = (tmp_path / "cells.jsonl").read_bytes()
    first = whole.index(b"\n") + 1
    for length in range(first, len(whole)):
        (tmp_path / "cells.jsonl").write_bytes(whole[:length])
        assert contenders(tmp_path) == ["direct"], f"{length} bytes"
        archive.append_cell(tmp_path, replace(LINE, contender="winograd"))
        found = archive.read_lines(tmp_path)
        assert ([line.contender for line in found.lines], found.unreadable) == (["direct", "winograd"], 0), f"{length} bytes"


@pytest.mark.parametrize("tail", [b"\0" * 700, b"\xff\xfe{", b"{", b"null"])
def test_what_a_power_cut_leaves_instead_of_a_line_is_cut_off(tmp_path: Path, tail: bytes) -> None:
    archive.append_cell(tmp_path, LINE)
    with open(tmp_path / "cells.jsonl", "ab") as file:
        file.write(tail)
    archive.append_cell(tmp_path, replace(LINE, contender="fft"))
    assert contenders(tmp_path) == ["direct", "fft"]


def test_a_first_line_torn_at_any_byte(tmp_path: Path) -> None:
    whole = LINE.as_json().encode()
    for length in range(1, len(whole) + 1):
        (tmp_path / "cells.jsonl").write_bytes(whole[:length])
        archive.append_cell(tmp_path, LINE)
        assert contenders(tmp_path) == ["direct"]


@pytest.mark.parametrize("bad", ["null", "3", "[]", "{}", '"text"', '{"pass": 1}', '{"pass": 1, "seconds": null}', "{", "nonsense"])
def test_a_bad_line_in_an_old_run_is_counted_and_costs_nobody_else(tmp_path: Path, bad: str) -> None:
    folder = tmp_path / "old"
    archive.save(RUN, folder)
    (folder / "cells.jsonl").write_text(f"{LINE.as_json()}\n{bad}\n{replace(LINE, contender='fft').as_json()}\n", encoding="utf-8")
    run = archive.load(folder)
    assert run.unreadable == 1 and [cell.contender for cell in run.cells] == ["direct", "fft"]
    assert "old/index.html" in list_of_runs.write(tmp_path).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["run.json", "cells.jsonl", "cells.jsonl.gz", "at-work.json"])
def test_every_file_of_a_run_cut_at_any_byte_leaves_the_others_readable(tmp_path: Path, name: str) -> None:
    folder, other = tmp_path / "2026-cut", tmp_path / "2025-whole"
    for each in (folder, other):
        archive.save(RUN, each)
        archive.append_cell(each, LINE)
    AtWork(folder).begin("a cell")
    if name.endswith("gz"):
        archive.pack(folder)
    whole = (folder / name).read_bytes()
    for length in range(0, len(whole), max(1, len(whole) // 60)):
        (folder / name).write_bytes(whole[:length])
        assert "2025-whole/index.html" in list_of_runs.write(tmp_path).read_text(encoding="utf-8")
        assert resume.unfinished(tmp_path).id == "id"
        assert AtWork(folder).deaths("a cell") in (0, 1)


def test_a_later_version_s_fields_are_left_out() -> None:
    data = json.loads(LINE.as_json()) | {"of_the_future": 1}
    assert Line.from_json(json.dumps(data)) == LINE


def test_packed_lines_are_the_lines_and_a_crash_between_the_steps_loses_nothing(tmp_path: Path) -> None:
    many = [replace(LINE, contender=f"c{each}", seconds=tuple(1e-6 * (1 + i % 7) for i in range(50))) for each in range(40)]
    for line in many:
        archive.append_cell(tmp_path, line)
    plain = (tmp_path / "cells.jsonl").read_bytes()
    archive.pack(tmp_path)
    assert archive.lines(tmp_path) == many and not (tmp_path / "cells.jsonl").exists()
    assert (tmp_path / "cells.jsonl.gz").stat().st_size < len(plain) / 5
    (tmp_path / "cells.jsonl").write_bytes(plain)  # as if the process had died before it took the plain file away
    assert archive.lines(tmp_path) == many
    assert gzip.decompress((tmp_path / "cells.jsonl.gz").read_bytes()) == plain


def test_a_run_has_one_writer_and_a_folder_of_its_own(tmp_path: Path) -> None:
    first, second = (archive.make(tmp_path, iter(("a", "b", "c"))) for _ in range(2))
    assert (first.name, second.name) == ("a", "b")
    with archive.locked(first), pytest.raises(ValueError, match="a is being written by another process"), archive.locked(first):
        pass
    with archive.locked(first):
        pass
    assert not list(first.iterdir())


@pytest.mark.skipif(not (environment.ROOT / ".git").exists(), reason="not a git checkout")
def test_committed_runs_stay_small() -> None:
    folder = environment.ROOT / "reports"
    sizes = {path: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    assert sum(sizes.values()) <= 12 * 2**20, f"{sum(sizes.values()) / 2**20:.1f} MB; a newer run replaces the older of its kind"
    assert not [path for path in sizes if path.name == "cells.jsonl" or path.name.startswith("pass-")], "archive.pack compresses them"


@pytest.mark.parametrize("folder", sorted((environment.ROOT / "reports").glob("*/")), ids=lambda folder: folder.name)
def test_every_committed_run_can_be_read(folder: Path) -> None:
    run = archive.load(folder)
    assert run.cells and not run.unreadable and not run.stopped.startswith("crash") and os.path.exists(folder / "index.html")
