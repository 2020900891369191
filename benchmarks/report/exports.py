"""A run in other formats than the page: Markdown, CSV, PDF, and the pictures as SVG files. Written beside the run's data by default."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path

from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure
from rich.console import Console

from benchmarks.records.results import Cell, Run
from benchmarks.report import entries, formats, own_files, page, pytest_passes, tables
from benchmarks.report.pictures import bars, error_speed, heat, roofline, scaling, style
from benchmarks.report.standing import Row, rows

ROWS_A_PAGE = 42


def markdown(run: Run, path: Path) -> list[Path]:
    """The table against peers, every cell, the environment."""
    shown = [column for column in entries.COLUMNS if column.key != "command"]
    lines = [
        f"<!-- {own_files.MARK} -->", f"# {tables.plain(run.id)}", "", tables.markdown(run), "", "## All cells", "",
        "| " + " | ".join(column.heading for column in shown) + " |",
        "| " + " | ".join("---:" if column.number else "---" for column in shown) + " |",
    ]  # fmt: skip
    for entry in entries.entries(run):
        lines.append("| " + " | ".join(tables.plain(entry.values[column.key].text) for column in shown) + " |")
    lines += ["", "## Environment", ""]
    lines += [f"- {tables.plain(name)}: {tables.plain(text)}" for name, text in formats.flat(run.environment)]
    return [own_files.write(path, "\n".join(lines) + "\n")]


def comma_separated(run: Run, path: Path) -> list[Path]:
    """One line a cell, numbers unrounded, in seconds, bytes and shares; empty where there is no value."""
    text = io.StringIO()
    table = [_fields(cell, row, run) for row in rows(run) for cell in row.cells]
    writer = csv.DictWriter(text, list(table[0]) if table else ["workload"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return [own_files.write(path, text.getvalue())]


def _fields(cell: Cell, row: Row, run: Run) -> dict[str, object]:
    peer = row.against_best_peer(cell)
    naive = row.against_naive(cell)
    return {
        "run": run.id, "workload": cell.workload, "contender": cell.contender, "threads": cell.threads, "batch": cell.batch,
        "status": cell.status, "time_s": cell.median_s, "pass_medians_s": " ".join(map(str, cell.pass_medians)),
        "samples": sum(map(len, cell.samples)), "speed_vs_best_peer": peer and peer.value, "speed_low": peer and peer.low,
        "speed_high": peer and peer.high, "best_peer": row.best_peer.contender if row.best_peer else None, "error": cell.error,
        "error_of_sum": cell.error_of_sum, "error_bound": cell.error_bound,
        "gflops": cell.gflops, "gbs": cell.gbs, "share_of_limit": cell.share_of_limit(run.limits),
        "speed_vs_naive": naive and naive.value, "workspace_bytes": cell.workspace_bytes, "peak_bytes": cell.peak_bytes,
        "import_s": cell.import_s, "prepare_s": cell.prepare_s,
        "first_call_s": cell.first_call_s, "predicted_s": cell.predicted_s, "op": cell.op, "flops": cell.flops, "bytes": cell.bytes,
        "problem": cell.problem, "reason": formats.reason(cell), "command": entries.reproducer(cell, run),
    }  # fmt: skip


def pictures(run: Run) -> Iterator[tuple[str, Figure]]:
    """Every picture of the page on a sheet of its own, by name; none for a run in which nothing was timed."""
    if not style.marks(run):
        return
    yield "heat-map", _said(heat.figure(run), "Speed, best peer = 1", run)
    yield "bars", _said(bars.figure(run), "Speed, best peer = 1; whiskers: interval", run)
    for name, picture in (("roofline", roofline), ("error-and-speed", error_speed)):
        drawing = picture.figure(run)
        drawing.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=8, frameon=False)
        yield name, _said(drawing, picture.LABEL.partition(";")[0], run)
    scales = scaling.gather(run, scaling.siblings(run))
    for kind in scaling.KINDS:
        if panels := scales.of(kind):
            others = f"; also from {', '.join(scales.others)}" if scales.others else ""
            yield f"scaling-{kind}", _said(scaling.figure(run, panels), f"GFLOP/s over {kind}{others}", run)


def _said(drawing: Figure, what: str, run: Run) -> Figure:
    """The figure with a line under it that says what it shows and where it comes from; saving must cut the sheet to what is on it."""
    words = f"{what}. Run {run.id}, {formats.machine(run)}, commit {formats.commit(run)}."
    drawing.text(0.0, -0.15 / drawing.get_figheight(), words, va="top", fontsize=8, color=style.PAPER.ink)
    return drawing


def svg(run: Run, folder: Path) -> list[Path]:
    """One file a picture, into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with style.settings(run.id):
        for name, drawing in pictures(run):
            drawn = io.BytesIO()
            drawing.savefig(drawn, format="svg", bbox_inches="tight", metadata={"Date": None, "Description": own_files.MARK})
            written.append(own_files.write(folder / f"{name}.svg", drawn.getvalue()))
    return written


def pdf(run: Run, path: Path) -> list[Path]:
    """The table against peers on the first pages, then a page a picture."""
    drawn = io.BytesIO()
    metadata = {"Title": f"spectroconv {run.id}", "Subject": own_files.MARK, "CreationDate": None}
    with style.settings(run.id), PdfPages(drawn, metadata=metadata) as pages:
        for sheet in (*_text(run), *(drawing for _, drawing in pictures(run))):
            pages.savefig(sheet, bbox_inches="tight")
    return [own_files.write(path, drawn.getvalue())]


def _text(run: Run) -> Iterator[Figure]:
    out = io.StringIO()
    console = Console(file=out, width=100, color_system=None)
    console.print(f"{run.id}: {formats.machine(run)}, {formats.date(run)} UTC, commit {formats.commit(run)}, preset {run.preset}\n")
    console.print(tables.terminal(run))
    lines = out.getvalue().splitlines()
    for start in range(0, len(lines), ROWS_A_PAGE):
        sheet = Figure(figsize=(11.7, 8.3))
        text = "\n".join(lines[start : start + ROWS_A_PAGE])
        sheet.text(0.05, 0.95, text, va="top", family="DejaVu Sans Mono", fontsize=10, linespacing=1.3)
        yield sheet


def html(run: Run, path: Path) -> list[Path]:
    """The page."""
    return [own_files.write(path, page.render(run))]


WRITERS: dict[str, tuple[Callable[[Run, Path], list[Path]], str]] = {
    "html": (html, "index.html"), "md": (markdown, "report.md"), "csv": (comma_separated, "cells.csv"), "pdf": (pdf, "report.pdf"),
    "svg": (svg, "pictures"), "pytest-benchmark": (pytest_passes.write, "pytest-benchmark"),
}  # fmt: skip


def write(run: Run, form: str, out: Path | None = None) -> list[Path]:
    """Write one of WRITERS into the run's folder, or to `out` (a folder for svg and pytest-benchmark), and return what was written."""
    writer, name = WRITERS[form]
    assert run.folder is not None or out is not None
    return writer(run, out or Path(run.folder or ".") / name)
