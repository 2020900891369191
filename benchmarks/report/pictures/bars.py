"""Bars: for each workload its contenders by speed, the best peer being 1, with the interval of each as a whisker.

Contenders slower than a twentieth of the fastest would be invisible and are only named.
"""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.figure import Figure

from benchmarks.records.results import Cell, Run
from benchmarks.report import formats
from benchmarks.report.pictures import style
from benchmarks.report.standing import Ratio, Row, label, ratio, rows

SHORTEST = 0.05


@dataclass(frozen=True)
class Bar:
    """One contender: its speed, and that as a share of the panel's width."""

    cell: Cell
    speed: Ratio
    reach: float  # what the whole width stands for

    @property
    def share(self) -> float:
        return self.speed.value / self.reach

    @property
    def whisker(self) -> tuple[float, float] | None:
        """Both ends as shares of the width; None where there is no interval."""
        if self.speed.low is None or self.speed.high is None or self.speed.low == self.speed.high:
            return None
        return self.speed.low / self.reach, min(self.speed.high / self.reach, 1.0)


@dataclass(frozen=True)
class Panel:
    """One workload: its bars, the fastest first, where 1 lies, and who is too slow to be seen."""

    title: str
    bars: tuple[Bar, ...]
    one: float
    slow: tuple[str, ...]


def panels(run: Run) -> tuple[Panel, ...]:
    return tuple(panel for row in rows(run) if (panel := _panel(row, run)))


def _panel(row: Row, run: Run) -> Panel | None:
    base = row.best_peer or row.best_ours
    if base is None:
        return None
    speeds = [(cell, speed) for cell in row.cells if (speed := ratio(cell, base))]
    speeds.sort(key=lambda pair: -pair[1].value)
    fastest = speeds[0][1].value
    seen = [(cell, speed) for cell, speed in speeds if speed.value >= SHORTEST * fastest]
    # one wild pass must not press all bars into a corner: whiskers may end outside
    reach = min(max(speed.high or speed.value for _, speed in seen), 1.6 * fastest) * 1.02
    slow = tuple(f"{cell.contender} {formats.times(speed)}" for cell, speed in speeds if speed.value < SHORTEST * fastest)
    return Panel(label(row, run), tuple(Bar(cell, speed, reach) for cell, speed in seen), 1 / reach, slow)


def figure(run: Run, palette: style.Palette = style.PAPER, columns: int = 4) -> Figure:
    """All panels on one sheet, for files."""
    chosen = panels(run)
    lines = max(1, -(-len(chosen) // columns))
    drawing = Figure(figsize=(3.5 * columns, 2.4 * lines), layout="constrained")
    grid = drawing.subplots(lines, columns, squeeze=False)
    known = style.marks(run)
    for axes in grid.flat[len(chosen) :]:
        axes.set_visible(False)
    for axes, panel in zip(grid.flat, chosen, strict=False):
        names = [bar.cell.contender for bar in panel.bars]
        axes.barh(names, [bar.speed.value for bar in panel.bars], color=[known[name].colour(palette) for name in names], height=0.72)
        for place, bar in enumerate(panel.bars):
            if bar.whisker:
                axes.plot([bar.speed.low, min(bar.speed.high or 0.0, bar.reach)], [place, place], color=palette.ink, linewidth=1.2)
        axes.axvline(1, color=palette.ink, linewidth=0.8)
        axes.set_title(formats.short(panel.title, 40), fontsize=9, color=palette.ink)
        axes.invert_yaxis()
        style.plain(axes, palette)
        axes.grid(False, axis="y")
        axes.tick_params(labelsize=7.5, length=0)
    return drawing
