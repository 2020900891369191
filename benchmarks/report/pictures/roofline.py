"""The roofline: every timed cell under what the machine can do, GFLOP/s over operations per compulsory byte."""

from __future__ import annotations

from math import log10
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.records.results import Cell, Run
from benchmarks.report import formats
from benchmarks.report.pictures import style
from benchmarks.report.pictures.style import WIDE, Anchors

LABEL = "Roofline: GFLOP/s of every timed cell over its arithmetic intensity; the table holds the same numbers"


def figure(run: Run, palette: style.Palette = style.PAPER, size: tuple[float, float] = WIDE, anchors: Anchors | None = None) -> Figure:
    """`anchors` gives each cell the id of its row, for points that lead there."""
    drawing, axes = style.one_axes(size)
    timed = [cell for cell in run.cells if cell.gflops and cell.bytes]
    least = floor(run)
    for mark in style.marks(run).values():
        cells = [cell for cell in timed if cell.contender == mark.contender]
        points = axes.scatter(
            [_intensity(cell) for cell in cells], [max(cell.gflops or 0.0, least) for cell in cells],
            s=32, marker=mark.marker, c=mark.colour(palette), alpha=0.75, linewidths=0, zorder=3, label=mark.contender,
        )  # fmt: skip
        points.set_gid(f"contender:{mark.contender}")
        if anchors:
            points.set_urls([f"#{anchors[cell]}" for cell in cells])
    _limits(axes, run, palette)
    style.dress(axes, palette, "FLOP per compulsory byte", "GFLOP/s", ticks=6 if size[0] < 6 else 12)
    axes.set_ylim(top=axes.get_ylim()[1] * 1.6)  # room for the words over the peak
    return drawing


def floor(run: Run) -> float:
    """GFLOP/s under which points stand on the lower edge, 0 if none has to: plain Python loops, 100,000 times under the peak, would
    press what matters into a fifth of the height."""
    if not run.limits:
        return 0.0
    edge = 10.0 ** round(log10(max(machine["fma_gflops"] for machine in run.limits.values()) / 2000))
    return edge if any(cell.gflops and cell.gflops < edge for cell in run.cells) else 0.0


def _intensity(cell: Cell) -> float:
    return max(cell.flops, 1) / cell.bytes


def _limits(axes: Axes, run: Run, palette: style.Palette) -> None:
    """For each measured number of threads, the bandwidth slope up to the ridge and the FMA peak after it."""
    left, right = axes.get_xlim()
    left, right = max(left, min(_intensity(cell) for cell in run.cells if cell.bytes) / 2), max(right, 100.0) * 1.3
    for threads, machine in sorted(run.limits.items(), key=lambda item: int(item[0])):
        peak, bandwidth = machine["fma_gflops"], machine["bandwidth_gbs"]
        ridge = peak / bandwidth
        start, end = min(left, ridge / 4), max(right, ridge * 4)
        axes.plot([start, ridge, end], [start * bandwidth, peak, peak], color=palette.ink, linewidth=1.2)
        on = f", {threads} thread{'s' if threads != '1' else ''}" if len(run.limits) > 1 else ""
        words: dict[str, Any] = {"textcoords": "offset points", "ha": "right", "color": palette.ink}
        axes.annotate(f"FMA peak {formats.digits(peak)} GFLOP/s{on}", (end, peak), xytext=(0, 11), **words)
        axes.annotate(f"{formats.digits(bandwidth)} GB/s", (ridge / 2, peak / 2), xytext=(-12, 8), **words)
