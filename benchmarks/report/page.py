"""One HTML file that shows a run: summary, heat map, bars, roofline, error against speed, scaling, every cell, the environment.

Heat map and bars are HTML, so their text stays text on a phone and for a screen reader; the other pictures are SVG drawn by Matplotlib
when the page is written: a page weighs 0.1 MB and a megabyte at most (every run is committed), opens without a network and reads
without JavaScript, which only adds sorting, filtering and tooltips. Inlined, plotly.js alone is 4.8 MB, Bokeh's scripts 3.9 MB, Vega's
0.9 MB behind an 84 MB wheel.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import log2
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from benchmarks.records.archive import load
from benchmarks.records.results import Cell, Run
from benchmarks.report import entries, formats, noise, own_files, tables
from benchmarks.report.pictures import bars, error_speed, heat, ranking, roofline, scaling, style, web
from benchmarks.report.standing import Row, contender_order, label, mean_speedup, rows

NAME = 60  # characters of a name on the page; the whole of a longer one is told on hovering


def write(run_folder: Path | str) -> Path:
    """Write `index.html` into the folder of a run and return its path."""
    return own_files.write(Path(run_folder) / "index.html", render(load(run_folder)))


def render(run: Run) -> str:
    """The page as text."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["breakable"] = _breakable
    anchors = {cell: f"cell-{number}" for number, cell in enumerate(run.cells)}
    found, names, doubted = rows(run), contender_order(run), noise.doubted(run)
    layers = {workload: f"layer-{number}" for number, workload in enumerate(run.workloads())}
    scales = scaling.gather(run, scaling.siblings(run))
    return environment.get_template("template.html").render(
        run=run, generator=own_files.MARK, command=shlex.join(run.command),
        words=entries.WORDS, formats=formats, nothing=formats.NOTHING, counts=_counts(run),
        noise=noise.of_run(run), mark=noise.MARK, limit_noise=noise.NOISY, unquiet=noise.UNQUIET,
        doubted=doubted, doubt=noise.DOUBT, disagree=noise.DISAGREE, after=lambda cell: noise.after(cell, doubted),
        conditions=conditions(run),
        everything=mean_speedup(run, compute_only=False), auto=mean_speedup(run, "auto"), auto_all=mean_speedup(run, "auto", False),
        sentence=ranking.sentence(run), ranking=_twice(ranking, run, anchors) if ranking.places(run) else None,
        short=lambda name: formats.short(name, NAME), said=tables.said, layers=layers, problems={c.workload: c.problem for c in run.cells},
        results=[(label(row, run), row) for row in found],
        contenders=names, ours=len(run.ours()), inside=_inside(run),
        heat=[(label(row, run), [_heat(row, name, anchors) for name in names]) for row in found], full_colour=f"{heat.FULL_COLOUR:g}",
        bars=bars.panels(run), marks=style.marks(run), anchors=anchors,
        floor=formats.digits(roofline.floor(run)) if roofline.floor(run) else "", slowest=formats.digits(error_speed.SLOWEST),
        roofline=_twice(roofline, run, anchors), errors=_twice(error_speed, run, anchors),
        scales=scales, scaling=list(_scaling(scales, run)),
        sums=any(cell.error_of_sum is not None for cell in run.cells),
        columns=entries.COLUMNS, table=entries.entries(run), limits=formats.limits(run), environment=list(formats.flat(run.environment)),
    )  # fmt: skip


def _twice(picture: Any, run: Run, anchors: style.Anchors) -> tuple[Markup, Markup] | None:
    """For desktops and for phones, because text inside a scaled picture scales with it; None if nothing was timed."""
    if not style.marks(run):
        return None
    drawn = []
    for size in (style.WIDE, style.NARROW):
        with style.settings(f"{run.id} {picture.__name__} {size}"):
            drawn.append(Markup(web.inline(picture.figure(run, style.PAGE, size, anchors), picture.LABEL)))
    return drawn[0], drawn[1]


def _scaling(scales: scaling.Scaling, run: Run) -> Iterator[tuple[str, list[tuple[str, Markup]]]]:
    """For each kind that has panels, their titles and pictures."""
    for kind in scaling.KINDS:
        drawn = []
        for number, panel in enumerate(scales.of(kind)):
            with style.settings(f"{run.id} {kind} {number}"):
                label = f"GFLOP/s of {panel.title} over {kind}"
                drawn.append((panel.title, Markup(web.inline(scaling.panel(panel, run, style.PAGE), label))))
        if drawn:
            yield kind, drawn


def _inside(run: Run) -> dict[str, str]:
    """What each contender does inside the timer."""
    return {cell.contender: cell.inside_timer for cell in run.cells}


def conditions(run: Run) -> list[str]:
    """Under what unusual conditions a run was made, in words."""
    options, found = run.options, []
    if options.get("beside"):
        found.append(f"beside {options['beside']} busy process{'es' if options['beside'] > 1 else ''}")
    if options.get("cold_cache"):
        found.append("caches emptied before each sample")
    if options.get("denormals"):
        found.append("half of each input denormal numbers")
    return found


def _breakable(name: str) -> Markup:
    """Long names break at their joints; str, because joining Markup would escape the marks."""
    return Markup(re.sub(r"([._])", r"\1<wbr>", str(escape(name))))


def _counts(run: Run) -> str:
    """As in "61 timed, 30 refused, 2 wrong"."""
    number = {status: sum(cell.status == status for cell in run.cells) for status in entries.WORDS}
    return ", ".join(f"{count} {'timed' if status == 'ok' else entries.WORDS[status]}" for status, count in number.items() if count)


@dataclass(frozen=True)
class Heat:
    """One square of the heat map: `strength` 0 to 1 of the colour of `side`."""

    text: str
    title: str
    side: str
    strength: float = 0.0
    anchor: str = ""
    best: bool = False


def _heat(row: Row, contender: str, anchors: Mapping[Cell, str]) -> Heat:
    cell = row.get(contender)
    if cell is None:
        return Heat("", f"{row.workload} · {contender}: not run", "none")
    name, anchor = f"{row.workload} · {contender}: ", anchors[cell]
    if not cell.median_s:
        return Heat(entries.WORDS[cell.status], f"{name}{entries.WORDS[cell.status]}: {formats.reason(cell)}", cell.status, anchor=anchor)
    best = cell in (row.best_ours if cell.is_ours else row.best_peer,)
    relative = row.against_best_peer(cell)
    if relative is None:
        time = formats.seconds(cell.median_s)
        return Heat(time, f"{name}{time}, no peer to compare with", "even", 0.0, anchor, best)
    strength = min(abs(log2(relative.value)) / log2(heat.FULL_COLOUR), 1.0)
    peer = row.best_peer.contender if row.best_peer else ""
    said = f"{name}{formats.seconds(cell.median_s)}, {formats.times(relative)} as fast as {peer}"
    between = f" ({formats.interval(relative)})" if formats.interval(relative) and cell != row.best_peer else ""
    return Heat(formats.times(relative), said + between, "fast" if relative.value >= 1 else "slow", strength, anchor, best)
