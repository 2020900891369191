"""Nothing that the suite did not write is overwritten, whatever its format; what it wrote is, also by older versions."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from benchmarks.__main__ import app
from benchmarks.records import archive
from benchmarks.records.results import Run
from benchmarks.report import changes, exports, forest, list_of_runs, own_files, page
from benchmarks.streams import clusters, live_page
from benchmarks.whole import comparison, table
from tests import fabricated_run as fabricated

MINE = b"my own notes about spectroconv and benchmarks\n"
REPORTS = Path(__file__).parents[2] / "reports"
ONES = ("cluster", "learn", "live", "models", "modules", "steps", "tutorial")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    lines = fabricated.lines(2, workloads=fabricated.WORKLOADS[:2])
    return archive.load(fabricated.write(tmp_path_factory.mktemp("own") / "run", lines))


@pytest.mark.parametrize("form", [form for form in exports.WRITERS if form not in ("svg", "pytest-benchmark")])
def test_a_file_of_somebody_else_stays(run: Run, form: str, tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path = path.with_suffix(Path(exports.WRITERS[form][1]).suffix)
    path.write_bytes(MINE)
    with pytest.raises(ValueError, match="was not written by the suite and stays"):
        exports.write(run, form, path)
    assert path.read_bytes() == MINE
    path.unlink()
    exports.write(run, form, path)
    first = path.read_bytes()
    assert exports.write(run, form, path) == [path] and path.read_bytes()[:64] == first[:64]


@pytest.mark.parametrize("form", ["svg", "pytest-benchmark"])
def test_files_of_a_folder_alike(run: Run, form: str, tmp_path: Path) -> None:
    written = exports.write(run, form, tmp_path / "out")
    assert exports.write(run, form, tmp_path / "out") == written
    written[0].write_bytes(MINE)
    with pytest.raises(ValueError, match="stays as it is"):
        exports.write(run, form, tmp_path / "out")
    assert written[0].read_bytes() == MINE


def test_lists_pages_and_pictures_alike(run: Run, tmp_path: Path) -> None:
    assert run.folder is not None
    comparison = changes.compare(run, run)

    def picture(kind: str) -> tuple[str, Any]:
        return f"picture.{kind}", lambda: forest.save(comparison, 0.1, tmp_path / f"picture.{kind}")

    lists = ("README.md", lambda: list_of_runs.write(tmp_path)), ("run/index.html", lambda: page.write(tmp_path / "run"))
    for name, write in (*lists, *map(picture, ("svg", "pdf", "png"))):
        path = tmp_path / name
        fabricated.write(tmp_path / "run", [])
        path.write_bytes(MINE)
        with pytest.raises(ValueError, match="stays as it is"):
            write()
        path.unlink()
        assert write() == write() == path


def test_what_older_versions_wrote_is_the_suite_s(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# Runs\n\nWritten by `python -m benchmarks`; every folder holds …")
    assert list_of_runs.write(tmp_path)


@pytest.mark.parametrize("path", sorted(path for path in REPORTS.rglob("*") if path.suffix in (".md", ".html") or path.parent.name in ONES),
                         ids=lambda path: f"{path.parent.name}-{path.name}")  # fmt: skip
def test_what_is_committed_may_be_written_anew(path: Path) -> None:
    own_files.check(path)


@pytest.mark.parametrize("name, content", [
    ("index.html", "<!doctype html>\n<html><head><title>Learning German in 30 days</title></head><body>mine</body></html>"),
    ("index.html", "<!doctype html>\n<html lang=\"en\">\n<head>\n<title>Convolution, heard: my talk</title>"),
    ("index.html", "<title>spectroconv live</title><h1>Networks on live blocks</h1> is what I want to call my page"),
    ("README.md", "# Clusters\n\nMy notes on our clusters\n"),
    ("README.md", "# Whole models\n\nMy notes, “Error” is the largest against me\n"),
    ("models.json", '{\n "about": {\n  "cpu": "mine"\n }\n}'), ("live.json", '{"about": {"clip": "mine"}}'),
])  # fmt: skip
def test_what_begins_alike_is_somebody_else_s(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match="stays as it is"):
        own_files.ready(tmp_path, name)


def test_pages_and_data_of_other_verbs_have_the_mark(tmp_path: Path) -> None:
    """For sentences change."""
    about = dict.fromkeys(("cpu", "day", "commit", "graph", "threads", "turns"), "1")
    written = [
        comparison.store([], tmp_path, about), live_page.store([], [], about, tmp_path), live_page.write([], [], about, tmp_path),
        clusters.store([], tmp_path, about), clusters.write([], about, tmp_path),
    ]  # fmt: skip
    shown = [path.read_text() for path in written] + [table.page([], about)]
    assert all(own_files.MARK in text[: own_files.BEGINNING] for text in shown)


def test_a_run_into_a_folder_with_a_readme_leaves_it(run: Run, tmp_path: Path) -> None:
    fabricated.write(tmp_path / "run", fabricated.lines(1, workloads=fabricated.WORKLOADS[:1]))
    (tmp_path / "README.md").write_bytes(MINE)
    done = CliRunner().invoke(app, ["report", str(tmp_path / "run")])
    assert done.exit_code == 0 and "No list of runs" in done.output, done.output
    assert (tmp_path / "README.md").read_bytes() == MINE


def test_pytest_benchmark_reads_an_exported_run(run: Run, tmp_path: Path) -> None:
    written = exports.write(run, "pytest-benchmark", tmp_path / "out")
    assert [path.name for path in written] == ["pass-1.json", "pass-2.json"]
    for number, path in enumerate(written):
        for entry in json.loads(path.read_text())["benchmarks"]:
            cell = run.cell(entry["group"], entry["extra_info"]["contender"])
            assert cell is not None and entry["stats"]["data"] == list(cell.samples[number])
            assert entry["stats"]["median"] == pytest.approx(cell.pass_medians[number])
    command = "from pytest_benchmark.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", command, "compare", *map(str, written)], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0 and "vggish.conv1-direct-t2" in done.stdout, done.stdout + done.stderr
