"""The verbs that run contenders: run checks and times, check only checks."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from benchmarks.commands import shared
from benchmarks.commands.shared import (
    Audio,
    Batch,
    ContenderGlob,
    Inputs,
    Layers,
    Onnx,
    Preset,
    Threads,
    TorchModules,
    Training,
    WorkloadGlob,
    console,
    stop,
)
from benchmarks.runner.cell import Bench
from benchmarks.runner.run import INTERRUPTED, go_on, run
from benchmarks.runner.run_options import RUNS
from benchmarks.runner.schedule import PRESETS


def run_command(
    preset: Preset = "quick",
    workload: WorkloadGlob = [],  # noqa: B006 -- typer reads the default, nobody changes it
    contender: ContenderGlob = [],  # noqa: B006
    threads: Threads = "",
    batch: Batch = 1,
    training: Training = "forward",
    passes: Annotated[int | None, typer.Option(help="Passes over the whole matrix; the preset's if not given.")] = None,
    layers: Layers = None,
    onnx: Onnx = None,
    inputs: Inputs = [],  # noqa: B006
    whole: Annotated[bool, typer.Option("--whole", help="The whole model of --onnx or --torch at once, not its layers.")] = False,
    torch: TorchModules = [],  # noqa: B006
    minutes: Annotated[float | None, typer.Option(help="What the run may take; the preset's if not given.")] = None,
    audio: Audio = None,
    cold_cache: Annotated[bool, typer.Option("--cold-cache", help="Empty the caches before each sample.")] = False,
    denormals: Annotated[bool, typer.Option("--denormals", help="The second half of each input channel is denormal numbers.")] = False,
    beside: Annotated[int, typer.Option(metavar="N", help="Measure beside N busy processes, as on a machine that does other work.")] = 0,
    fresh: Annotated[str, typer.Option(metavar="started|installed", help="Begin each timed cell in a process of its own, too.")] = "",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the newest unfinished run under --out, with its options.")] = False,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where run folders go; runs/, which git ignores, if not given.")] = RUNS,
    json: Annotated[bool, typer.Option("--json", help="Write the cells as JSON to standard output, all else to standard error.")] = False,
) -> None:
    """Check and time contenders on workloads, and write a folder with raw data and a page."""
    from benchmarks.report import model_totals, page, tables

    if whole or torch or preset == "models":
        given = (onnx is not None) + bool(torch)
        if whole == (preset == "models") or given != whole:
            stop("--whole takes --onnx MODEL.onnx or --torch package.module:factory; --preset models, published ones; one of the three")
        from benchmarks.commands.whole import whole_command

        place = out / ("modules" if torch else "models") if out == RUNS else out
        whole_command(onnx, torch, inputs, threads, passes, place, batch, training)
    options = replace(
        shared.options(preset, workload, contender, threads, batch, layers, onnx, inputs, audio, training),
        passes=passes, minutes=minutes, cold_cache=cold_cache, denormals=denormals, beside=beside, fresh=fresh, out=out,
    )  # fmt: skip
    screen = Console(stderr=True) if json else console
    try:
        if resume and replace(options, minutes=None).as_json():
            raise ValueError("--resume goes on with a run's own options; besides it only --out, --minutes and --json make sense")
        done = go_on(out, minutes, screen) if resume else run(options, screen)
    except ValueError as error:
        stop(error)
    assert done.folder is not None
    written = page.write(done.folder)  # before anything is shown: what was measured is kept, whatever the console does
    if json:
        cells = [asdict(cell) | {"median_s": cell.median_s, "gflops": cell.gflops, "gbs": cell.gbs} for cell in done.cells]
        console.print_json(data={"id": done.id, "folder": str(done.folder), "limits": done.limits, "cells": cells}, indent=1)
    else:
        screen.print(tables.terminal(done))
    if done.options.keys() & {"layers", "onnx"}:
        screen.print(model_totals.summary(done))
    shared.write_list(out, screen)
    screen.print(f"Raw data and page: {written}", soft_wrap=True)
    if done.stopped == INTERRUPTED:
        raise typer.Exit(130)  # as shells say of what Ctrl-C ended
    raise typer.Exit(1 if any(cell.status in ("wrong", "failed") for cell in done.cells) else 0)


def check_command(
    preset: Preset = "quick",
    workload: WorkloadGlob = [],  # noqa: B006
    contender: ContenderGlob = [],  # noqa: B006
    threads: Threads = "",
    batch: Batch = 1,
    training: Training = "forward",
    layers: Layers = None,
    onnx: Onnx = None,
    inputs: Inputs = [],  # noqa: B006
    audio: Audio = None,
    everything: Annotated[bool, typer.Option("--all", help="Every answer, not only wrong ones and the counts.")] = False,
) -> None:
    """Compare answers with float64 and time nothing; status 1 if any is wrong."""
    from benchmarks.report import answers

    options = shared.options(preset, workload, contender, threads, batch, layers, onnx, inputs, audio, training)
    try:
        matrix = options.matrix()
        bench = Bench(options.clip(), PRESETS[preset].budget)
    except ValueError as error:
        stop(error)
    for note in options.own().notes:
        console.print(note, soft_wrap=True, highlight=False, markup=False)
    lines = []
    with console.status("") as status:
        for spec in matrix:
            status.update(escape(spec.label))
            lines.append(bench.measure(spec, timer=None))
    console.print(answers.summary(lines, everything))
    raise typer.Exit(1 if any(line.status in ("wrong", "failed") for line in lines) else 0)
