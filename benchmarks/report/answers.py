"""Answers against float64, for a terminal: how each contender stands, every wrong or failed one in full, and the totals."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from benchmarks.records.results import STATUSES, Line
from benchmarks.report import formats

WORDS = {"ok": "right", "wrong": "wrong", "refused": "refused", "over_budget": "over budget", "failed": "failed"}
STYLES = {"ok": "green", "wrong": "bold red", "failed": "bold red"}


def summary(lines: Sequence[Line], everything: bool = False) -> Group:
    """A line a contender and one for all of them; before it what is wrong, or every answer."""
    parts: list[RenderableType] = []
    for line in lines:
        if everything or line.status in ("wrong", "failed"):
            found, allowed = formats.error(line.bounded_error), formats.error(line.error_bound)
            numbers = f", error {found} of {allowed} allowed" if line.error is not None else ""
            why = f": {line.reason}" if line.reason else ""
            words = f"{WORDS[line.status]}: {formats.short(line.workload, 60)} {line.contender}{numbers}{why}"
            parts.append(Text(words, style=STYLES.get(line.status, "dim")))
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for heading in ("contender", *(WORDS[status] for status in STATUSES), "largest share of the bound"):
        table.add_column(heading, justify="left" if heading == "contender" else "right")
    names = list(dict.fromkeys(line.contender for line in lines))
    for name in names:
        table.add_row(*_row(name, [line for line in lines if line.contender == name]))
    if len(names) > 1:
        table.add_row(*_row("all", lines), style="bold")
    return Group(*parts, table)


def _row(name: str, lines: Sequence[Line]) -> tuple[Text | str, ...]:
    shares = [line.bounded_error / line.error_bound for line in lines if line.bounded_error is not None and line.error_bound]
    counts = [sum(line.status == status for line in lines) for status in STATUSES]
    return Text(name), *(str(count) if count else "" for count in counts), formats.share(max(shares)) if shares else formats.NOTHING
