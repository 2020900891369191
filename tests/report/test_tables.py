"""The tables in Markdown and for the terminal, README's markers, the index of runs."""

import io
from dataclasses import replace
from pathlib import Path

import fabricated_run as fabricated
import pytest
from rich.console import Console

from benchmarks.records.archive import load
from benchmarks.records.results import Run
from benchmarks.report import exports, formats, list_of_runs, model_totals, noise, page, tables
from benchmarks.report.standing import mean_speedup, rows


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
        mine, other = run.cell(workload, ours.partition(":")[0]), run.cell(workload, peer)
        assert mine and other and mine.median_s and other.median_s
        timed = [cell for cell in run.cells if cell.workload == workload and cell.median_s]
        assert mine.contender == "auto", "what users get speaks for us"
        assert other.median_s == min(cell.median_s for cell in timed if cell.is_peer)  # type: ignore[type-var]
        assert time == formats.seconds(mine.median_s) and peer_time == formats.seconds(other.median_s)
        assert error == formats.error(mine.error)
        assert gflops == formats.digits(mine.flops / mine.median_s / 1e9)
        assert limit == f"{100 * max(mine.flops / 240e9, mine.bytes / 33e9) / mine.median_s:.0f} %"
        assert float(speed.strip("*").split("×")[0]) == pytest.approx(other.median_s / mine.median_s, rel=0.01)
        assert speed.startswith("**") == (min(other.pass_medians) > max(mine.pass_medians))


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
    assert "No other library took part" in tables.markdown(ours) and "pip install" in tables.markdown(ours)
    neither = replace(run, cells=tuple(cell for cell in run.cells if cell.is_peer))
    assert "No workload was timed both by us and by a peer." in tables.markdown(neither)
    refused = replace(run, cells=tuple(cell for cell in run.cells if cell.status == "refused"))
    assert body(tables.markdown(refused))[0][1:] == [formats.NOTHING] * 8


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


def shown(run: Run, width: int = 80) -> str:
    out = io.StringIO()
    Console(file=out, width=width, color_system=None).print(tables.terminal(run))
    return out.getvalue()


def test_scipy_alone_is_a_baseline_no_peer(run: Run) -> None:
    """No mean, no "best peer", and the command that installs libraries to compare with."""
    alone = replace(run, cells=tuple(cell for cell in run.cells if not cell.is_peer))
    text = shown(alone)
    assert "baseline" in text and "scipy" in text and "Geometric mean" not in text and "best peer" not in text
    assert 'pip install -e ".[peers]"' in " ".join(text.split())
    page_text = page.render(alone)
    assert "best peer, geometric mean" not in page_text
    assert mean_speedup(alone) is None and "No other library" in tables.markdown(alone)


def test_contenders_that_were_named_are_shown(run: Run) -> None:
    text = shown(replace(run, options={"contenders": ["jit", "direct", "torch"]}))
    for name in ("jit", "im2col", "direct", "torch"):
        assert name in text
    assert max(map(len, text.splitlines())) <= 80


def test_the_terminal_says_when_the_machine_was_noisy_and_marks_what_is_doubtful(run: Run) -> None:
    assert "noisy" not in shown(run) and noise.DOUBT not in shown(run)
    (first,) = (cell for cell in run.cells if (cell.workload, cell.contender) == ("vggish.conv1", "auto"))
    waited = tuple(tuple(s * (40 if i % 5 == 0 else 1) for i, s in enumerate(seconds)) for seconds in first.samples)
    text = shown(replace(run, cells=tuple(replace(cell, samples=waited) if cell == first else cell for cell in run.cells)))
    line = next(line for line in text.splitlines() if line.startswith("vggish.conv1"))
    assert f"{noise.DOUBT} " in line and "1 cell has samples" in text and "doctor" in text
    shaken = tuple(
        replace(cell, samples=tuple(tuple(s * (1 + 0.3 * i) for s in x) for i, x in enumerate(cell.samples))) for cell in run.cells
    )
    assert "The machine was noisy" in shown(replace(run, cells=shaken))


def test_one_slow_call_among_many_is_no_disagreement(run: Run) -> None:
    first = run.cells[1]
    many = first.samples[0] * 4
    assert not noise.disagrees(replace(first, samples=(many,)))
    assert not noise.disagrees(replace(first, samples=((*many, many[0] * 50),)))
    assert noise.disagrees(replace(first, samples=((*many, *[many[0] * 50] * 5),)))


@pytest.mark.parametrize("factor", [0.2, 0.9, 1.1, 5.0])
def test_a_method_that_contradicts_what_auto_took_is_doubtful(run: Run, factor: float) -> None:
    """A layer's own method at 16 ms that took 0.21 ms as "auto": one of them was disturbed."""
    auto = next(cell for cell in run.cells if cell.contender == "auto")
    auto = replace(auto, reason="chose direct")
    direct = replace(auto, contender="direct", reason="", samples=tuple(tuple(s * factor for s in seconds) for seconds in auto.samples))
    found = noise.doubted(replace(run, cells=(auto, direct)))
    assert found == (frozenset() if 0.5 < factor < 2 else {auto.key, direct.key})


def test_auto_is_among_ours_everywhere(run: Run) -> None:
    """It may be the fastest of ours; the best of each layer is never slower than the best of ours."""
    fast = tuple(replace(cell, samples=((1e-7,) * 9,) * 3) if cell.contender == "auto" else cell for cell in run.cells)
    for row in rows(replace(run, cells=fast)):
        assert row.best_ours and row.best_ours.contender == "auto" and model_totals.best(row) == row.best_ours
    for row in rows(run):
        best = model_totals.best(row)
        assert best and row.best_ours and (best.median_s or 0) <= (row.best_ours.median_s or 0)


@pytest.mark.parametrize("name", ["x" * 300, "[red]bold[/red]", "[/]", "a$b$c", "[bold]", "\\[x]", "ünï", "a b"])
def test_names_from_outside_are_text(run: Run, name: str, tmp_path: Path) -> None:
    cells = tuple(replace(cell, workload=name, count=2) if cell.workload == "vggish.conv1" else cell for cell in run.cells)
    changed = replace(run, cells=cells, folder=None)
    kept = formats.short(name, tables.NAME)
    text = shown(changed)
    assert kept in text and max(map(len, text.splitlines())) <= 80
    out = io.StringIO()
    Console(file=out, width=100, color_system=None).print(model_totals.summary(changed))
    assert formats.short(name, 44) in out.getvalue()
    assert len(body(tables.markdown(changed))[0]) == 9
    for form in ("svg", "pdf") if set(name) & set("$ü") else ("svg",):  # signs that matplotlib reads, a letter that a font may lack
        exports.write(changed, form, tmp_path / form)


def test_short_names_keep_both_ends() -> None:
    assert formats.short("abc", 3) == "abc" and formats.short("abcdefghij", 5) == "ab…ij" and len(formats.short("x" * 999, 23)) == 23
