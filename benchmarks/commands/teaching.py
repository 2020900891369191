"""The verb that teaches: tutorial writes a page that shows what convolution does to music."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.commands.shared import console, stop
from benchmarks.inputs.audio_file import read_audio
from benchmarks.runner.run_options import RUNS


def tutorial_command(
    audio: Annotated[Path | None, typer.Option(metavar="FILE.wav", help="Hear and see this clip instead of the synthesised one.")] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the page goes.")] = RUNS / "tutorial",
    open_: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Write the tutorial: one page that shows what convolution does to music, all of its numbers computed here."""
    from benchmarks.tutorial import lesson, sound

    try:
        scene = sound.of_clip(read_audio(audio)) if audio else None
        with console.status("Computing and measuring; a minute or two"):
            written = lesson.write(out, scene)
    except (OSError, ValueError) as error:
        stop(error)
    console.print(f"Page: {written}", soft_wrap=True)
    if open_:
        webbrowser.open(written.resolve().as_uri())
