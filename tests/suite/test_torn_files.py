"""A run's files after a power cut or a full disk: cut at every byte, or holding what is no line of a run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import fabricated_run as fabricated
import pytest

from benchmarks.host import environment
from benchmarks.records import archive
from benchmarks.records.results import Line
from benchmarks.report import list_of_runs


def line(number: int) -> Line:
    return fabricated.line(fabricated.WORKLOADS[number], "auto", seconds=(0.5, 0.25))


def test_a_run_goes_on_behind_a_line_that_was_cut_at_any_byte(tmp_path: Path) -> None:
    """Nothing of the finished lines is lost, nothing of the cut one is left, and the next ones are whole."""
    first, cut, after = (line(number).as_json().encode() + b"\n" for number in range(3))
    for length in range(len(cut)):
        (tmp_path / archive.CELLS).write_bytes(first + cut[:length])
        assert archive.lines(tmp_path) == [line(0)]
        archive.append_cell(tmp_path, line(2))
        assert (tmp_path / archive.CELLS).read_bytes() == first + after, length
        assert archive.read_lines(tmp_path).unreadable == 0


def test_a_first_line_that_was_cut_at_any_byte(tmp_path: Path) -> None:
    cut = line(0).as_json().encode()
    for length in range(len(cut) + 1):
        (tmp_path / archive.CELLS).write_bytes(cut[:length])
        archive.append_cell(tmp_path, line(1))
        assert archive.lines(tmp_path) == [line(1)]


def test_an_archive_that_was_cut_at_any_byte_keeps_what_comes_before(tmp_path: Path) -> None:
    whole = [line(number) for number in range(4)]
    fabricated.write(tmp_path, whole)
    archive.pack(tmp_path)
    packed = (tmp_path / archive.PACKED).read_bytes()
    for length in range(len(packed)):
        (tmp_path / archive.PACKED).write_bytes(packed[:length])
        found = archive.load(tmp_path)
        assert [cell.workload for cell in found.cells] == [each.workload for each in whole[: len(found.cells)]]
        assert len(found.cells) == 4 or found.unreadable <= 1


def test_a_header_that_was_cut_at_any_byte_hides_no_other_run(tmp_path: Path) -> None:
    fabricated.write(tmp_path / "good", [line(0)])
    shutil.copytree(tmp_path / "good", tmp_path / "torn")
    header = (tmp_path / "good" / "run.json").read_bytes()
    for length in range(0, len(header.rstrip()), 7):
        (tmp_path / "torn" / "run.json").write_bytes(header[:length])
        with pytest.raises(ValueError, match=r"run\.json is damaged"):
            archive.load(tmp_path / "torn")
        assert [run is None for _, run, _ in archive.runs(tmp_path)] == [False, True]
    text = list_of_runs.write(tmp_path).read_text()
    assert "(good/index.html)" in text and "| torn | cannot be read" in text


@pytest.mark.parametrize("bad", [b"null", b"[]", b"5", b'"text"', b"{}", b'{"pass": 1}', b"\xff\x00\xfe", b""])
def test_what_is_no_line_is_counted_and_ends_nothing(tmp_path: Path, bad: bytes) -> None:
    first, second = (line(number).as_json().encode() for number in range(2))
    fabricated.write(tmp_path / "old", [])
    (tmp_path / "old" / archive.CELLS).write_bytes(first + b"\n" + bad + b"\n" + second + b"\n")
    found = archive.load(tmp_path / "old")
    assert len(found.cells) == 2 and found.unreadable == 1
    assert "(old/index.html)" in list_of_runs.write(tmp_path).read_text()


@pytest.mark.parametrize("bad", [{"problem": None}, {"peer": [1]}, {"threads": "2"}, {"error": "small"}, {"count": 1.5}])
def test_a_field_of_another_kind_spoils_its_line_alone(tmp_path: Path, bad: dict[str, Any]) -> None:
    good = json.loads(line(0).as_json()) | {"error": 0}  # JSON's whole numbers are floats too
    (tmp_path / archive.CELLS).write_text("".join(json.dumps(good | more) + "\n" for more in ({}, bad)))
    found = archive.read_lines(tmp_path)
    assert len(found.lines) == 1 and found.unreadable == 1


LIMIT = {"fma_gflops": 100.0, "bandwidth_gbs": 20}


@pytest.mark.parametrize("bad", [
    {"limits": []}, {"limits": {"2": 5}}, {"limits": {"two": LIMIT}}, {"limits": {"2": {"fma_gflops": 1.0}}},
    {"limits": {"2": LIMIT | {"fma_gflops": "fast"}}}, {"limits": {"2": LIMIT | {"bandwidth_gbs": 0}}}, {"about": {"a": []}},
    {"about": ["a"]}, {"threads": 2}, {"passes": "2"}, {"command": "run"}, {"environment": []}, {"options": 3}, {"id": None},
])  # fmt: skip
def test_a_header_with_a_field_of_another_kind_is_said(tmp_path: Path, bad: dict[str, Any]) -> None:
    fabricated.write(tmp_path / "run", [])
    header = json.loads((tmp_path / "run" / "run.json").read_text())
    (tmp_path / "run" / "run.json").write_text(json.dumps(header | {"limits": {"2": LIMIT | {"fma_spread": 0.0}}}))
    assert archive.load(tmp_path / "run").limits["2"]["fma_gflops"] == 100
    (tmp_path / "run" / "run.json").write_text(json.dumps(header | bad))
    with pytest.raises(ValueError, match=f"spoils a field: {next(iter(bad))} of another kind"):
        archive.load(tmp_path / "run")


@pytest.mark.parametrize("end", ["given back", "killed"])
def test_a_run_is_written_by_one_process_at_a_time(tmp_path: Path, end: str) -> None:
    """Whoever comes second is told; a process that was killed keeps nobody out."""
    code = f"""
import sys
from pathlib import Path
from benchmarks.records import archive
with archive.locked(Path({str(tmp_path)!r})):
    print("mine", flush=True)
    sys.stdin.readline()
"""
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=environment.ROOT)
    assert other.stdout and other.stdout.readline() == "mine\n"
    with pytest.raises(ValueError, match=f"{tmp_path.name} is being written by another process"), archive.locked(tmp_path):
        pass
    if end == "killed":
        other.kill()
    other.communicate("\n" if end == "given back" else None)
    with archive.locked(tmp_path):
        pass
