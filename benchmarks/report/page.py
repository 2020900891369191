"""One HTML file that shows a run: summary, heat map, roofline, a table of every cell, the environment, how to read it.

The heat map is an HTML table, so its text stays text on a phone and for a screen reader, and the roofline is SVG drawn by Matplotlib
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

from benchmarks.report import figures, formats
from benchmarks.report.standing import Ratio, Row, contender_order, label, mean_speedup, rows
from benchmarks.results import PEERS, Cell, Run, load

FULL_COLOUR = 8.0  # times as fast or as slow as the best peer: the colour scale ends here
WORDS = {"ok": "ok", "wrong": "wrong", "refused": "refused", "over_budget": "over budget", "failed": "failed"}


def write(run_folder: Path | str) -> Path:
    """Write `index.html` into the folder of a run and return its path."""
    run_folder = Path(run_folder)
    path = run_folder / "index.html"
    path.write_text(render(load(run_folder)), encoding="utf-8")
    return path


def render(run: Run) -> str:
    """The page as text."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["breakable"] = _breakable
    anchors = {cell: f"cell-{number}" for number, cell in enumerate(run.cells)}
    found = rows(run)
    return environment.get_template("template.html").render(
        run=run, command=shlex.join(run.command), words=WORDS, formats=formats, nothing=formats.NOTHING, counts=_counts(run),
        compute=mean_speedup(run), everything=mean_speedup(run, compute_only=False), auto=mean_speedup(run, "auto"),
        results=[(label(row, run), row) for row in found],
        contenders=contender_order(run), ours=sum(name not in PEERS for name in contender_order(run)),
        heat=[(label(row, run), [_heat(row, name, anchors) for name in contender_order(run)]) for row in found],
        marks=figures.marks(run), floor=formats.digits(figures.floor(run)) if figures.floor(run) else "", full_colour=f"{FULL_COLOUR:g}",
        wide=Markup(figures.roofline(run, anchors, figures.WIDE)), narrow=Markup(figures.roofline(run, anchors, figures.NARROW)),
        columns=COLUMNS, table=[_entry(cell, row, run, anchors[cell]) for row in found for cell in _ordered(row, run)],
        environment=list(flat(run.environment)),
    )  # fmt: skip


def _ordered(row: Row, run: Run) -> list[Cell]:
    return sorted(row.cells, key=lambda cell: contender_order(run).index(cell.contender))


def _breakable(name: str) -> Markup:
    """Long names break at their joints; str, because joining Markup would escape the marks."""
    return Markup(re.sub(r"([._])", r"\1<wbr>", str(escape(name))))


def _counts(run: Run) -> str:
    """As in "61 timed, 30 refused, 2 wrong"."""
    number = {status: sum(cell.status == status for cell in run.cells) for status in WORDS}
    return ", ".join(f"{count} {'timed' if status == 'ok' else WORDS[status]}" for status, count in number.items() if count)


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
        return Heat(WORDS[cell.status], f"{name}{WORDS[cell.status]}: {formats.reason(cell)}", cell.status, anchor=anchor)
    best = cell in (row.best_peer if cell.is_peer else row.best_ours,)
    relative = row.against_best_peer(cell)
    if relative is None:
        time = formats.seconds(cell.median_s)
        return Heat(time, f"{name}{time}, no peer to compare with", "even", 0.0, anchor, best)
    strength = min(abs(log2(relative.value)) / log2(FULL_COLOUR), 1.0)
    peer = row.best_peer.contender if row.best_peer else ""
    said = f"{name}{formats.seconds(cell.median_s)}, {formats.times(relative)} as fast as {peer}"
    between = f" ({formats.interval(relative)})" if formats.interval(relative) and cell != row.best_peer else ""
    return Heat(formats.relative(relative.value), said + between, "fast" if relative.value >= 1 else "slow", strength, anchor, best)


# key, heading, whether it is a number, what the heading says on hovering
COLUMNS = (
    ("workload", "Workload", False, "layer of a published model; hover for the problem"),
    ("contender", "Contender", False, ""),
    ("status", "Status", False, "only right answers are timed"),
    ("time", "Time", True, "median over passes of each pass's median, one call"),
    ("gflops", "GFLOP/s", True, "the direct method's operations over the time, whatever the contender really did"),
    ("gbs", "GB/s", True, "inputs, weights and outputs once, over the time"),
    ("share", "Limit", True, "share of this machine's limit"),
    ("peer", "vs peer", True, "speed relative to the fastest peer, with its interval"),
    ("naive", "vs naive", True, "speed relative to the plain Python loops"),
    ("error", "Error", True, "largest difference from float64 over the largest value"),
    ("workspace", "Workspace", True, "scratch memory of one call"),
    ("prepare", "Prepare", True, "compiling, packing weights, opening a session: outside the timer"),
    ("first", "First call", True, "the first call after preparing"),
    ("reason", "Reason", False, "why there is no time"),
    ("command", "Command", False, "runs this cell again"),
    ("inside", "Inside the timer", False, ""),
)


@dataclass(frozen=True)
class Value:
    """A field of the table: its text, what it sorts by (None sorts last) and more words on hovering."""

    text: str
    sort: str | float | None
    title: str = ""
    verdict: str = ""


@dataclass(frozen=True)
class Entry:
    """A row of the table."""

    anchor: str
    cell: Cell
    values: dict[str, Value]


def _entry(cell: Cell, row: Row, run: Run, anchor: str) -> Entry:
    share, reason = cell.share_of_limit(run.limits), formats.reason(cell)
    passes = ", ".join(formats.seconds(value) for value in cell.pass_medians)
    samples = sum(map(len, cell.samples))
    bound = f"bound {formats.error(cell.error_bound)}" if cell.error_bound is not None else ""
    workload = label(row, run)
    values = {
        "workload": Value(workload, workload, cell.problem),
        "contender": Value(cell.contender, cell.contender),
        "status": Value(WORDS[cell.status], cell.status, reason),
        "time": Value(formats.seconds(cell.median_s), cell.median_s, f"passes: {passes}; {samples} samples" if samples else ""),
        "gflops": Value(formats.digits(cell.gflops), cell.gflops),
        "gbs": Value(formats.digits(cell.gbs), cell.gbs),
        "share": Value(formats.share(share), share),
        "peer": _relative(row.against_best_peer(cell)) if cell != row.best_peer else Value("best", 1.0, "the fastest peer here"),
        "naive": _relative(row.against_naive(cell), coloured=False),
        "error": Value(formats.error(cell.error), cell.error, bound),
        "workspace": Value(formats.size(cell.workspace_bytes), cell.workspace_bytes),
        "prepare": Value(formats.seconds(cell.prepare_s), cell.prepare_s),
        "first": Value(formats.seconds(cell.first_call_s), cell.first_call_s),
        "reason": Value(reason, reason or None),
        "command": Value(reproducer(cell, run), None),
        "inside": Value(cell.inside_timer, cell.inside_timer or None),
    }
    return Entry(anchor, cell, values)


def _relative(value: Ratio | None, coloured: bool = True) -> Value:
    if value is None:
        return Value(formats.NOTHING, None)
    between = formats.interval(value)
    title = f"{value.verdict}, interval {between}" if between else "too few samples for an interval"
    return Value(formats.times(value), value.value, title, value.verdict if coloured else "")


def reproducer(cell: Cell, run: Run) -> str:
    """The command that runs one cell again, with what this run set otherwise than by default."""
    words = ["python", "-m", "benchmarks", "run", "--workload", cell.workload, "--contender", cell.contender]
    given = [part for word in run.command for part in word.split("=", 1)]
    if "--threads" in given or len({other.threads for other in run.cells}) > 1:
        words += ["--threads", str(cell.threads)]
    if cell.batch != 1:
        words += ["--batch", str(cell.batch)]
    if "--audio" in given[:-1]:
        words += ["--audio", given[given.index("--audio") + 1]]
    return shlex.join(words)


def flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings as (name, text), names joined by a middle dot; inner names (variables, contenders) stay as they are."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from flat(inner, f"{name} · {key}" if name else str(key).replace("_", " "))
    elif isinstance(value, list | tuple) and value and all(isinstance(inner, Mapping) for inner in value):
        for number, inner in enumerate(value, 1):  # thread pools, say: a line each
            yield f"{name} · {number}", ", ".join(f"{key} {text}" for key, text in flat(inner))
    elif name.endswith("bytes") and isinstance(value, int):
        yield name.removesuffix("bytes").strip(), formats.size(value)
    elif isinstance(value, list | tuple):
        yield name, ", ".join(map(str, value)) or formats.NOTHING
    elif isinstance(value, bool):
        yield name, "yes" if value else "no"
    else:
        yield name, formats.NOTHING if value is None else str(value)
