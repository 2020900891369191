"""The verbs that read runs: report draws one again, compare sets two against each other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.commands import shared
from benchmarks.commands.shared import console, open_run, stop
from benchmarks.runner.run_options import REPORTS, RUNS


def report_command(
    folder: Annotated[Path | None, typer.Argument(metavar="DIR", help="A run's folder; else the newest under runs/ or reports/.")] = None,
    update_readme: Annotated[bool, typer.Option("--update-readme", help="Put the run's table into README.md.")] = False,
    form: Annotated[list[str], typer.Option("--format", help="html, md, svg, pdf, csv or pytest-benchmark; may repeat.")] = ["html"],  # noqa: B006
    out: Annotated[Path | None, typer.Option(metavar="PATH", help="File (or folder) to write; beside the data if not given.")] = None,
) -> None:
    """Draw a run's page and table again from its data, or write them in other formats."""
    from benchmarks.report import exports, readme, tables

    if unknown := set(form) - set(exports.WRITERS):
        stop(f"no format {', '.join(sorted(unknown))}; there are {', '.join(exports.WRITERS)}")
    if out and len(form) > 1:
        stop("--out names one file, so it goes with one --format")
    found = [run for place in (RUNS, REPORTS) for run in sorted((path.parent for path in place.glob("*/run.json")), reverse=True)]
    if folder is None and not found:
        stop(f"no run under {RUNS} or {REPORTS}; python -m benchmarks makes one")
    core = readme.newest_core(sorted(path.parent for path in REPORTS.glob("*/run.json"))) if update_readme and folder is None else None
    done = core or open_run(folder or found[0])
    console.print(tables.terminal(done))
    try:
        for each in form:
            for written in exports.write(done, each, out):
                console.print(f"Written: {written}", soft_wrap=True)
    except (OSError, ValueError) as error:
        stop(error)
    assert done.folder is not None
    shared.write_list(done.folder.parent, console)
    if update_readme and readme.update(REPORTS.parent / "README.md", done):
        console.print("README.md has this run's table now.")
    measured = REPORTS / "models" / "models.json"
    if update_readme and measured.is_file():
        from benchmarks.whole import comparison, table

        if table.update(REPORTS.parent / "README.md", *comparison.read(measured)):
            console.print("README.md has the table of whole models now.")


def share(text: str) -> float:
    """A share as people write it: 10% or 10 is a tenth."""
    try:
        value = float(text.strip().removesuffix("%")) / 100
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        stop(f"--fail-above {text!r}: a percentage, e.g. 10%")
    return value


def compare_command(
    first: Annotated[Path, typer.Argument(metavar="A", help="A run's folder: what was.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="A run's folder: what is.")],
    fail_above: Annotated[str, typer.Option(metavar="N%", help="How much slower a cell may be before the status is 1.")] = "10%",
    other_machine: Annotated[bool, typer.Option("--other-machine", help="Compare although the runs come from different machines.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="List every cell, not only those that changed.")] = False,
    picture: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the changes, too (svg, pdf, png).")] = None,
) -> None:
    """Compare two runs cell by cell; status 1 if a cell became slower and its interval excludes 1."""
    from benchmarks.report import changes, forest

    limit = share(fail_above)
    before, after = open_run(first), open_run(second)
    try:
        comparison = changes.compare(before, after, other_machine)
    except ValueError as error:
        stop(error)
    console.print(forest.terminal(comparison, limit, everything))
    if picture:
        try:
            console.print(f"Picture: {forest.save(comparison, limit, picture)}", soft_wrap=True, highlight=False, markup=False)
        except (OSError, ValueError) as error:  # a folder that may only be read, an ending that is no picture's
            stop(f"no picture at {picture}: {error}")
    raise typer.Exit(1 if comparison.regressions(limit) else 0)
