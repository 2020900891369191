"""The tables in Markdown and for the terminal, README's markers, the index of runs."""

import io
from dataclasses import replace
from pathlib import Path

import fabricated_run as fabricated
import pytest
from rich.console import Console

from benchmarks.records.archive import load
from benchmarks.records.results import Run
from benchmarks.report import formats, list_of_runs, tables


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return load(fabricated.write(tmp_path / "run"))


def body(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[field.strip() for field in line.strip("| ").split(" | ")] for line in lines[2:]]


def test_markdown_numbers_are_those_of_the_cells(run: Run) -> None:
    found = body(tables.markdown(run))
    assert [fields[0] for fields in found] == list(run.workloads())
    for workload, ours, time, gflops, limit, error, peer, peer_time, speed in found:
        mine, other = run.cell(workload, ours), run.cell(workload, peer)
        assert mine and other and mine.median_s and other.median_s
        timed = [cell for cell in run.cells if cell.workload == workload and cell.median_s]
        assert mine.median_s == min(cell.median_s for cell in timed if not cell.is_peer and cell.contender != "auto")  # type: ignore[type-var]
        assert other.median_s == min(cell.median_s for cell in timed if cell.is_peer)  # type: ignore[type-var]
        assert time == formats.seconds(mine.median_s) and peer_time == formats.seconds(other.median_s)
        assert error == formats.error(mine.error)
        assert gflops == formats.digits(mine.flops / mine.median_s / 1e9)
        assert limit == f"{100 * max(mine.flops / 240e9, mine.bytes / 33e9) / mine.median_s:.0f} %"
        assert float(speed.strip("*").split("×")[0]) == pytest.approx(other.median_s / mine.median_s, rel=0.01)
        assert speed.startswith("**") == (min(other.pass_medians) > max(mine.pass_medians))


def test_readme_is_replaced_between_markers_only(run: Run, tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"# Before\n\n{tables.BEGIN}\nstale numbers\n{tables.END}\n\nAfter\n")
    assert tables.update_readme(readme, run)
    first = readme.read_text()
    assert first.startswith("# Before\n\n") and first.endswith("\n\nAfter\n") and "stale numbers" not in first
    assert tables.markdown(run) in first
    assert not tables.update_readme(readme, run) and readme.read_text() == first


@pytest.mark.parametrize("text", ["none", f"{tables.BEGIN} only", f"{tables.END} {tables.BEGIN}", f"{tables.BEGIN}{tables.END}" * 2])
def test_readme_without_its_markers_is_left_alone(run: Run, tmp_path: Path, text: str) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(text)
    with pytest.raises(ValueError, match="table:begin"):
        tables.update_readme(readme, run)
    assert readme.read_text() == text


def test_terminal_fits_80_columns_and_names_what_went_wrong(run: Run) -> None:
    out = io.StringIO()
    Console(file=out, width=80, color_system=None).print(tables.terminal(run))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    for workload in run.workloads():  # each on one line, not folded
        assert sum(line.startswith(workload) for line in lines) == 1
    text = " ".join(lines)
    assert "wrong: yamnet.pw8 im2col" in text and "failed: panns.stft scipy" in text and "3 cells refused, 5 over budget" in text


def test_hostile_names_break_no_table(run: Run) -> None:
    hostile = "a|b[bold]*x*`<script>"
    cells = tuple(replace(cell, workload=hostile) if cell.workload == "vggish.conv1" else cell for cell in run.cells)
    changed = replace(run, cells=cells)
    first = body(tables.markdown(changed))[0]
    assert first[0] == r"a\|b\[bold\]\*x\*\`&lt;script>" and len(first) == 9
    out = io.StringIO()
    Console(file=out, width=80, color_system=None).print(tables.terminal(changed))
    assert hostile in out.getvalue()


def test_a_run_without_peers_or_times(run: Run) -> None:
    ours = replace(run, cells=tuple(cell for cell in run.cells if not cell.is_peer))
    assert "No workload was timed both by us and by a peer." in tables.markdown(ours)
    refused = replace(run, cells=tuple(cell for cell in run.cells if cell.status == "refused"))
    assert body(tables.markdown(refused))[0][1:] == [formats.NOTHING] * 8


def test_readme_shows_the_newest_whole_core_run(tmp_path: Path) -> None:
    whole = ("python", "-m", "benchmarks", "run", "--preset", "core")
    asked = {
        "2026-01-01": ("core", whole), "2026-01-02": ("core", (*whole, "--passes", "2")), "2026-01-03": ("core", (*whole, "--workload=a*")),
        "2026-01-04": ("core", (*whole, "--contender", "direct")), "2026-01-05": ("quick", whole[:4]), "2026-01-06": ("core", whole),
    }  # fmt: skip
    for day, (preset, command) in asked.items():
        stopped = "been interrupted" if day == "2026-01-06" else ""
        fabricated.write(tmp_path / day, [], fabricated.header(id=day, preset=preset, command=command, stopped=stopped))
    found = tables.newest_core(tmp_path.iterdir())
    assert found is not None and found.id == "2026-01-02"
    assert tables.newest_core([tmp_path / "2026-01-05"]) is None


def test_index_lists_runs_newest_first(tmp_path: Path) -> None:
    days = ("2026-01-02", "2026-03-01", "2025-12-31")
    for day in days:
        fabricated.write(tmp_path / day, run=fabricated.header(id=f"run of {day}", created=f"{day}T10:00:00+00:00", preset="core"))
    (tmp_path / "not-a-run").mkdir()
    text = list_of_runs.write(tmp_path).read_text()
    places = [text.index(f"[run of {day}]({day}/index.html)") for day in sorted(days, reverse=True)]
    assert places == sorted(places) and text.count("| core |") == 3 and "not-a-run" not in text
    assert list_of_runs.write(tmp_path).read_text() == text


def test_index_names_a_folder_that_cannot_be_read(tmp_path: Path) -> None:
    fabricated.write(tmp_path / "good")
    for name, content in (("torn", '{"schema": 1, "id'), ("future", '{"schema": 99}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(content)
    text = list_of_runs.write(tmp_path).read_text()
    assert "(good/index.html)" in text and "| torn | cannot be read" in text and "| future | cannot be read" in text and "99" in text


def test_index_of_nothing(tmp_path: Path) -> None:
    assert "No runs yet." in list_of_runs.write(tmp_path).read_text()
