"""`python -m benchmarks`: run (the default), list, check, report, compare, doctor."""

from __future__ import annotations

import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks import contenders as everybody
from benchmarks import passes as passes_
from benchmarks import reading, workloads
from benchmarks.cell import Bench
from benchmarks.options import REPORTS, Options
from benchmarks.run import INTERRUPTED, go_on, run

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help="Kernels for music spectrograms: checked, timed, drawn.")
console = Console()

Preset = Annotated[str, typer.Option(help="quick (8 workloads, minutes), core (26) or full (all).")]
WorkloadGlob = Annotated[list[str], typer.Option("--workload", metavar="GLOB", help="Workloads by id instead of the preset's; may repeat.")]
ContenderGlob = Annotated[list[str], typer.Option("--contender", metavar="GLOB", help="Contenders by name; may repeat.")]
Threads = Annotated[str, typer.Option(metavar="N[,N]", help="Thread counts; every usable core if not given.")]
Batch = Annotated[int, typer.Option(help="How many inputs at once.")]
Layers = Annotated[Path | None, typer.Option(metavar="FILE", help="Your own layers: problem lines, or rows.")]
Onnx = Annotated[Path | None, typer.Option(metavar="MODEL.onnx", help="Your own model's convolution and pooling layers.")]
Inputs = Annotated[list[str], typer.Option("--input", metavar="NAME=1x1x96x1366", help="Fixes free axes of --onnx; may repeat.")]
Audio = Annotated[Path | None, typer.Option(metavar="FILE.wav", help="First layers hear this clip instead of the synthesised one.")]


def _stop(message: object) -> NoReturn:
    Console(stderr=True).print(str(message), style="red", soft_wrap=True, highlight=False, markup=False)
    raise typer.Exit(2)


def _options(
    preset: str, workload: list[str], contender: list[str], threads: str, batch: int, layers: Path | None, onnx: Path | None,
    inputs: list[str], audio: Path | None,
) -> Options:  # fmt: skip
    if preset not in workloads.PRESETS:
        _stop(f"no preset {preset!r}; there are {', '.join(workloads.PRESETS)}")
    try:
        counts = tuple(dict.fromkeys(int(each) for each in threads.split(",") if each.strip()))
    except ValueError:
        _stop(f"--threads {threads!r}: whole numbers separated by commas, e.g. 1,2")
    typed = ("python", "-m", "benchmarks", *sys.argv[1:])
    return Options(
        preset, tuple(workload), tuple(contender), counts, batch, audio=audio, layers=layers, onnx=onnx, inputs=tuple(inputs), command=typed
    )


@app.command("run")
def run_command(
    preset: Preset = "quick",
    workload: WorkloadGlob = [],  # noqa: B006 -- typer reads the default, nobody changes it
    contender: ContenderGlob = [],  # noqa: B006
    threads: Threads = "",
    batch: Batch = 1,
    passes: Annotated[int | None, typer.Option(help="Passes over the whole matrix; the preset's if not given.")] = None,
    layers: Layers = None,
    onnx: Onnx = None,
    inputs: Inputs = [],  # noqa: B006
    minutes: Annotated[float | None, typer.Option(help="What the run may take; the preset's if not given.")] = None,
    audio: Audio = None,
    cold_cache: Annotated[bool, typer.Option("--cold-cache", help="Empty the caches before each sample.")] = False,
    denormals: Annotated[bool, typer.Option("--denormals", help="The second half of each input channel is denormal numbers.")] = False,
    fresh: Annotated[str, typer.Option(metavar="started|installed", help="Begin each timed cell in a process of its own, too.")] = "",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the newest unfinished run under --out, with its options.")] = False,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where run folders go.")] = REPORTS,
    json: Annotated[bool, typer.Option("--json", help="Write the cells as JSON to standard output, all else to standard error.")] = False,
) -> None:
    """Check and time contenders on workloads, and write a folder with raw data and a page."""
    from benchmarks.report import index, model, page, tables

    options = replace(
        _options(preset, workload, contender, threads, batch, layers, onnx, inputs, audio),
        passes=passes, minutes=minutes, cold_cache=cold_cache, denormals=denormals, fresh=fresh, out=out,
    )  # fmt: skip
    screen = Console(stderr=True) if json else console
    try:
        if resume and replace(options, minutes=None).as_json():
            raise ValueError("--resume goes on with a run's own options; besides it only --out, --minutes and --json make sense")
        done = go_on(out, minutes, screen) if resume else run(options, screen)
    except ValueError as error:
        _stop(error)
    if json:
        cells = [asdict(cell) | {"median_s": cell.median_s, "gflops": cell.gflops, "gbs": cell.gbs} for cell in done.cells]
        console.print_json(data={"id": done.id, "folder": str(done.folder), "limits": done.limits, "cells": cells}, indent=1)
    else:
        screen.print(tables.terminal(done))
    if done.options.keys() & {"layers", "onnx"}:
        screen.print(model.summary(done))
    assert done.folder is not None
    written = page.write(done.folder)
    index.write(out)
    screen.print(f"Raw data and page: {written}", soft_wrap=True)
    if done.stopped == INTERRUPTED:
        raise typer.Exit(130)  # as shells say of what Ctrl-C ended
    raise typer.Exit(1 if any(cell.status in ("wrong", "failed") for cell in done.cells) else 0)


@app.command("list")
def list_command(
    preset: Annotated[str, typer.Option(help="quick, core or full; every workload there is if not given.")] = "",
    layers: Layers = None,
    onnx: Onnx = None,
    inputs: Inputs = [],  # noqa: B006
) -> None:
    """Show the workloads of a preset, or your own, and every contender."""
    options = _options(preset or "full", [], [], "", 1, layers, onnx, inputs, None)
    try:
        own = options.own().workloads
    except ValueError as error:
        _stop(error)
    shown = workloads.select(options.preset, () if own or preset else ("*",), own)
    table = Table("workload", "what", "input", title=f"{preset} workloads".strip(), title_justify="left")
    for each in shown:
        table.add_row(each.id + (" *" if each.core else ""), each.describe(), str(dict(each.input)["kind"]) if each.input else "normal")
    console.print(table, "* in the core preset", "")
    table = Table("contender", "version", "inside the timer", title="contenders", title_justify="left")
    for contender in everybody.everyone():
        missing = contender.available()
        table.add_row(contender.name, "-" if missing else contender.version(), missing or contender.inside_timer)
    console.print(table)


@app.command("check")
def check_command(
    preset: Preset = "quick",
    workload: WorkloadGlob = [],  # noqa: B006
    contender: ContenderGlob = [],  # noqa: B006
    threads: Threads = "",
    batch: Batch = 1,
    layers: Layers = None,
    onnx: Onnx = None,
    inputs: Inputs = [],  # noqa: B006
    audio: Audio = None,
) -> None:
    """Compare answers with float64 and time nothing; status 1 if any is wrong."""
    options = _options(preset, workload, contender, threads, batch, layers, onnx, inputs, audio)
    try:
        matrix = options.matrix()
        bench = Bench(options.clip(), passes_.PRESETS[preset].budget)
    except ValueError as error:
        _stop(error)
    table = Table("workload", "contender", "answer", "error", "allowed", "why", title="answers against float64", title_justify="left")
    bad = 0
    with console.status("") as status:
        for spec in matrix:
            status.update(spec.label)
            line = bench.measure(spec, timer=None)
            bad += line.status in ("wrong", "failed")
            colour = {"ok": "green", "wrong": "red", "failed": "red"}.get(line.status, "dim")
            numbers = ["" if value is None else f"{value:.1e}" for value in (line.error, line.error_bound)]
            table.add_row(spec.workload.id, spec.contender.name, f"[{colour}]{line.status}[/]", *numbers, escape(line.reason))
    console.print(table)
    raise typer.Exit(1 if bad else 0)


@app.command("report")
def report_command(
    folder: Annotated[Path | None, typer.Argument(metavar="DIR", help="A run's folder; the newest under reports/ if not given.")] = None,
    update_readme: Annotated[bool, typer.Option("--update-readme", help="Put the run's table into README.md.")] = False,
    form: Annotated[list[str], typer.Option("--format", help="html (the page), md, svg, pdf or csv; may repeat.")] = ["html"],  # noqa: B006
    out: Annotated[Path | None, typer.Option(metavar="PATH", help="The file (svg: folder) to write; beside the data if not given.")] = None,
) -> None:
    """Draw a run's page and table again from its data, or write them in other formats."""
    from benchmarks.report import files, index, tables

    if unknown := set(form) - set(files.WRITERS):
        _stop(f"no format {', '.join(sorted(unknown))}; there are {', '.join(files.WRITERS)}")
    if out and len(form) > 1:
        _stop("--out names one file, so it goes with one --format")
    newest = sorted(path.parent for path in REPORTS.glob("*/run.json"))
    if folder is None and not newest:
        _stop(f"no run under {REPORTS}; python -m benchmarks makes one")
    core = tables.newest_core(newest) if update_readme and folder is None else None
    done = core or reading.open_run(folder or newest[-1])
    console.print(tables.terminal(done))
    for each in form:
        for written in files.write(done, each, out):
            console.print(f"Written: {written}", soft_wrap=True)
    assert done.folder is not None
    index.write(done.folder.parent)
    if update_readme and tables.update_readme(REPORTS.parent / "README.md", done):
        console.print("README.md has this run's table now.")


app.command("compare")(reading.compare_command)
app.command("doctor")(reading.doctor_command)


def main() -> None:
    """Run the command line; `run` may be left out."""
    arguments = sys.argv[1:]
    names = {command.name for command in app.registered_commands}
    if not (arguments and (arguments[0] in names or arguments[0] in ("--help", "-h"))):
        arguments = ["run", *arguments]
    app(args=arguments, prog_name="python -m benchmarks")


if __name__ == "__main__":
    main()
