"""What a run shows while it works: a bar with the cell at work and the time left."""

from __future__ import annotations

from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn
from rich.progress import Progress as Bar
from rich.text import Text

from benchmarks.records.results import Line
from benchmarks.runner.cell import Spec
from benchmarks.runner.schedule import Progress


class _Left(ProgressColumn):
    """Time left, from what each cell took before; rich's own guess assumes that all cells are alike."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self.progress = progress

    def render(self, task: Task) -> Text:
        left = self.progress.remaining()
        return Text("  --:-- left" if left is None else f"{int(left) // 60:4d}:{int(left) % 60:02d} left", style="cyan")


class Screen:
    """The bar, told when cells begin and end; it keeps the progress that it shows."""

    def __init__(self, console: Console, progress: Progress) -> None:
        self.progress = progress
        self._bar = Bar(
            TextColumn("{task.fields[phase]}"), BarColumn(bar_width=20), MofNCompleteColumn(), _Left(progress),
            TextColumn("{task.fields[cell]}"), console=console, transient=True,
        )  # fmt: skip
        self._task = self._bar.add_task("", total=progress.total, completed=progress.total - progress.to_do, phase="pass 1", cell="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def begin(self, spec: Spec) -> None:
        self.progress.begin(spec)
        self._bar.update(self._task, cell=spec.label, phase=f"pass {self.progress.pass_}" if self.progress.pass_ else "afresh")

    def end(self, spec: Spec, line: Line) -> None:
        """What happens once, preparation and first call, a later pass will not take again."""
        self.progress.end(spec, once=(line.prepare_s or 0.0) + (line.first_call_s or 0.0))
        self._bar.advance(self._task)
