"""A run as Markdown, CSV, SVG and PDF: every cell is there, with the numbers of the page."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import fabricated_run as fabricated
import pytest
from typer.testing import CliRunner

from benchmarks.__main__ import app
from benchmarks.records.archive import load
from benchmarks.records.results import Run
from benchmarks.report import entries, exports, formats
from benchmarks.report.pictures import scaling


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return load(fabricated.write(tmp_path_factory.mktemp("files") / "run"))


def test_csv_holds_every_cell_unrounded(run: Run, tmp_path: Path) -> None:
    (path,) = exports.write(run, "csv", tmp_path / "cells.csv")
    found = {(row["workload"], row["contender"]): row for row in csv.DictReader(path.open(encoding="utf-8"))}
    assert len(found) == len(run.cells)
    for cell in run.cells:
        row = found[cell.workload, cell.contender]
        assert row["status"] == cell.status and row["reason"] == cell.reason and row["problem"] == cell.problem
        if cell.median_s:
            assert float(row["time_s"]) == cell.median_s and float(row["error"]) == cell.error and int(row["samples"]) == 36
        else:
            assert row["time_s"] == row["gflops"] == row["speed_vs_best_peer"] == ""


def test_markdown_holds_every_cell(run: Run, tmp_path: Path) -> None:
    (path,) = exports.write(run, "md", tmp_path / "report.md")
    text = path.read_text(encoding="utf-8")
    table = text.partition("## All cells")[2].partition("## Environment")[0].strip().splitlines()
    rows = [[field.strip() for field in line.strip("| ").split(" | ")] for line in table[2:]]
    assert len(rows) == len(run.cells)
    for fields in rows:
        cell = run.cell(fields[0], fields[1].replace("\\", ""))
        assert cell is not None and fields[2] == entries.WORDS[cell.status] and fields[3].startswith(formats.seconds(cell.median_s))
    assert "Geometric mean" in text and "- cpu: A CPU (made up)" in text


def test_every_picture_is_an_svg_file(run: Run, tmp_path: Path) -> None:
    written = exports.write(run, "svg", tmp_path / "pictures")
    assert [path.name for path in written] == ["heat-map.svg", "bars.svg", "roofline.svg", "error-and-speed.svg"]
    for path in written:
        text = path.read_text(encoding="utf-8")
        assert ElementTree.fromstring(text).tag.endswith("svg") and "#0103" not in text and "#cell" not in text
    assert all(name in written[0].read_text() for name in (*run.workloads(), "openvino", "refused"))
    assert all(name in written[1].read_text() for name in run.workloads())


def test_pdf_has_a_page_for_the_table_and_one_for_each_picture(run: Run, tmp_path: Path) -> None:
    few = replace(run, cells=run.cells[:22])
    (path,) = exports.write(few, "pdf", tmp_path / "report.pdf")
    data = path.read_bytes()
    assert data.startswith(b"%PDF") and data.count(b"/Type /Page ") == 5


def test_scaling_within_a_run_and_with_its_siblings(tmp_path: Path) -> None:
    layers, environment = fabricated.WORKLOADS[:2], fabricated.header().environment
    header = fabricated.header(1, id="one", threads=(1, 2))
    lines = [line for line in fabricated.lines(1, (1, 2), (1,), layers) if line.contender in ("auto", "torch", "scipy")]
    run = load(fabricated.write(tmp_path / "one", lines, header))
    fabricated.write(tmp_path / "eight", fabricated.lines(1, (2,), (8,), layers), fabricated.header(1, id="eight"))
    other = environment | {"commit": "another"}
    fabricated.write(tmp_path / "old", fabricated.lines(1, (2,), (32,), layers), fabricated.header(1, id="old", environment=other))
    alone = scaling.gather(run)
    assert {panel.kind for panel in alone.panels} == {"threads"} and not alone.others
    assert {panel.title for panel in alone.panels} == {layer[0] for layer in layers} and alone.contenders == {"auto", "torch"}
    found = scaling.gather(run, scaling.siblings(run))
    assert found.others == ("eight",) and {panel.kind for panel in found.panels} == {"threads", "batch"}
    for panel in found.of("batch"):
        name = panel.title.partition(",")[0]
        first, last = panel.lines["torch"]
        cell = run.cell(name, "torch", threads=2)
        assert cell is not None and first == (1, cell.gflops) and last[0] == 8
    written = exports.write(run, "svg", tmp_path / "pictures")
    assert [path.stem for path in written][-2:] == ["scaling-threads", "scaling-batch"]


def test_scaling_over_length_pairs_the_same_layer(tmp_path: Path) -> None:
    widths = {"a.l": 100, "b.l": 400}
    texts = {name: f"conv2d n1 c64 96x{width} -> c64 k3x3 s1x1 p1+1x1+1 d1x1 g1 bias float32" for name, width in widths.items()}
    texts["c.l"] = texts["a.l"].replace("k3x3", "k5x5")
    lines = [fabricated.line((name, "conv2d", text, 10**9, 10**6), who) for name, text in texts.items() for who in ("auto", "torch")]
    (panel,) = scaling.gather(load(fabricated.write(tmp_path / "run", lines))).panels
    assert panel.kind == "length" and panel.title == "a.l, b.l, 2 threads"
    assert [value for value, _ in panel.lines["auto"]] == [9600, 38400]


@pytest.mark.parametrize(
    ("values", "kept"), [([1, 2], [1, 2]), ([1, 2, 4, 8], [1, 2, 4, 8]), ([100, 1000, 1050], [100, 1050]), ([1, 2, 3, 100], [1, 100])]
)
def test_values_of_an_axis_do_not_run_into_each_other(values: list[int], kept: list[int]) -> None:
    assert scaling._apart(values) == kept


def test_the_command_writes_formats(run: Run, tmp_path: Path) -> None:
    folder = str(run.folder)
    done = CliRunner().invoke(app, ["report", folder, "--format", "csv", "--format", "md"])
    assert done.exit_code == 0 and (Path(folder) / "cells.csv").exists() and (Path(folder) / "report.md").exists(), done.output
    done = CliRunner().invoke(app, ["report", folder, "--format", "csv", "--out", str(tmp_path / "mine.csv")])
    assert done.exit_code == 0 and (tmp_path / "mine.csv").read_text() == (Path(folder) / "cells.csv").read_text()
    for wrong in (["--format", "docx"], ["--format", "md", "--format", "csv", "--out", "x"]):
        assert CliRunner().invoke(app, ["report", folder, *wrong]).exit_code == 2
