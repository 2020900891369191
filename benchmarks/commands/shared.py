"""What the verbs share: the console, ending with a sentence, options that several take, and opening a run's folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from benchmarks import workloads
from benchmarks.records.archive import load
from benchmarks.records.results import Run
from benchmarks.runner.run_options import Options

console = Console()

Preset = Annotated[str, typer.Option(help="quick (8 workloads, minutes), core (26), full (all); models: whole published models.")]
WorkloadGlob = Annotated[list[str], typer.Option("--workload", metavar="GLOB", help="Workloads by id instead of the preset's; may repeat.")]
ContenderGlob = Annotated[list[str], typer.Option("--contender", metavar="GLOB", help="Contenders by name; may repeat.")]
Threads = Annotated[str, typer.Option(metavar="N[,N]", help="Thread counts; every usable core if not given.")]
Training = Annotated[str, typer.Option("--pass", metavar="PASS[,PASS]", help="forward, input, weight, step: the layer, its gradients.")]
Batch = Annotated[int, typer.Option(help="How many inputs at once.")]
Layers = Annotated[Path | None, typer.Option(metavar="FILE", help="Your own layers: problem lines, or rows.")]
Onnx = Annotated[Path | None, typer.Option(metavar="MODEL.onnx", help="Your own model's convolution and pooling layers.")]
Inputs = Annotated[list[str], typer.Option("--input", metavar="NAME=1x1x96x1366", help="Fixes free axes of --onnx; may repeat.")]
TorchModules = Annotated[
    list[str],
    typer.Option("--torch", metavar="PACKAGE.MODULE:FACTORY", help="Gives a torch.nn.Module, or it and its inputs; may repeat."),
]
Audio = Annotated[Path | None, typer.Option(metavar="FILE", help="First layers hear this recording (WAV, FLAC, OGG, AIFF, MP3).")]


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


def options(
    preset: str, workload: list[str], contender: list[str], threads: str, batch: int, layers: Path | None, onnx: Path | None,
    inputs: list[str], audio: Path | None, training: str = "forward",
) -> Options:  # fmt: skip
    """The options that choose cells, or the end with a sentence."""
    if preset not in workloads.PRESETS:
        stop(f"no preset {preset!r}; there are {', '.join(workloads.PRESETS)}")
    try:
        counts = tuple(dict.fromkeys(int(each) for each in threads.split(",") if each.strip()))
    except ValueError:
        stop(f"--threads {threads!r}: whole numbers separated by commas, e.g. 1,2")
    typed = ("python", "-m", "benchmarks", *sys.argv[1:])
    return Options(
        preset, tuple(workload), tuple(contender), counts, batch, training=tuple(part.strip() for part in training.split(",")), audio=audio,
        layers=layers, onnx=onnx, inputs=tuple(inputs), command=typed,
    )  # fmt: skip


def write_list(folder: Path, screen: Console) -> None:
    """The list of runs beside them; what somebody else wrote under its name stays, and is said."""
    from benchmarks.report import list_of_runs

    try:
        list_of_runs.write(folder)
    except (OSError, ValueError) as error:
        screen.print(f"No list of runs: {error}", soft_wrap=True, highlight=False, markup=False)
