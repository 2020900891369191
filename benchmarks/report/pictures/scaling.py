"""Scaling: how GFLOP/s of one layer change with threads, batch or length, a small panel per layer.

A panel needs the same layer at two values at least. Runs seldom have them alone, so the page also looks at the runs beside it that were
made from the same commit on the same machine; where two have the same cell, the page's own counts, then the newest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter

from benchmarks.records.archive import load
from benchmarks.records.results import Cell, Run
from benchmarks.report import formats
from benchmarks.report.changes import MACHINE
from benchmarks.report.pictures import style

KINDS = {"threads": "threads", "batch": "batch", "length": "positions (height x width)"}
SIZE = (3.35, 2.3)  # inches of one panel: three of them stand side by side on a desktop, one on a phone
SIZES = re.compile(r"^(\w+) (n\d+) (c\d+) ([\dx]+)")  # of a problem's text: the layer is what is left without its map


@dataclass(frozen=True)
class Panel:
    """One layer along one axis: for each contender its (value, GFLOP/s), at least two of them."""

    kind: str
    title: str
    lines: dict[str, tuple[tuple[int, float], ...]]


@dataclass(frozen=True)
class Scaling:
    """All panels, and the runs beside this one that they take points from."""

    panels: tuple[Panel, ...]
    others: tuple[str, ...]

    @property
    def contenders(self) -> set[str]:
        return {name for panel in self.panels for name in panel.lines}

    def of(self, kind: str) -> tuple[Panel, ...]:
        return tuple(panel for panel in self.panels if panel.kind == kind)


def siblings(run: Run) -> tuple[Run, ...]:
    """The other runs in the same folder, made on the same machine from the same commit with nothing changed, newest first."""
    if run.folder is None or not run.environment.get("commit"):
        return ()
    found = []
    for path in sorted(Path(run.folder).resolve().parent.glob("*/run.json"), reverse=True):
        try:
            other = load(path.parent)
        except (OSError, ValueError, KeyError, TypeError):  # the index says which folders cannot be read
            continue
        same = all(run.environment.get(name) == other.environment.get(name) for name in (*MACHINE, "commit", "dirty"))
        same = same and all(run.options.get(name) == other.options.get(name) for name in ("cold_cache", "denormals", "audio", "beside"))
        if other.id != run.id and same and not run.environment.get("dirty"):
            found.append(other)
    return tuple(found)


def gather(run: Run, others: Iterable[Run] = ()) -> Scaling:
    """The panels of layers that this run has, with what the others know of the same layers."""
    cells = {_key(cell): (cell, "") for cell in run.cells}
    mine = {_layer(cell) for cell in run.cells}
    for other in others:
        for cell in other.cells:
            if _layer(cell) in mine and cell.contender in run.contenders():
                cells.setdefault(_key(cell), (cell, other.id))
    timed = [(cell, source) for cell, source in cells.values() if cell.gflops and _shown(cell, run)]
    panels: list[Panel] = []
    used: set[str] = set()
    for kind in KINDS:
        groups: dict[tuple[object, ...], list[tuple[Cell, str]]] = {}
        for cell, source in timed:
            groups.setdefault(_group(kind, cell), []).append((cell, source))
        for group in groups.values():
            lines = dict(_lines(kind, [cell for cell, _ in group]))
            if lines and any(not source for _, source in group):
                panels.append(Panel(kind, _title(kind, [cell for cell, _ in group]), lines))
                used |= {source for cell, source in group if source and cell.contender in lines}
    return Scaling(tuple(panels), tuple(sorted(used)))


def _key(cell: Cell) -> tuple[object, ...]:
    return cell.workload, cell.contender, cell.threads, cell.batch, cell.problem


def _shown(cell: Cell, run: Run) -> bool:
    """Of ours "auto", which is what users get, or all where it did not run; peers, but no baseline."""
    return cell.is_peer or (cell.is_ours and (cell.contender == "auto" or "auto" not in run.contenders()))


def _layer(cell: Cell) -> str:
    return SIZES.sub(r"\1 \3", cell.problem)


def _value(kind: str, cell: Cell) -> int:
    if kind == "length":
        found = SIZES.match(cell.problem)
        return prod(map(int, found[4].split("x"))) if found else 0
    return cell.threads if kind == "threads" else cell.batch


def _group(kind: str, cell: Cell) -> tuple[object, ...]:
    """What is the same for all points of a panel."""
    if kind == "length":
        return SIZES.sub(r"\1 \2 \3", cell.problem), cell.threads, cell.batch
    return cell.workload, cell.batch if kind == "threads" else cell.threads


def _lines(kind: str, cells: list[Cell]) -> Iterator[tuple[str, tuple[tuple[int, float], ...]]]:
    names = {cell.contender: not cell.is_ours for cell in cells}
    for name in sorted(names, key=lambda name: names[name]):
        points = {_value(kind, cell): cell.gflops or 0.0 for cell in cells if cell.contender == name}
        if len(points) > 1:
            yield name, tuple(sorted(points.items()))


def _title(kind: str, cells: list[Cell]) -> str:
    cell, names = cells[0], list(dict.fromkeys(cell.workload for cell in cells))
    threads = f"{cell.threads} thread{'s' if cell.threads > 1 else ''}"
    rest = {"threads": f"batch {cell.batch}" if cell.batch > 1 else "", "batch": threads, "length": threads}[kind]
    return ", ".join([*names[:2], *(["…"] if len(names) > 2 else []), *([rest] if rest else [])])


def panel(chosen: Panel, run: Run, palette: style.Palette) -> Figure:
    """One panel as a figure of its own, as the page shows it."""
    drawing, axes = style.one_axes(SIZE, left=0.55, bottom=0.45)
    draw(axes, chosen, run, palette)
    return drawing


def draw(axes: Axes, chosen: Panel, run: Run, palette: style.Palette) -> None:
    known = style.marks(run)
    for name, points in chosen.lines.items():
        mark = known.get(name, style.Mark(name, None, "o"))  # timed in another run only
        axes.plot(
            *zip(*points, strict=True), marker=mark.marker, markersize=4.5, linestyle=mark.dashes, color=mark.colour(palette),
            linewidth=1.1 if mark.hue is None else 1.6, label=name, gid=f"contender:{name}",
        )  # fmt: skip
    values = sorted({value for points in chosen.lines.values() for value, _ in points})
    rates = [rate for points in chosen.lines.values() for _, rate in points]
    style.dress(axes, palette, KINDS[chosen.kind], "GFLOP/s")
    axes.xaxis.set_major_locator(FixedLocator(_apart(values)))
    low, high = min(rates) / 1.3, max(rates) * 1.3
    axes.set_ylim(low, high)
    axes.yaxis.set_major_locator(FixedLocator(_steps(low, high)))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: formats.digits(value) if value < 1 else f"{value:g}"))
    axes.tick_params(labelsize=9, length=0)
    axes.xaxis.label.set_fontsize(9)
    axes.yaxis.label.set_fontsize(9)


def _apart(values: list[int]) -> list[int]:
    """Those of the values whose names do not run into each other on a logarithmic axis, the ends first."""
    least = max((values[-1] / values[0]) ** 0.25, 1.2)
    kept = [values[0]]
    for value in values[1:-1]:
        if value > least * kept[-1] and values[-1] > least * value:
            kept.append(value)
    return [*kept, values[-1]]


def _steps(low: float, high: float) -> list[float]:
    """At least two round numbers of a logarithmic axis, as few as that takes; Matplotlib's own gives none within a decade."""
    for digits in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), tuple(each / 10 for each in range(10, 100))):
        found = [digit * 10.0**power for power in range(-6, 7) for digit in digits if low <= digit * 10.0**power <= high]
        if len(found) > 1:
            break
    return found


def figure(run: Run, chosen: tuple[Panel, ...], palette: style.Palette = style.PAPER, columns: int = 4) -> Figure:
    """All panels on one sheet, for files."""
    lines = -(-len(chosen) // columns)
    drawing = Figure(figsize=(3.3 * columns, 2.5 * lines + 0.5), layout="constrained")
    grid = drawing.subplots(lines, columns, squeeze=False)
    for axes in grid.flat[len(chosen):]:
        axes.set_visible(False)
    for axes, each in zip(grid.flat, chosen, strict=False):
        draw(axes, each, run, palette)
        axes.set_title(formats.short(each.title, 40), fontsize=9, color=palette.ink)
    known = {label: handle for axes in grid.flat for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    drawing.legend(known.values(), known.keys(), loc="outside upper center", ncols=6, frameon=False)
    return drawing
