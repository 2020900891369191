"""The list of runs: reports/README.md, newest first, written from the folders beside it."""

from __future__ import annotations

from pathlib import Path

from benchmarks.records.results import Run, load
from benchmarks.report import formats
from benchmarks.report.standing import mean_speedup
from benchmarks.report.tables import plain

HEAD = """# Runs

Written by `python -m benchmarks`; every folder holds the raw samples, the environment and a page (`index.html`, open it in a browser).
Speed: geometric mean of our best implementation against the best peer over compute-bound workloads, with its range over passes.

"""
COLUMNS = "| run | preset | machine | threads | commit | workloads | speed |\n| --- | --- | --- | --- | --- | ---: | ---: |\n"


def write(reports_folder: Path | str) -> Path:
    """Write README.md into the folder that holds the folders of runs and return its path."""
    reports_folder = Path(reports_folder)
    runs: list[tuple[Run, str]] = []
    unreadable: list[str] = []
    for file in sorted(reports_folder.glob("*/run.json")):
        try:
            runs.append((load(file.parent), file.parent.name))
        except (ValueError, KeyError, TypeError) as problem:  # one old or broken folder must not cost a fresh run its index
            unreadable.append(f"| {plain(file.parent.name)} | cannot be read: {plain(str(problem))} | | | | | |\n")
    runs.sort(key=lambda found: (found[0].created, found[0].id), reverse=True)
    lines = [_line(run, folder) for run, folder in runs] + unreadable
    path = reports_folder / "README.md"
    path.write_text(HEAD + (COLUMNS + "".join(lines) if lines else "No runs yet.\n"), encoding="utf-8")
    return path


def _line(run: Run, folder: str) -> str:
    mean = mean_speedup(run)
    between = f" ({formats.interval(mean)})" if formats.interval(mean) else ""
    fields = (
        run.preset, formats.machine(run), ", ".join(map(str, run.threads)), formats.commit(run),
        str(len(run.workloads())), f"{formats.times(mean)}{between}",
    )  # fmt: skip
    return f"| [{plain(run.id)}]({folder}/index.html) | " + " | ".join(map(plain, fields)) + " |\n"
