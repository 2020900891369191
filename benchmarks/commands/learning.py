"""`python -m benchmarks learn`: a small network learns notes from raw audio, or onsets, on the CPU in seconds to minutes."""

from __future__ import annotations

from os import cpu_count
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks.commands.shared import console, stop
from benchmarks.host.environment import cpu_model
from benchmarks.report import own_files

MOST_EXAMPLES = 4096  # a step: their activations take 3 GB


def learn_command(
    task: Annotated[str, typer.Option(help='"pitch": which note, from raw audio; "onset": does a note begin, from log-mel.')] = "pitch",
    audio: Annotated[Path | None, typer.Option(help="Folder of WAV files and labels.csv (file,start,end,hertz); for pitch.")] = None,
    steps: Annotated[int, typer.Option(min=20, help="Steps of training.")] = 600,
    batch: Annotated[int, typer.Option(min=1, max=MOST_EXAMPLES, help="Examples a step.")] = 32,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads; all if not given.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for index.html and filters.json.")] = Path("runs/learn"),
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Of examples and first weights.")] = 0,
) -> None:  # fmt: skip
    """Train a network with these kernels, and with PyTorch's layers beside it; write a page."""
    try:
        import torch
    except ImportError:
        stop("learn needs PyTorch: pip install 'spectroconv[torch]'")
    from benchmarks.learning import filters, labelled, learn_page, training  # bring PyTorch

    if task not in training.TASKS or (audio is not None and task != "pitch"):
        stop(f"--task is {task!r}, must be one of {', '.join(training.TASKS)}; --audio goes with pitch")
    if threads:
        if threads > (most := cpu_count() or 1):
            stop(f"--threads {threads}: this machine has {most} cores")
        torch.set_num_threads(threads)
    try:
        own_files.ready(out, "index.html", *["filters.json"] * (task == "pitch"))
        given = labelled.recordings(audio) if audio else None
    except (ValueError, OSError) as error:
        stop(error)
    for reason, count in (given.left_out if given else {}).items():
        console.print(f"left out: {count} notes {reason}", highlight=False)
    if given and (shared := given.shared()):
        console.print(f"left out: {shared} examples that share samples with held-out ones", highlight=False)
    chosen = training.TASKS[task]
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True) as bar:
        shown = bar.add_task("steps", total=steps)
        told = lambda step: bar.update(shown, completed=step)  # noqa: E731
        outcome = training.learn(chosen, steps=steps, batch=batch, seed=seed, told=told, given=given)
    assert outcome.network is not None
    line = training.melody(outcome.network) if task == "pitch" else None
    text = learn_page.page(chosen, outcome, batch, cpu_model(), torch.get_num_threads(), line, own_files.MARK)
    try:
        written = own_files.write(out / "index.html", text)
        if task == "pitch":
            learnt = outcome.network[0].weight.detach().numpy()[:, 0]
            own_files.write(out / "filters.json", filters.as_json(learnt, own_files.MARK))
    except (ValueError, OSError) as error:
        stop(error)
    console.print(f"named right: {outcome.accuracy:.1%} of held-out examples; by {chosen.baseline_name} {outcome.baseline:.1%}")
    if outcome.rates["torch"]:
        ours, theirs = outcome.rate("ours"), outcome.rate("torch")
        console.print(f"steps a second: {ours:.0f} with these kernels, {theirs:.0f} with PyTorch's layers")
    console.print(f"page: {written}", soft_wrap=True, highlight=False, markup=False)
