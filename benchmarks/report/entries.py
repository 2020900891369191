"""The table of all cells as values: its columns, each cell's fields with what they sort by, and the command that runs a cell again."""

from __future__ import annotations

import glob
import shlex
from dataclasses import dataclass
from itertools import pairwise

from benchmarks.records.results import Cell, Run
from benchmarks.report import formats, noise
from benchmarks.report.standing import Ratio, Row, contender_order, label, rows

# options that change what a cell is
VALUED, FLAGS = ("--audio", "--layers", "--onnx", "--input", "--beside"), ("--cold-cache", "--denormals")
WORDS = {"ok": "ok", "wrong": "wrong", "refused": "refused", "over_budget": "over budget", "failed": "failed"}


@dataclass(frozen=True)
class Column:
    """A column: key, heading, whether it is a number, its unit in files, and what the heading says on hovering."""

    key: str
    heading: str
    number: bool = False
    unit: str = ""
    title: str = ""


COLUMNS = (
    Column("workload", "Workload", title="layer of a published model; hover for the problem"),
    Column("contender", "Contender"),
    Column("status", "Status", title="only right answers are timed"),
    Column("time", "Time", True, "s", "median over passes of each pass's median, one call"),
    Column("spread", "Spread", True, "", "slowest pass over fastest, less one; large where the machine was noisy"),
    Column("peer", "vs peer", True, "", "speed relative to the fastest peer, with its interval"),
    Column("error", "Error", True, "", "largest difference from float64 over the largest value"),
    Column("of_sum", "Error, of sums", True, "", "the same over the largest sum of |x| |w|: rounding is a share of that"),
    Column("gflops", "GFLOP/s", True, "GFLOP/s", "the direct method's operations over the time, whatever the contender really did"),
    Column("gbs", "GB/s", True, "GB/s", "inputs, weights and outputs once, over the time"),
    Column("share", "Limit", True, "", "share of this machine's limit"),
    Column("naive", "vs naive", True, "", "speed relative to the plain Python loops"),
    Column("workspace", "Workspace", True, "bytes", "scratch memory of one call"),
    Column("peak", "Peak memory", True, "bytes", "by which the process grew at most while preparing and in the first call"),
    Column("prepare", "Prepare", True, "s", "compiling, packing weights, opening a session: outside the timer"),
    Column("first", "First call", True, "s", "the first call after preparing"),
    Column("reason", "Reason", title="why there is no time, or a remark"),
    Column("command", "Command", title="runs this cell again"),
)  # fmt: skip


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

    cell: Cell
    values: dict[str, Value]


def entries(run: Run) -> list[Entry]:
    """Every cell, by workload in the order of the run, contenders in theirs."""
    order = {name: place for place, name in enumerate(contender_order(run))}
    doubted = noise.doubted(run)
    return [_entry(cell, row, run, doubted) for row in rows(run) for cell in sorted(row.cells, key=lambda cell: order[cell.contender])]


def _entry(cell: Cell, row: Row, run: Run, doubted: frozenset[tuple[str, str, int, int]]) -> Entry:
    share, reason, spread = cell.share_of_limit(run.limits), formats.reason(cell), noise.spread(cell)
    passes = ", ".join(formats.seconds(value) for value in cell.pass_medians)
    samples = sum(map(len, cell.samples))
    bound = f"bound {formats.error(cell.error_bound)}" if cell.error_bound is not None else ""
    workload = label(row, run)
    time = formats.seconds(cell.median_s) + noise.after(cell, doubted)
    doubt = "doubtful" if cell.key in doubted else ""
    fresh = f"in a process of its own, after {formats.seconds(cell.import_s)} of imports" if cell.import_s is not None else ""
    values = {
        "workload": Value(workload, workload, cell.problem),
        "contender": Value(cell.contender, cell.contender),
        "status": Value(WORDS[cell.status], cell.status),
        "time": Value(time, cell.median_s, f"passes: {passes}; {samples} samples" if samples else "", doubt),
        "spread": Value(formats.share(spread), spread, verdict="noisy" if noise.is_noisy(cell) else ""),
        "peer": _relative(row.against_best_peer(cell)) if cell != row.best_peer else Value("best", 1.0, "the fastest peer here"),
        "error": Value(formats.error(cell.error), cell.error, bound if cell.error_of_sum is None else ""),
        "of_sum": Value(formats.error(cell.error_of_sum), cell.error_of_sum, bound if cell.error_of_sum is not None else ""),
        "gflops": Value(formats.digits(cell.gflops), cell.gflops),
        "gbs": Value(formats.digits(cell.gbs), cell.gbs),
        "share": Value(formats.share(share), share),
        "naive": _naive(cell, row),
        "workspace": Value(formats.size(cell.workspace_bytes), cell.workspace_bytes),
        "peak": Value(formats.size(cell.peak_bytes), cell.peak_bytes),
        "prepare": Value(formats.seconds(cell.prepare_s), cell.prepare_s, fresh),
        "first": Value(formats.seconds(cell.first_call_s), cell.first_call_s),
        "reason": Value(reason, reason or None),
        "command": Value(reproducer(cell, run), None),
    }
    return Entry(cell, values)


def _relative(value: Ratio | None, coloured: bool = True) -> Value:
    if value is None:
        return Value(formats.NOTHING, None)
    between = formats.interval(value)
    title = f"{value.verdict}, interval {between}" if between else "too few samples for an interval"
    return Value(formats.times(value), value.value, title, value.verdict if coloured else "")


def _naive(cell: Cell, row: Row) -> Value:
    """Against the plain loops, or what they were predicted to take where that was over the budget."""
    naive = row.get("naive")
    if cell.median_s and naive and not naive.median_s and naive.predicted_s:
        speed = Ratio(naive.predicted_s / cell.median_s)
        return Value(f"~{formats.times(speed)}", speed.value, f"naive was predicted to take {formats.seconds(naive.predicted_s)}")
    return _relative(row.against_naive(cell), coloured=False)


def reproducer(cell: Cell, run: Run) -> str:
    """The command that runs one cell again, with what this run set otherwise than by default."""
    words = ["python", "-m", "benchmarks", "run", "--workload", glob.escape(cell.workload), "--contender", glob.escape(cell.contender)]
    if run.preset != "quick":  # its budget decides how long a call may take
        words += ["--preset", run.preset]
    given = [part for word in run.command for part in (word.split("=", 1) if word.startswith("--") else [word])]
    if "--threads" in given or len({other.threads for other in run.cells}) > 1:
        words += ["--threads", str(cell.threads)]
    if cell.batch != 1:
        words += ["--batch", str(cell.batch)]
    for option, value in pairwise([*given, ""]):
        if option in VALUED and value:
            words += [option, value]
        elif option in FLAGS:
            words.append(option)
    return shlex.join(words)
