"""Two runs compared, to look at: a table for the terminal and a picture with one line per cell."""

from __future__ import annotations

import io
from collections.abc import Iterator
from math import log2
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from benchmarks.records.results import Run
from benchmarks.report import formats, own_files
from benchmarks.report.changes import Change, Comparison, different_settings
from benchmarks.report.standing import Ratio

STYLES = {"regression": "bold red", "slower": "red", "faster": "green", "unsure": "dim", "no time": "dim"}
COLOURS = {"regression": "#c0392b", "slower": "#c98a2b", "faster": "#1f7a3d", "even": "#6b7280", "unsure": "#b3b8c2"}
HALF, REACH = 6, 2.0  # the terminal's picture: characters on either side of 1, and the factor (as a power of two) that they reach
SCALE = "¼  ½  1  2  4"
SOME = 40  # rows of cells that changed; a terminal shows no more at once


def terminal(comparison: Comparison, fail_above: float, everything: bool = False) -> Group:
    """Contenders' means, the cells that changed (or all), what else differs between the runs, and a verdict in one line."""
    first, second = comparison.first, comparison.second
    head = f"{second.id} (commit {formats.commit(second)}) against {first.id} (commit {formats.commit(first)}); above 1× is faster now."
    means = Table("contender", "cells", "speed", box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for name, mean, count in comparison.means():
        means.add_row(name, str(count), f"{formats.relative(mean)}×")
    cells, verdict = _cells(comparison, fail_above, everything), _verdict(comparison, fail_above)
    return Group(Text(head), Text(), means, Text(), *cells, *_notes(comparison), verdict)


def _cells(comparison: Comparison, fail_above: float, everything: bool) -> Iterator[RenderableType]:
    chosen = [each for each in _sorted(comparison) if everything or each.word(fail_above) not in ("even", "unsure", "no time")]
    if not chosen:
        return
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    for heading in ("cell", "now", "speed", "interval", SCALE, ""):
        table.add_column(heading, justify="right" if heading in ("now", "speed") else "left", overflow="fold", no_wrap=heading != "cell")
    for each in chosen if everything else chosen[:SOME]:
        word = each.word(fail_above)
        table.add_row(
            Text(formats.short(name(each, comparison), 40)), formats.seconds(each.after.median_s), formats.times(each.speed),
            formats.interval(each.speed),
            Text(drawn(each.speed)), Text(word, style=STYLES.get(word, "red")),
        )  # fmt: skip
    yield table
    if len(chosen) > SOME and not everything:
        yield Text(f"and {len(chosen) - SOME} more; --all shows every cell", style="dim")
    yield Text()


def _sorted(comparison: Comparison) -> list[Change]:
    """The slowest first; what has no time before them."""
    return sorted(comparison.changes, key=lambda each: each.speed.value if each.speed else 0.0)


def name(change: Change, comparison: Comparison) -> str:
    """Workload and contender, with batch and threads where the run has several."""
    cell, cells = change.after, comparison.second.cells
    text = f"{cell.workload} {cell.contender}"
    text += f" batch {cell.batch}" if len({each.batch for each in cells}) > 1 else ""
    return text + (f" t{cell.threads}" if len({each.threads for each in cells}) > 1 else "")


def drawn(speed: Ratio | None) -> str:
    """The interval as characters: ├─●─┤ on a logarithmic line around 1, from a quarter to four times as fast."""
    line = [" "] * HALF + ["│"] + [" "] * HALF

    def place(value: float) -> int:
        return round(HALF + HALF * max(-1.0, min(1.0, log2(value) / REACH)))

    if speed is None:
        return "".join(line)
    if speed.low is not None and speed.high is not None:
        low, high = place(speed.low), place(speed.high)
        line[low : high + 1] = "─" * (high + 1 - low)
        line[low], line[high] = "├", "┤"
    line[place(speed.value)] = "●"
    return "".join(line)


def _notes(comparison: Comparison) -> Iterator[RenderableType]:
    drift = comparison.drift
    if drift.count:
        between = f"{formats.digits(drift.low)}–{formats.digits(drift.high)}, {drift.count} cells"
        yield Text(f"Drift of the machine: unchanged peers ran {formats.digits(drift.middle)}× as fast ({between}). ")
        yield Text("It is taken out of the speeds and widens their intervals.")
    else:
        yield Text("Too few unchanged peers in both runs to see how much the machine drifted: the intervals hold only what each run shows.")
    settings = [f"{key}: {one} → {other}" for key, one, other in different_settings(comparison.first, comparison.second)]
    if settings:
        yield Text("Other than in the first run: " + "; ".join(settings))
    for count, what in ((comparison.unpaired, "in one of the runs only"), (comparison.redefined, "of another size in each run")):
        if count:
            yield Text(f"{count} cell{'s' if count > 1 else ''} {what}: left out.", style="dim")


def _verdict(comparison: Comparison, fail_above: float) -> Text:
    bad = comparison.regressions(fail_above)
    words = [each.word(fail_above) for each in comparison.changes]
    counted = ", ".join(f"{words.count(word)} {word}" for word in ("faster", "slower", "even", "unsure") if word in words)
    counted = counted or "no cell has a time in both"
    if not bad:
        changed = "No regression" if "faster" in words or "slower" in words else "No change"
        return Text(f"{changed} beyond {100 * fail_above:g} %: {counted}.", style="green")
    among = ", ".join(name(each, comparison) for each in sorted(bad, key=lambda each: each.speed.value if each.speed else 0.0))
    return Text(f"{len(bad)} regression{'s' if len(bad) > 1 else ''} beyond {100 * fail_above:g} %: {among}", style="bold red")


def draw(comparison: Comparison, fail_above: float) -> Figure:
    """A line per cell with both times, grouped by contender: the speed as a point, its interval, 1 and what fails."""
    order = [contender for contender, _, _ in comparison.means()]
    shown = sorted((each for each in _sorted(comparison) if each.speed), key=lambda each: order.index(each.after.contender))
    figure = Figure(figsize=(9.5, 1.3 + 0.19 * max(len(shown), 1)))
    height = figure.get_figheight()
    axes = figure.add_axes((0.36, 0.55 / height, 0.61, 1 - 1.1 / height))
    for word, colour in COLOURS.items():
        rows = [(row, each.speed) for row, each in enumerate(shown) if each.speed and each.word(fail_above) == word]
        if not rows:
            continue
        axes.plot([speed.value for _, speed in rows], [row for row, _ in rows], "o", color=colour, markersize=4, label=word)
        ends = [(row, speed.low, speed.high) for row, speed in rows if speed.low is not None and speed.high is not None]
        for row, low, high in ends:
            axes.plot([low, high], [row, row], color=colour, linewidth=1.3)
    axes.axvline(1, color="#333333", linewidth=0.8)
    axes.axvline(1 / (1 + fail_above), color=COLOURS["regression"], linewidth=0.8, linestyle="--")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
    axes.xaxis.set_minor_formatter(FuncFormatter(lambda value, _: f"{value:g}×") if _narrow(shown) else NullFormatter())
    axes.set_yticks(range(len(shown)), [formats.short(name(each, comparison), 50) for each in shown], fontsize=7.5)
    axes.set_ylim(max(len(shown), 1) - 0.4, -0.6)
    axes.grid(True, axis="x", color="#e3e5e8", linewidth=0.6)
    axes.tick_params(length=0)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xlabel(f"speed of {identity(comparison.second)}, {identity(comparison.first)} = 1", fontsize=8)
    if shown:
        figure.legend(loc="upper right", ncols=5, frameon=False, fontsize=8)
    return figure


def _narrow(shown: list[Change]) -> bool:
    """Whether all intervals lie within one decade, where the powers of ten alone would leave an axis without numbers."""
    ends = [end for each in shown if each.speed for end in (each.speed.low or each.speed.value, each.speed.high or each.speed.value)]
    return bool(ends) and max(ends) / min(ends) < 12


def save(comparison: Comparison, fail_above: float, path: Path) -> Path:
    """Write the picture; the ending of the name says how (svg, pdf, png)."""
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": comparison.second.id, "font.family": "DejaVu Sans", "text.parse_math": False}):
        own_files.check(path)
        where = {".svg": {"Date": None, "Description": own_files.MARK}, ".pdf": {"Subject": own_files.MARK}}
        drawn, form = io.BytesIO(), path.suffix.lstrip(".")
        draw(comparison, fail_above).savefig(drawn, format=form, metadata=where.get(path.suffix, {"Software": own_files.MARK}))
    return own_files.write(path, drawn.getvalue())


def identity(run: Run) -> str:
    """What a file's name says of a run."""
    return run.folder.name if run.folder else run.id
