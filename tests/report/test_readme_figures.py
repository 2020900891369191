"""README's picture, sentence and table: from the newest whole core run, between the markers only."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import fabricated_run as fabricated
import pytest

from benchmarks.records.archive import load
from benchmarks.records.results import PEERS, Run
from benchmarks.report import readme
from benchmarks.report.pictures import ranking


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return load(fabricated.write(tmp_path / "reports" / "run"))


def test_it_is_replaced_between_markers_only(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "README.md"
    file.write_text(f"# Before\n\n{readme.BEGIN}\nstale numbers\n{readme.END}\n\nAfter\n")
    assert readme.update(file, run)
    first = file.read_text()
    assert first.startswith("# Before\n\n") and first.endswith("\n\nAfter\n") and "stale numbers" not in first
    for link in re.findall(r"\]\(([^)]+)\)", first):
        assert (tmp_path / link).exists() or link.endswith("index.html")
    assert "](reports/speed.svg)" in first and "](reports/run/index.html)" in first
    assert not readme.update(file, run) and file.read_text() == first


@pytest.mark.parametrize("text", ["none", f"{readme.BEGIN} only", f"{readme.END} {readme.BEGIN}", f"{readme.BEGIN}{readme.END}" * 2])
def test_a_file_without_markers_is_left_alone(run: Run, tmp_path: Path, text: str) -> None:
    file = tmp_path / "README.md"
    file.write_text(text)
    with pytest.raises(ValueError, match="table:begin"):
        readme.update(file, run)
    assert file.read_text() == text


def test_readme_shows_the_newest_whole_core_run(tmp_path: Path) -> None:
    whole = ("python", "-m", "benchmarks", "run", "--preset", "core")
    asked = {
        "2026-01-01": ("core", whole), "2026-01-02": ("core", (*whole, "--passes", "2")), "2026-01-03": ("core", (*whole, "--workload=a*")),
        "2026-01-04": ("core", (*whole, "--contender", "direct")), "2026-01-05": ("quick", whole[:4]), "2026-01-06": ("core", whole),
    }  # fmt: skip
    for day, (preset, command) in asked.items():
        stopped = "been interrupted" if day == "2026-01-06" else ""
        fabricated.write(tmp_path / day, [], fabricated.header(id=day, preset=preset, command=command, stopped=stopped))
    found = readme.newest_core(tmp_path.iterdir())
    assert found is not None and found.id == "2026-01-02"
    assert readme.newest_core([tmp_path / "2026-01-05"]) is None
    cells = [fabricated.line(fabricated.WORKLOADS[0], name) for name in ("auto", *PEERS)]
    for day, some in (("2026-01-07", cells), ("2026-01-08", cells[:-1])):  # one peer is missing
        command = (*whole, "--contender", "auto", "--contender", "*")
        fabricated.write(tmp_path / day, some, fabricated.header(id=day, preset="core", command=command))
    found = readme.newest_core(tmp_path.iterdir())
    assert found is not None and found.id == "2026-01-07"


def test_every_layer_is_of_one_kind(run: Run) -> None:
    problems = {
        "conv2d n1 c1 96x64 -> c64 k3x3 s1x1 p1+1x1+1 d1x1 g1 bias float32": "3x3 convolutions",
        "conv2d n1 c8 96x64 -> c8 k3x3 s1x1 p1+1x1+1 d1x1 g8 bias float32": "grouped and depthwise convolutions",
        "conv2d n1 c8 96x64 -> c8 k1x1 s1x1 p0+0x0+0 d1x1 g1 float32": "1x1 convolutions",
        "conv2d n1 c8 96x64 -> c8 k3x3 s1x1 p1+1x1+1 d2x2 g1 float32": "other 2-D convolutions",
        "conv1d n1 c8 1x64 -> c8 k1x5 s1x1 p0+0x0+0 d1x1 g1 float32": "1-D convolutions",
        "conv_transpose1d n1 c8 1x64 -> c8 k1x5": "transposed convolutions", "avg_pool2d n1 c8 2x2": "pooling",
        "global_max_pool n1 c8 2x2": "pooling",
    }  # fmt: skip
    cells, seen = [], {}
    for number, problem in enumerate(problems):
        for cell in run.cells[:20]:
            if cell.workload == "vggish.conv1" and cell.contender in ("auto", "torch"):
                cells.append(replace(cell, workload=f"layer{number}", problem=problem))
    for line in readme.by_kind(replace(run, cells=tuple(cells)))[2:]:
        name, count = (part.strip() for part in line.strip("|").split("|")[:2])
        seen[name] = int(count)
    assert seen == {kind: list(problems.values()).count(kind) for kind in dict.fromkeys(problems.values())}


def test_the_sentence_counts_layers_and_one_pass_claims_nothing(run: Run) -> None:
    places = ranking.places(run)
    assert [place.speed.value for place in places] == sorted((place.speed.value for place in places), reverse=True)
    assert f"over {len(places)} layers" in ranking.sentence(run) and "one pass" not in ranking.sentence(run)
    assert "one pass" in ranking.sentence(replace(run, passes=1))
    assert "No layer was timed" in ranking.sentence(replace(run, cells=()))
