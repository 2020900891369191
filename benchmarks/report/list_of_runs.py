"""The list of runs: reports/README.md, newest first, written from the folders beside it."""

from __future__ import annotations

from pathlib import Path

from benchmarks.records import archive
from benchmarks.records.results import Run
from benchmarks.report import formats, own_files
from benchmarks.report.standing import mean_speedup
from benchmarks.report.tables import plain

HEAD = f"""<!-- {own_files.MARK} -->
# Runs

Every folder holds the raw samples, the environment and a page (`index.html`, open it in a browser).
Speed: geometric mean of our best implementation against the best peer over compute-bound workloads, with its range over passes.

"""
COLUMNS = "| run | preset | machine | threads | commit | workloads | speed |\n| --- | --- | --- | --- | --- | ---: | ---: |\n"


def write(reports_folder: Path | str) -> Path:
    """Write README.md into the folder that holds the folders of runs and return its path; ValueError if somebody else's is there."""
    reports_folder = Path(reports_folder)
    lines: list[tuple[str, str]] = []
    for folder, run, problem in archive.runs(reports_folder):
        try:
            lines.append((run.created, _line(run, folder.name)) if run else ("", _bad(folder.name, problem)))
        except Exception as error:  # an old or broken folder must not cost a fresh run its list, whatever is wrong with it
            lines.append(("", _bad(folder.name, f"{type(error).__name__}: {error}")))
    lines.sort(reverse=True)
    shown = "".join(line for _, line in lines)
    return own_files.write(reports_folder / "README.md", HEAD + (COLUMNS + shown if lines else "No runs yet.\n"))


def _bad(folder: str, problem: str) -> str:
    return f"| {plain(folder)} | cannot be read: {plain(problem)} | | | | | |\n"


def _line(run: Run, folder: str) -> str:
    mean = mean_speedup(run)
    between = f" ({formats.interval(mean)})" if formats.interval(mean) else ""
    fields = (
        run.preset, formats.machine(run), ", ".join(map(str, run.threads)), formats.commit(run),
        str(len(run.workloads())), f"{formats.times(mean)}{between}",
    )  # fmt: skip
    return f"| [{plain(run.id)}]({folder}/index.html) | " + " | ".join(map(plain, fields)) + " |\n"
