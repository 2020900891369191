"""The verbs that measure nothing: compare two runs, doctor the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.results import Run, load

console = Console()


def stop(message: object) -> NoReturn:
    """Say what is wrong with the command, and end with status 2."""
    Console(stderr=True).print(str(message), style="red", soft_wrap=True, highlight=False, markup=False)
    raise typer.Exit(2)


def open_run(folder: Path) -> Run:
    """Read a run's folder or stop."""
    try:
        return load(folder)
    except (OSError, ValueError, KeyError, TypeError) as error:
        stop(f"{folder} is no run's folder: {error}")


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
    picture: Annotated[Path | None, typer.Option(metavar="FILE", help="The picture (svg, pdf, png); in B if not given.")] = None,
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
    path = picture or second / f"against-{forest.identity(before)}.svg"
    try:
        console.print(f"Picture: {forest.save(comparison, limit, path)}", soft_wrap=True)
    except (OSError, ValueError) as error:  # a folder that may only be read, an ending that is no picture's
        if picture or not isinstance(error, OSError):
            stop(f"no picture at {path}: {error}")
        console.print(f"No picture: {path} cannot be written; --picture FILE puts it elsewhere", soft_wrap=True)
    raise typer.Exit(1 if comparison.regressions(limit) else 0)


SIGNS = {"ok": "[green]ok[/]", "note": "[cyan]note[/]", "trap": "[yellow]trap[/]", "bad": "[bold red]bad[/]"}


def doctor_command() -> None:
    """Look at the environment and say what would spoil a run; status 1 if the library does not work."""
    from benchmarks import doctor

    with console.status("looking around"):
        found = doctor.diagnose()
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    for each in found:
        remedy = f"\n[bold]→ {escape(each.remedy)}[/]" if each.remedy else ""
        table.add_row(SIGNS[each.level], escape(each.what), escape(each.found) + remedy)
    console.print(table)
    counts = {level: sum(each.level == level for each in found) for level in ("bad", "trap")}
    traps = f"{counts['trap']} trap{'s' if counts['trap'] != 1 else ''}" if counts["trap"] else "No trap"
    said = "The library does not work." if counts["bad"] else f"{traps} found."
    console.print("", said, sep="\n")
    raise typer.Exit(1 if counts["bad"] else 0)
