"""The results of a run as tables in text: Markdown for README, rich for an 80-column terminal. Every number comes from the run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from benchmarks.records.archive import load
from benchmarks.records.results import Run
from benchmarks.report import formats
from benchmarks.report.standing import Mean, Row, label, mean_speedup, rows

BEGIN, END = "<!-- table:begin -->", "<!-- table:end -->"
HEADINGS = ("workload", "best of ours", "time", "GFLOP/s", "limit", "error", "best peer", "time", "speedup")
STYLES = {"faster": "bold green", "slower": "red", "even": "", "unsure": "dim"}
SHORT = {"torch_channels_last": "torch nhwc"}  # 19 letters would cost the terminal two columns


def markdown(run: Run) -> str:
    """The table with a line above that says where it comes from and one below with the means."""
    lines = [
        f"{plain(formats.machine(run))}, {_threads(run)}, {run.passes} pass{'es' if run.passes != 1 else ''}, "
        f"preset {plain(run.preset)}, commit {formats.commit(run)}, run {plain(run.id)}.",
        "",
        "| " + " | ".join(HEADINGS) + " |",
        "| --- | --- | ---: | ---: | ---: | ---: | --- | ---: | ---: |",
    ]
    for row in rows(run):
        speed, between = formats.times(row.speedup), formats.interval(row.speedup)
        if row.speedup and row.speedup.verdict == "faster":
            speed = f"**{speed}**"
        fields = (*map(plain, _fields(row, run)), f"{speed} ({between})" if between else speed)
        lines.append("| " + " | ".join(fields) + " |")
    lines += ["", _means(run) + " Bold: faster, and the interval, in brackets, excludes 1."]
    return "\n".join(lines)


def newest_core(folders: Iterable[Path]) -> Run | None:
    """The newest run of the whole core preset, which README shows; what stopped or ran chosen workloads or contenders does not count."""
    for folder in sorted(folders, reverse=True):
        asked = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        words = {word.partition("=")[0] for word in asked["command"]}
        if asked["preset"] == "core" and not words & {"--workload", "--contender"} and not asked.get("stopped"):
            return load(folder)
    return None


def update_readme(readme: Path | str, run: Run) -> bool:
    """Put the table between the markers of a file; True if that changed it. The markers must be there, once each and in order."""
    readme = Path(readme)
    text = readme.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"{readme}: needs one {BEGIN} and after it one {END}")
    before, _, rest = text.partition(BEGIN)
    updated = f"{before}{BEGIN}\n{markdown(run)}\n{END}{rest.partition(END)[2]}"
    if updated != text:
        readme.write_text(updated, encoding="utf-8")
    return updated != text


def terminal(run: Run) -> Group:
    """The table, the means, and what went wrong, in 80 columns."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    for heading, justify in zip(("workload", "ours", "ms", "GF/s", "limit", "best peer", "ms", "speed"), "llrrrlrr", strict=True):
        table.add_column(heading, justify="right" if justify == "r" else "left", overflow="fold")
    for row in rows(run):
        ours, peer, speed = row.best_ours, row.best_peer, row.speedup
        table.add_row(
            Text(label(row, run)),
            Text(ours.contender if ours else formats.NOTHING),
            Text(formats.milliseconds(ours.median_s if ours else None)),
            Text(formats.digits(ours.gflops if ours else None)),
            Text(formats.share(ours.share_of_limit(run.limits) if ours else None).replace(" %", "%")),
            Text(SHORT.get(peer.contender, peer.contender) if peer else formats.NOTHING),
            Text(formats.milliseconds(peer.median_s if peer else None)),
            Text(formats.times(speed), style=STYLES[speed.verdict] if speed else ""),
        )
    return Group(table, Text(), Text(_means(run) + " Green and red: the interval excludes 1."), *_troubles(run))


def _fields(row: Row, run: Run) -> tuple[str, ...]:
    ours, peer = row.best_ours, row.best_peer
    return (
        label(row, run),
        ours.contender if ours else formats.NOTHING,
        formats.seconds(ours.median_s if ours else None),
        formats.digits(ours.gflops if ours else None),
        formats.share(ours.share_of_limit(run.limits) if ours else None),
        formats.error(ours.error if ours else None),
        peer.contender if peer else formats.NOTHING,
        formats.seconds(peer.median_s if peer else None),
    )


def _means(run: Run) -> str:
    def said(mean: Mean, who: str) -> str:
        between = f" ({formats.interval(mean)} over passes)" if formats.interval(mean) else ""
        return f"{formats.times(mean)}{between} for {who} on {mean.count} workload{'s' if mean.count != 1 else ''}"

    found = (
        (mean_speedup(run), "our best, compute-bound,"),
        (mean_speedup(run, compute_only=False), "our best, all,"),
        (mean_speedup(run, "auto", compute_only=False), '"auto", all,'),
    )
    sayings = [said(mean, who) for mean, who in found if mean]
    if not sayings:
        return "No workload was timed both by us and by a peer."
    return "Geometric mean of the speed against the best peer: " + "; ".join(sayings) + "."


def _troubles(run: Run) -> Iterator[RenderableType]:
    """Every wrong or failed cell by name, and how many were refused or over budget."""
    for cell in run.cells:
        if cell.status in ("wrong", "failed"):
            yield Text(f"{cell.status}: {cell.workload} {cell.contender}: {formats.reason(cell)}", style="red")
    refused, over = (sum(cell.status == status for cell in run.cells) for status in ("refused", "over_budget"))
    if refused or over:
        yield Text(f"{refused} cells refused, {over} over budget; the page says why.", style="dim")


def _threads(run: Run) -> str:
    return " and ".join(map(str, run.threads)) + " thread" + ("s" if run.threads != (1,) else "")


def plain(text: str) -> str:
    """Text that Markdown leaves alone; underscores inside words are no emphasis and stay readable."""
    text = re.sub(r"\s+", " ", text).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([|`*\[\]\\]|(?<!\w)_|_(?!\w))", r"\\\1", text)
