"""`python -m benchmarks tutorial`: writes the page."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

REPORTS = Path(__file__).parents[2] / "reports"


def tutorial_command(
    audio: Annotated[Path | None, typer.Option(metavar="FILE.wav", help="Hear and see this clip instead of the synthesised one.")] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the page goes.")] = REPORTS / "tutorial",
    open_: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Write the tutorial: one page that shows what convolution does to music, all of its numbers computed here."""
    from benchmarks.signals import read_wav
    from benchmarks.tutorial import page, sound

    console = Console()
    try:
        scene = sound.of_clip(read_wav(audio)) if audio else None
        with console.status("Computing and measuring; a minute or two"):
            written = page.write(out, scene)
    except ValueError as error:
        Console(stderr=True).print(str(error), style="red", soft_wrap=True, highlight=False, markup=False)
        raise typer.Exit(2) from None
    console.print(f"Page: {written}", soft_wrap=True)
    if open_:
        webbrowser.open(written.resolve().as_uri())
