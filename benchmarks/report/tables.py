"""The results of a run as text for an 80-column terminal, and in Markdown. Every number comes from the run."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from benchmarks.records.results import Cell, Run
from benchmarks.report import formats, noise
from benchmarks.report.standing import Mean, Ratio, Row, label, mean_speedup, rows

HEADINGS = ("workload", "ours", "time", "GFLOP/s", "limit", "error", "best peer", "time", "speed")
STYLES = {"faster": "bold green", "slower": "red", "even": "", "unsure": "dim"}
SHORT = {"torch_channels_last": "torch nhwc", "torch_compiled": "torch comp."}  # 19 letters would cost the terminal two columns
NAME = 23  # columns of a workload's name in a terminal


def markdown(run: Run) -> str:
    """The table with a line above that says where it comes from and one below with the means."""
    lines = [origin(run), "", "| " + " | ".join(HEADINGS) + " |", "| --- | --- | ---: | ---: | ---: | ---: | --- | ---: | ---: |"]
    for row in rows(run):
        speed, between = formats.times(row.speedup), formats.interval(row.speedup) if run.passes > 1 else ""
        if row.speedup and row.speedup.verdict == "faster" and run.passes > 1:
            speed = f"**{speed}**"
        fields = (*map(plain, _fields(row, run)), f"{speed} ({between})" if between else speed)
        lines.append("| " + " | ".join(fields) + " |")
    sure = " Bold: faster, and the interval, in brackets, excludes 1." if run.passes > 1 else " One pass: no intervals."
    return "\n".join([*lines, "", means(run) + sure])


def origin(run: Run) -> str:
    """Machine, threads, passes, preset, commit, run: where numbers come from, in one line of Markdown."""
    beside = f", beside {run.options['beside']} busy processes" if run.options.get("beside") else ""
    return (
        f"{plain(formats.machine(run))}, {_threads(run)}, {run.passes} pass{'es' if run.passes != 1 else ''}, "
        f"preset {plain(run.preset)}{beside}, commit {formats.commit(run)}, run {plain(run.id)}."
    )


def _fields(row: Row, run: Run) -> tuple[str, ...]:
    ours, peer = row.lead, row.best_peer
    return (
        formats.short(label(row, run), 60),
        said(ours) if ours else formats.NOTHING,
        formats.seconds(ours.median_s if ours else None),
        formats.digits(ours.gflops if ours else None),
        formats.share(ours.share_of_limit(run.limits) if ours else None),
        formats.error(ours.error if ours else None),
        peer.contender if peer else formats.NOTHING,
        formats.seconds(peer.median_s if peer else None),
    )


def said(cell: Cell) -> str:
    """A contender, with what it chose."""
    return f"{cell.contender}: {cell.chose}" if cell.chose else cell.contender


def terminal(run: Run) -> Group:
    """The table, the means, and what went wrong, in 80 columns. Contenders that the user named have a line each."""
    table = _each(run) if run.options.get("contenders") else _best(run)
    ours = [row.lead for row in rows(run) if row.lead]
    who = "" if run.options.get("contenders") else 'Ours: what "auto" takes. ' if all(c.contender == "auto" for c in ours) else ""
    return Group(table, Text(), Text(f"{who}{means(run)} Green and red: the interval excludes 1."), *troubles(run))


def _table(headings: tuple[str, ...], justify: str) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    for heading, side in zip(headings, justify, strict=True):
        table.add_column(heading, justify="right" if side == "r" else "left", overflow="fold")
    return table


def _best(run: Run) -> Table:
    """One line a workload: ours against the best peer, or against SciPy where no other library took part."""
    found, doubted, peers = rows(run), noise.doubted(run), run.peers()
    table = _table(("workload", "ours", "ms", "GF/s", "limit", "best peer" if peers else "baseline", "ms", "speed"), "llrrrlrr")
    for row in found:
        ours, other = row.lead, row.best_peer if peers else row.baseline
        speed = row.speedup if peers else row.against(ours, row.baseline)
        table.add_row(
            Text(_shown(label(row, run))),
            Text((ours.chose or ours.contender) if ours else formats.NOTHING),
            _milliseconds(ours, doubted),
            Text(formats.digits(ours.gflops if ours else None)),
            Text(formats.share(ours.share_of_limit(run.limits) if ours else None).replace(" %", "%")),
            Text(SHORT.get(other.contender, formats.short(other.contender, 11)) if other else formats.NOTHING),
            _milliseconds(other, doubted),
            _speed(speed),
        )
    return table


def _shown(name: str) -> str:
    """A workload's name for a terminal, where a pass of training is not what is cut away."""
    layer, _, part = name.rpartition(".")
    if not part.startswith(("backward_", "step")):
        return formats.short(name, NAME)
    part = part.removeprefix("backward_")
    return f"{formats.short(layer, NAME - 1 - len(part))} {part}"


def _each(run: Run) -> Table:
    """One line a cell, the fastest of each workload first."""
    doubted, peers = noise.doubted(run), run.peers()
    table = _table(("workload", "contender", "ms", "GF/s", "limit", "error", "vs peer" if peers else ""), "llrrrrr")
    for row in rows(run):
        name = _shown(label(row, run))
        for cell in sorted(row.cells, key=lambda cell: cell.median_s or float("inf")):
            table.add_row(
                Text(name), Text(formats.short(said(cell), 22)),
                _milliseconds(cell, doubted) if cell.median_s else Text(cell.status.replace("_", " "), style="dim"),
                Text(formats.digits(cell.gflops)), Text(formats.share(cell.share_of_limit(run.limits)).replace(" %", "%")),
                Text(formats.error(cell.error)), _speed(row.against_best_peer(cell) if cell is not row.best_peer else None),
            )  # fmt: skip
            name = ""
    return table


def _milliseconds(cell: Cell | None, doubted: frozenset[tuple[str, str, int, int]]) -> Text:
    if cell and cell.key in doubted:
        return Text(formats.milliseconds(cell.median_s) + noise.DOUBT, style="yellow")
    return Text(formats.milliseconds(cell.median_s if cell else None))


def _speed(speed: Ratio | None) -> Text:
    return Text(formats.times(speed), style=STYLES[speed.verdict] if speed else "")


def means(run: Run) -> str:
    """Geometric means over workloads; where no other library took part, how to install some. A baseline gives no mean."""
    def each(mean: Mean, who: str) -> str:
        between = f" ({formats.interval(mean)} over passes)" if formats.interval(mean) else ""
        return f"{formats.times(mean)}{between} for {who} on {mean.count} workload{'s' if mean.count != 1 else ''}"

    if not run.peers():
        return f"No other library took part, so nothing is compared; {install()} gives some to compare with."
    found = (
        (mean_speedup(run, "auto", compute_only=False), '"auto", all,'),
        (mean_speedup(run, "auto"), '"auto", compute-bound,'),
        (mean_speedup(run, compute_only=False), "our fastest, all,"),
    )
    sayings = [each(mean, who) for mean, who in found if mean]
    if not sayings:
        return "No workload was timed both by us and by a peer."
    return "Geometric mean of the speed against the best peer: " + "; ".join(sayings) + "."


def install() -> str:
    """The command that installs the libraries to compare with into the environment that runs this."""
    python = f'"{sys.executable}"' if " " in sys.executable else sys.executable
    return f'`{python} -m pip install -e ".[peers]"`'


def troubles(run: Run) -> Iterator[RenderableType]:
    """What to know before believing the table: a noisy machine, doubted cells, wrong and failed ones by name, how many did not run."""
    seen = noise.of_run(run)
    if seen and seen.unquiet:
        words = f"The machine was noisy: passes of a cell differ by {formats.share(seen.middle)} in the median."
        yield Text(f"{words} `doctor` says what may disturb; --passes 5 tells more.", style="yellow")
    if count := len(noise.doubted(run)):
        words = f"{noise.DOUBT} {count} cell{'s have' if count > 1 else ' has'} samples, or the same method by another name, that disagree"
        yield Text(f"{words} by more than {noise.DISAGREE:g} times: something else ran. `doctor` helps to find it.", style="yellow")
    if run.unreadable:
        yield Text(f"{run.unreadable} lines of this run cannot be read and are left out.", style="yellow")
    for cell in run.cells:
        if cell.status in ("wrong", "failed"):
            yield Text(f"{cell.status}: {formats.short(cell.workload, 60)} {cell.contender}: {formats.reason(cell)}", style="red")
    refused, over = (sum(cell.status == status for cell in run.cells) for status in ("refused", "over_budget"))
    if refused or over:
        yield Text(f"{refused} cells refused, {over} over budget; the page says why.", style="dim")


def _threads(run: Run) -> str:
    return " and ".join(map(str, run.threads)) + " thread" + ("s" if run.threads != (1,) else "")


def plain(text: str) -> str:
    """Text that Markdown leaves alone; underscores inside words are no emphasis and stay readable."""
    text = re.sub(r"\s+", " ", text).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([|`*\[\]\\]|(?<!\w)_|_(?!\w))", r"\\\1", text)
