"""The heat map: workloads x contenders, speed relative to the best peer. The page has it as a table; this is the one for files."""

from __future__ import annotations

from math import log2

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from benchmarks.records.results import Run
from benchmarks.report import formats
from benchmarks.report.pictures import style
from benchmarks.report.standing import contender_order, label, rows

FULL_COLOUR = 8.0  # times as fast or as slow as the best peer: the colour scale ends here
COLOURS = LinearSegmentedColormap.from_list("speed", ("#b84a12", "#eceef0", "#1f6fd0"))
WORDS = {"refused": "refused", "over_budget": "budget", "wrong": "wrong", "failed": "failed"}


def figure(run: Run, palette: style.Palette = style.PAPER) -> Figure:
    found, names = rows(run), contender_order(run)
    drawing = Figure(figsize=(2.6 + 0.85 * len(names), 1.2 + 0.3 * len(found)), layout="constrained")
    axes = drawing.subplots()
    colours = np.full((len(found), len(names)), np.nan)
    for i, row in enumerate(found):
        for j, name in enumerate(names):
            cell = row.get(name)
            speed = row.against_best_peer(cell) if cell else None
            if speed:
                colours[i, j] = max(-1.0, min(1.0, log2(speed.value) / log2(FULL_COLOUR)))
                text = formats.times(speed)
            else:
                text = "" if cell is None else WORDS.get(cell.status, formats.seconds(cell.median_s))
            pale = abs(colours[i, j]) > 0.85 if speed else False
            best = cell is not None and cell in (row.best_ours, row.best_peer)
            ink = "#ffffff" if pale else palette.ink if speed else palette.peer
            axes.text(j, i, text, ha="center", va="center", fontsize=8 if speed else 6.5, color=ink, weight="bold" if best else "normal")
    axes.imshow(colours, cmap=COLOURS, vmin=-1, vmax=1, aspect="auto")
    axes.set_xticks(range(len(names)), [name.replace("_", "\n", 1) for name in names], fontsize=8)
    axes.set_yticks(range(len(found)), [formats.short(label(row, run), 40) for row in found], fontsize=8)
    axes.xaxis.tick_top()
    axes.tick_params(length=0, labelcolor=palette.ink)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return drawing
