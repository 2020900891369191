"""`python -m benchmarks learn`: a small network learns notes from raw audio, or onsets, on the CPU in seconds to minutes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks.host.environment import cpu_model


def learn_command(
    task: Annotated[str, typer.Option(help='"pitch": which note, from raw audio; "onset": does a note begin, from log-mel.')] = "pitch",
    audio: Annotated[Path | None, typer.Option(help="Folder of WAV files and labels.csv (file,start,end,hertz); for pitch.")] = None,
    steps: Annotated[int, typer.Option(min=20, help="Steps of training.")] = 600,
    batch: Annotated[int, typer.Option(min=1, help="Examples a step.")] = 32,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads; all if not given.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for index.html and filters.json.")] = Path("runs/learn"),
    seed: Annotated[int, typer.Option(min=0, help="Of examples and first weights.")] = 0,
) -> None:  # fmt: skip
    """Train a network with these kernels, and with PyTorch's layers beside it; write a page."""
    console = Console()
    try:
        import torch
    except ImportError:
        console.print("learn needs PyTorch: pip install 'spectroconv[torch]'")
        raise typer.Exit(2) from None
    from benchmarks.learning import filters, learn_page, sounds, training  # bring PyTorch

    if task not in training.TASKS or (audio is not None and task != "pitch"):
        console.print(f"--task is {task!r}, must be one of {', '.join(training.TASKS)}; --audio goes with pitch")
        raise typer.Exit(2)
    if threads:
        torch.set_num_threads(threads)
    try:
        out.mkdir(parents=True, exist_ok=True)  # now, not after training
        given = sounds.recordings(audio) if audio else None
    except (ValueError, OSError) as error:
        console.print(str(error))
        raise typer.Exit(2) from None
    chosen = training.TASKS[task]
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True) as bar:
        shown = bar.add_task("steps", total=steps)
        told = lambda step: bar.update(shown, completed=step)  # noqa: E731
        outcome = training.learn(chosen, steps=steps, batch=batch, seed=seed, told=told, given=given)
    assert outcome.network is not None
    line = training.melody(outcome.network) if task == "pitch" else None
    text = learn_page.page(chosen, outcome, batch, cpu_model(), torch.get_num_threads(), line)
    (out / "index.html").write_text(text, encoding="utf-8")
    if task == "pitch":
        filters.save(outcome.network[0].weight.detach().numpy()[:, 0], out / "filters.json")
    console.print(f"named right: {outcome.accuracy:.1%} of held-out examples; by {chosen.baseline_name} {outcome.baseline:.1%}")
    if outcome.rates["torch"]:
        ours, theirs = outcome.rate("ours"), outcome.rate("torch")
        console.print(f"steps a second: {ours:.0f} with these kernels, {theirs:.0f} with PyTorch's layers")
    console.print(f"page: {out / 'index.html'}")
