"""Who is faster by how much: one line a layer, our speed with the best peer as 1, sorted, with intervals and the geometric mean."""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from benchmarks.records.results import Cell, Run
from benchmarks.report import formats
from benchmarks.report.pictures import style
from benchmarks.report.standing import Ratio, Row, geometric_mean, label, rows

LABELLED = 60  # more layers than this are points without names
LABEL = "Speed of each layer, best peer = 1, sorted"


@dataclass(frozen=True)
class Place:
    """One layer: its name, who spoke for us, the best peer, and the speed."""

    name: str
    ours: Cell
    peer: Cell
    speed: Ratio


def places(run: Run) -> list[Place]:
    """Layers that both we and a peer have a time for, the fastest first."""
    found = [place for row in rows(run) if (place := _place(row, run))]
    return sorted(found, key=lambda place: -place.speed.value)


def _place(row: Row, run: Run) -> Place | None:
    speed = row.speedup
    return Place(label(row, run), row.lead, row.best_peer, speed) if speed and row.lead and row.best_peer else None


def sentence(run: Run) -> str:
    """The picture in words."""
    found = places(run)
    if not found:
        return "No layer was timed both by us and by another library."
    mean = geometric_mean(place.speed.value for place in found)
    verdicts = [place.speed.verdict for place in found]
    who = "“auto”" if all(place.ours.contender == "auto" for place in found) else "our fastest"
    layers = f"{len(found)} layer{'s' if len(found) != 1 else ''}"
    counted = f"faster on {verdicts.count('faster')}, even on {verdicts.count('even')}, slower on {verdicts.count('slower')}"
    if run.passes < 2:  # samples of one pass do not know how the machine drifts
        ahead = sum(place.speed.value > 1 for place in found)
        counted = f"ahead on {ahead}, behind on {len(found) - ahead} (one pass: how sure that is cannot be told)"
    return f"{who[0].upper() + who[1:]} runs {formats.relative(mean)}× as fast as the best peer over {layers} (geometric mean): {counted}."


def figure(run: Run, palette: style.Palette = style.PAPER, size: tuple[float, float] | None = None,
           anchors: style.Anchors | None = None) -> Figure:  # fmt: skip
    """A point a layer, its interval as a line, 1 and the mean as lines across."""
    found = places(run)
    named = len(found) <= LABELLED
    width = (size or (9.5, 0))[0]
    height = 0.75 + (0.21 if width < 12 else 0.25) * max(len(found), 4) if named else 0.75 + 0.06 * len(found)
    left = min(2.3, 0.42 * width) if named else 0.3
    letters = 8 if width < 12 else 10.5
    drawing = Figure(figsize=(width, height))
    axes = drawing.add_axes((left / width, 0.5 / height, 1 - (left + 0.55) / width, 1 - 0.72 / height))
    surely = run.passes > 1
    for place, each in enumerate(found):
        colour = palette.peer if each.speed.value < 1 else palette.hues[0]
        if surely and each.speed.low is not None and each.speed.high is not None:
            axes.plot([each.speed.low, each.speed.high], [place, place], color=colour, linewidth=1.2)
        axes.plot([1, each.speed.value], [place, place], color=palette.faint, linewidth=2.4, zorder=0)
        axes.plot([each.speed.value], [place], "o", color=colour, markersize=5.5 if named else 3)
        if named:
            axes.annotate(f"{formats.relative(each.speed.value)}×", (max(each.speed.value, each.speed.high or 0 if surely else 0), place),
                          xytext=(6, 0), textcoords="offset points", va="center", fontsize=letters - 0.5, color=palette.ink)  # fmt: skip
    style.plain(axes, palette)
    axes.grid(False, axis="y")
    axes.set_xscale("log")
    axes.axvline(1, color=palette.ink, linewidth=0.9)
    if found:
        mean = geometric_mean(place.speed.value for place in found)
        axes.axvline(mean, color=palette.hues[5], linewidth=0.9, linestyle="--")
        axes.annotate(f"geometric mean {formats.relative(mean)}×", (mean, -0.9), xytext=(3, 0), textcoords="offset points",
                      fontsize=letters, color=palette.hues[5], va="center")  # fmt: skip
        ends = [place.speed.value for place in found]
        low, high = min(0.8, *ends) / 1.12, max(1.25, *ends) * 1.25
        axes.set_xlim(low, high)
        axes.xaxis.set_major_locator(FixedLocator([tick for tick in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100) if low <= tick <= high]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_ylim(max(len(found), 1) - 0.4, -1.6)
    axes.set_yticks(range(len(found)) if named else [], [formats.short(each.name, 34) for each in found] if named else [], fontsize=letters)
    axes.tick_params(length=0)
    axes.set_xlabel("speed, best peer = 1", fontsize=letters, color=palette.ink)
    return drawing
