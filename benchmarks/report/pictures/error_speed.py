"""Error against speed: what each method pays in accuracy for what it gains, every timed cell a point.

Speed is relative to the best peer of the workload, or GFLOP/s where no peer was timed. Exact answers (maxima) stand on the lower edge.
"""

from __future__ import annotations

from matplotlib.figure import Figure

from benchmarks.records.results import Cell, Run
from benchmarks.report.pictures import style
from benchmarks.report.pictures.style import WIDE, Anchors
from benchmarks.report.standing import rows

LABEL = "Error against speed of every timed cell; the table holds the same numbers"
EXACT = 1e-8  # where errors of 0 stand: under any rounding error of float32
SLOWEST = 0.01  # speeds under this stand on the left edge
ROUNDING = 2.0**-24  # half a unit in the last place of float32


def points(run: Run) -> tuple[str, dict[Cell, tuple[float, float]]]:
    """What the horizontal axis says, and each cell's (speed, error) as they are drawn."""
    timed = [(row, cell) for row in rows(run) for cell in row.cells if cell.median_s and cell.error is not None]
    speeds = {cell: speed.value for row, cell in timed if (speed := row.against_best_peer(cell))}
    if speeds:
        return "speed, best peer = 1", {cell: (max(speed, SLOWEST), max(cell.error or 0.0, EXACT)) for cell, speed in speeds.items()}
    return "GFLOP/s", {cell: (cell.gflops or 0.0, max(cell.error or 0.0, EXACT)) for _, cell in timed if cell.gflops}


def figure(run: Run, palette: style.Palette = style.PAPER, size: tuple[float, float] = WIDE, anchors: Anchors | None = None) -> Figure:
    """`anchors` gives each cell the id of its row, for points that lead there."""
    drawing, axes = style.one_axes((size[0], size[1] * 0.8))
    axis, places = points(run)
    for mark in style.marks(run).values():
        cells = [cell for cell in places if cell.contender == mark.contender]
        if not cells:
            continue
        drawn = axes.scatter(
            [places[cell][0] for cell in cells], [places[cell][1] for cell in cells],
            s=32, marker=mark.marker, c=mark.colour(palette), alpha=0.75, linewidths=0, zorder=3, label=mark.contender,
        )  # fmt: skip
        drawn.set_gid(f"contender:{mark.contender}")
        if anchors:
            drawn.set_urls([f"#{anchors[cell]}" for cell in cells])
    axes.axhline(ROUNDING, color=palette.ink, linewidth=0.9, linestyle="--")
    axes.annotate("rounding of one float32", (1, ROUNDING), xycoords=("axes fraction", "data"), xytext=(-4, 5),
                  textcoords="offset points", ha="right", color=palette.ink)  # fmt: skip
    if axis != "GFLOP/s":
        axes.axvline(1, color=palette.ink, linewidth=0.9)
    style.dress(axes, palette, axis, "error, of the largest output", ticks=6 if size[0] < 6 else 12)
    return drawing
