"""The verbs that look around: list shows workloads and contenders, doctor the environment."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from benchmarks import contenders, workloads
from benchmarks.commands import shared
from benchmarks.commands.shared import Inputs, Layers, Onnx, console, stop


def list_command(
    preset: Annotated[str, typer.Option(help="quick, core or full; every workload there is if not given.")] = "",
    layers: Layers = None,
    onnx: Onnx = None,
    inputs: Inputs = [],  # noqa: B006
) -> None:
    """Show the workloads of a preset, or your own, and every contender."""
    options = shared.options(preset or "full", [], [], "", 1, layers, onnx, inputs, None)
    try:
        own = options.own().workloads
    except ValueError as error:
        stop(error)
    shown = workloads.select(options.preset, () if own or preset else ("*",), own)
    for note in options.own().notes:
        console.print(note, soft_wrap=True, highlight=False, markup=False)
    table = Table("workload", "what", "input", title=f"{preset} workloads".strip(), title_justify="left")
    for each in shown:
        kind = str(dict(each.input)["kind"]) if each.input else "normal"
        table.add_row(Text(each.id + (" *" if each.core else "")), Text(each.describe()), kind)
    console.print(table, "* in the core preset", "")
    table = Table("contender", "version", "inside the timer", title="contenders", title_justify="left")
    said: dict[str, str] = {}  # a sentence that several share is written once
    for each in contenders.everyone():
        missing = each.available()
        words = missing or (f"as {said[each.inside_timer]}" if each.inside_timer in said else each.inside_timer)
        said.setdefault(each.inside_timer, each.name)
        table.add_row(Text(each.name), "-" if missing else each.version(), Text(words))
    console.print(table)


SIGNS = {"ok": "[green]ok[/]", "note": "[cyan]note[/]", "trap": "[yellow]trap[/]", "bad": "[bold red]bad[/]"}


def doctor_command() -> None:
    """Look at the environment and say what would spoil a run; status 1 if the library does not work."""
    from benchmarks.runner import doctor

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
