"""What the layers of a user's own model take together: the best of each layer, and what each contender would take for all of them."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Group
from rich.table import Table
from rich.text import Text

from benchmarks.records.results import Cell, Run
from benchmarks.report import formats
from benchmarks.report.standing import Row, contender_order, label, rows

BEST = "best of each layer"


@dataclass(frozen=True)
class Total:
    """Seconds of all layers that were timed, each as often as the model has it, and how many of the layers those are."""

    contender: str
    seconds: float
    layers: int


def of_model(cell: Cell) -> float:
    """Seconds that a model spends in all layers like this one."""
    return (cell.median_s or 0.0) * cell.count


def best(row: Row) -> Cell | None:
    """Whoever is fastest, of ours or of the others."""
    return min((cell for cell in row.cells if cell.median_s), key=of_model, default=None)


def totals(found: tuple[Row, ...], order: tuple[str, ...]) -> list[Total]:
    """First the best of each layer, of all and of ours, then each contender, most layers first, then the fastest."""
    chosen = [cell for row in found if (cell := best(row))]
    ours = [cell for row in found if (cell := row.best_ours)]
    result = []
    for name in order:
        cells = [cell for row in found if (cell := row.get(name)) and cell.median_s]
        if cells:
            result.append(Total(name, sum(map(of_model, cells)), sum(cell.count for cell in cells)))
    result.sort(key=lambda total: (-total.layers, total.seconds))
    bests = [(BEST, chosen)] + ([("best of ours", ours)] if ours and chosen != ours else [])
    return [*(Total(name, sum(map(of_model, cells)), sum(cell.count for cell in cells)) for name, cells in bests), *result]


def summary(run: Run) -> Group:
    """Two tables for each number of threads and batch: layers, and who takes how long for the model."""
    parts: list[Table | Text] = []
    groups: dict[tuple[int, int], list[Row]] = {}
    for row in rows(run):
        groups.setdefault((row.threads, row.batch), []).append(row)
    for (threads, batch), found in groups.items():
        where = f"{threads} thread{'s' if threads > 1 else ''}" + (f", batch {batch}" if batch > 1 else "")
        table = Table("layer", title=f"your model, {where}", title_justify="left", box=None)
        for name in ("times", "best", "ms each", "ms in all"):
            table.add_column(name, justify="left" if name == "best" else "right")
        for row in found:
            cell = best(row)
            numbers = (formats.digits((cell.median_s or 0) * 1e3), formats.digits(of_model(cell) * 1e3)) if cell else ("–", "–")
            name = Text(formats.short(label(row, run), 44))  # text: names from outside may look like markup
            table.add_row(name, str(row.cells[0].count), Text(cell.contender if cell else "–"), *numbers)
        every = sum(row.cells[0].count for row in found)
        sums = Table("contender", title=f"time per implementation, {where}", title_justify="left", box=None)
        for name in ("ms in all", "layers"):
            sums.add_column(name, justify="right")
        for total in totals(tuple(found), contender_order(run)):
            style = "bold" if total.contender == BEST else "dim" if total.layers < every else ""
            sums.add_row(Text(total.contender), formats.digits(total.seconds * 1e3), f"{total.layers} of {every}", style=style)
        parts += [table, Text(), sums, Text()]
    return Group(*parts)
