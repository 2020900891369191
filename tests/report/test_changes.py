"""Two runs compared: the same data is no change, a slowed implementation is named, and drift of the machine is nobody's regression."""

from __future__ import annotations

import io
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import fabricated_run as fabricated
import pytest
from rich.console import Console
from typer.testing import CliRunner

from benchmarks.__main__ import app
from benchmarks.records.archive import load
from benchmarks.records.results import Line, Run, merge
from benchmarks.report import changes, forest


def again(drift: float = 1.0, slowed: str = "", by: float = 1.0, **changed: dict) -> list[Line]:
    """The fabricated run measured once more: another draw of the noise, the whole machine slower by `drift`, one contender by `by`."""
    draw, found = random.Random(7), []
    for line in fabricated.lines():
        pace = drift * draw.uniform(0.96, 1.04) * (by if line.contender == slowed else 1.0)
        line = replace(line, seconds=tuple(second * pace * draw.uniform(0.99, 1.01) for second in line.seconds))
        found.append(replace(line, **changed[line.contender]) if line.contender in changed else line)
    return found


def runs(folder: Path, second: list[Line] | None = None, before: list[Line] | None = None, **header: object) -> tuple[Run, Run]:
    versions = dict.fromkeys((*fabricated.OURS, "torch", "onnxruntime", "openvino"), "1")
    environment = fabricated.header().environment | {"contenders": versions}
    given = {"environment": environment} | header
    fabricated.write(folder / "first", before, fabricated.header(environment=environment))
    fabricated.write(folder / "second", second, fabricated.header(**given))
    return load(folder / "first"), load(folder / "second")


def command(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["compare", *map(str, arguments)])


def test_the_same_data_is_no_change(tmp_path: Path) -> None:
    first, second = runs(tmp_path)
    found = changes.compare(first, second)
    assert {change.word(0.1) for change in found.changes} == {"even", "no time"} and not found.regressions(0.1)
    before = sorted(tmp_path.rglob("*"))
    done = command(tmp_path / "first", tmp_path / "second")
    assert done.exit_code == 0 and "No change beyond 10 %" in done.stdout, done.stdout + done.stderr
    assert "regression" not in done.stdout and sorted(tmp_path.rglob("*")) == before, "it only reads"
    assert command(tmp_path / "first", tmp_path / "second", "--picture", tmp_path / "change.svg").exit_code == 0
    assert (tmp_path / "change.svg").stat().st_size > 5000


def test_a_slowed_implementation_is_named_and_fails(tmp_path: Path) -> None:
    runs(tmp_path, again(slowed="direct", by=1.5))
    done = command(tmp_path / "first", tmp_path / "second", "--picture", tmp_path / "change.pdf")
    assert done.exit_code == 1, done.stdout + done.stderr
    said = " ".join(done.stdout.split())
    named = said.partition("8 regressions beyond 10 %: ")[2].partition(" Picture")[0].split(", ")
    assert sorted(named) == sorted(f"{workload[0]} direct" for workload in fabricated.WORKLOADS)
    assert (tmp_path / "change.pdf").read_bytes().startswith(b"%PDF")
    allowed = command(tmp_path / "first", tmp_path / "second", "--fail-above", "80%", "--picture", tmp_path / "change.svg")
    assert allowed.exit_code == 0 and "No regression beyond 80 %: 8 slower" in allowed.stdout


def test_drift_of_the_machine_is_nobodys_regression(tmp_path: Path) -> None:
    first, second = runs(tmp_path, again(drift=1.4, slowed="direct", by=1.5))
    found = changes.compare(first, second)
    assert found.drift.count == 24 and found.drift.middle == pytest.approx(1 / 1.4, rel=0.05)
    assert {change.after.contender for change in found.regressions(0.1)} == {"direct"}
    unknown = [replace(run, environment=run.environment | {"contenders": {}}) for run in (first, second)]
    assert {change.after.contender for change in changes.compare(*unknown).regressions(0.1)} > {"direct", "torch", "auto"}


def test_a_change_within_the_drift_of_peers_is_not_one(tmp_path: Path) -> None:
    """Peers that moved by a third between the runs make 1.2 times as slow unremarkable, and twice as slow not."""
    draw = random.Random(3)
    moved = [
        replace(line, seconds=tuple(second * pace for second in line.seconds))
        for line, pace in ((line, draw.uniform(0.75, 1.33) if line.contender in ("torch", "onnxruntime", "openvino") else 1.0)
                           for line in again(slowed="direct", by=1.2))
    ]  # fmt: skip
    first, second = runs(tmp_path, moved)
    assert not changes.compare(first, second).regressions(0.1)
    twice = [replace(line, seconds=tuple(s / 1.2 * 2 for s in line.seconds)) if line.contender == "direct" else line for line in moved]
    fabricated.write(tmp_path / "twice", twice, second)
    assert {each.after.contender for each in changes.compare(first, load(tmp_path / "twice")).regressions(0.1)} == {"direct"}


def test_wrong_and_far_over_budget_are_regressions_refused_is_none(tmp_path: Path) -> None:
    lost = {
        "direct": {"status": "wrong", "seconds": (), "error": 0.5}, "auto": {"status": "over_budget", "seconds": (), "predicted_s": 9.0},
        "jit": {"status": "refused", "seconds": (), "reason": "too many taps"},
    }  # fmt: skip
    first, second = runs(tmp_path, again(**lost))
    found = changes.compare(first, second)
    said = {(each.after.contender, each.word(0.1)) for each in found.regressions(0.1)}
    assert said == {("direct", "now wrong"), ("auto", "now over budget")}
    assert {each.word(0.1) for each in found.changes if each.after.contender == "jit"} == {"no time"}
    assert {each.word(0.1) for each in found.changes if each.after.contender == "scipy"} == {"even", "no time"}  # its version is unknown


def test_other_machines_are_refused_unless_asked_for(tmp_path: Path) -> None:
    other = fabricated.header().environment | {"cpu": "Another CPU", "cores": 4}
    runs(tmp_path, environment=other)
    refused = command(tmp_path / "first", tmp_path / "second")
    assert refused.exit_code == 2 and "A CPU (made up), Another CPU" in refused.stderr and "--other-machine" in refused.stderr
    assert command(tmp_path / "first", tmp_path / "second", "--other-machine").exit_code == 0


def test_only_cells_that_are_the_same_are_compared(tmp_path: Path) -> None:
    lines = [replace(line, flops=line.flops * 2) if line.workload == "vggish.conv1" else line for line in again()]
    first, second = runs(tmp_path, [line for line in lines if line.contender != "jit"])
    found = changes.compare(first, second)
    assert found.redefined == len(fabricated.EVERYBODY) - 1 and found.unpaired == 8
    assert not [change for change in found.changes if change.after.workload == "vggish.conv1" or change.after.contender == "jit"]
    with pytest.raises(ValueError, match="no cell in common"):
        changes.compare(first, replace(second, cells=tuple(replace(cell, threads=1) for cell in second.cells)))
    with pytest.raises(ValueError, match="no cell in common: second has none that can be read"):
        changes.compare(first, replace(second, id="second", cells=()))


def test_what_else_differs_is_said(tmp_path: Path) -> None:
    variables = {"OMP_NUM_THREADS": "1"}
    changed = fabricated.header().environment | {"versions": {"numpy": "2.4.6", "numba": "0.69"}, "thread_variables": variables}
    first, second = runs(tmp_path, environment=changed)
    assert list(changes.different_settings(first, second)) == [("numba", "0.68.1", "0.69"), ("thread variables", None, variables)]


def test_the_terminal_fits_80_columns_and_lists_what_changed(tmp_path: Path) -> None:
    found = changes.compare(*runs(tmp_path, again(slowed="direct", by=3.0)))
    texts = []
    for everything in (False, True):
        out = io.StringIO()
        Console(file=out, width=80, color_system=None).print(forest.terminal(found, 0.1, everything))
        texts.append(out.getvalue())
        assert max(map(len, texts[-1].splitlines())) <= 80
    changed, every = ([line for line in text.splitlines() if "│" in line or "●" in line] for text in texts)
    assert len(changed) == 8 and len(every) == len(found.changes)
    assert all(line.rstrip().endswith("regression") for line in changed)


@pytest.mark.parametrize(
    ("speed", "line"),
    [
        ((1.0, 1.0, 1.0), "      ●      "), ((0.5, 0.25, 1.0), "├──●──┤      "), ((2.0, 1.42, 4.0), "      │ ├●──┤"),
        ((100.0, 90.0, 110.0), "      │     ●"), ((0.5, None, None), "   ●  │      "), (None, "      │      "),
    ],
)  # fmt: skip
def test_drawn(speed: tuple[float, float, float] | None, line: str) -> None:
    from benchmarks.report.standing import Ratio

    assert forest.drawn(Ratio(*speed) if speed else None) == line


@pytest.mark.parametrize(("text", "value"), [("10%", 0.1), ("10", 0.1), (" 2.5 %", 0.025), ("0", 0.0)])
def test_percentages(text: str, value: float) -> None:
    from benchmarks.commands.reporting import share

    assert share(text) == pytest.approx(value)


def test_mistakes_end_with_status_2(tmp_path: Path) -> None:
    runs(tmp_path)
    one = tmp_path / "first"
    for arguments, said in (((one, tmp_path / "none"), "is no run's folder"), ((one, one, "--fail-above", "much"), "a percentage"),
                            ((one, one, "--picture", tmp_path / "x.doc"), "no picture at")):  # fmt: skip
        done = command(*arguments)
        assert done.exit_code == 2 and said in done.stderr, done.stdout + done.stderr


def test_layers_are_known_by_what_they_are_not_by_their_names(tmp_path: Path) -> None:
    """16x64 against 64x16 has the same flops and bytes; a renamed file has the same layers."""
    wide, tall = "conv2d n1 c8 16x64 -> c8 k3x3", "conv2d n1 c8 64x16 -> c8 k3x3"
    layer = ("net.one", "conv2d", wide, 2000, 400)

    def cells(name: str, problem: str, identity: str = "", contender: str = "direct") -> list[Line]:
        return [fabricated.line((name, *layer[1:]), contender, problem=problem, identity=identity)]

    first, second = runs(tmp_path, cells("net.one", tall), before=cells("net.one", wide))
    with pytest.raises(ValueError, match="the layers or their inputs are not"):
        changes.compare(first, second)
    first, second = runs(tmp_path / "clip", cells("net.one", wide, "b"), before=cells("net.one", wide, "a"))
    with pytest.raises(ValueError, match="the layers or their inputs are not"):
        changes.compare(first, second)
    first, second = runs(tmp_path / "renamed", cells("moved.one", wide, "a"), before=cells("net.one", wide, "a"))
    (change,) = changes.compare(first, second).changes
    assert (change.before.workload, change.after.workload) == ("net.one", "moved.one")
    now, then = ([*cells(one, wide, "x"), *cells(other, wide, "x")] for one, other in (("a", "b"), ("b", "c")))
    first, second = runs(tmp_path / "swapped", now, then)
    assert {(each.before.workload, each.after.workload) for each in changes.compare(first, second).changes} == {("b", "b"), ("c", "a")}


@pytest.mark.parametrize(("field", "value"), [("batch", 8), ("threads", 1), ("workload", "other"), ("contender", "mine")])
def test_why_nothing_is_in_common_is_said(tmp_path: Path, field: str, value: Any) -> None:
    first, second = runs(tmp_path)
    problems = {"batch": "another size", "workload": "another layer"}
    changed = {field: value} | ({"problem": problems[field]} if field in problems else {})
    other = replace(second, cells=tuple(replace(cell, **changed) for cell in second.cells))
    with pytest.raises(ValueError, match=f"{field} .* in .*; measure one of them with the other's --{field}"):
        changes.compare(first, other)


def test_what_is_called_alike_but_is_not_are_two_cells() -> None:
    one, other = (fabricated.line(fabricated.WORKLOADS[0], "direct", pass_, identity=identity) for pass_, identity in ((1, "a"), (2, "b")))
    assert len(merge([one, other])) == 2 and len(merge([one, replace(one, pass_=2)])) == 1
