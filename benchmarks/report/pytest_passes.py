"""A run as pytest-benchmark's own files, one a pass, so that `pytest-benchmark compare` reads it. Made of the raw samples kept."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pytest_benchmark import __version__
from pytest_benchmark.stats import Stats

from benchmarks.records import archive
from benchmarks.records.results import Line, Run
from benchmarks.report import own_files


def write(run: Run, folder: Path) -> list[Path]:
    """pass-1.json, pass-2.json … into a folder."""
    assert run.folder is not None
    folder.mkdir(parents=True, exist_ok=True)
    passes: dict[int, list[Line]] = {}
    for line in archive.lines(run.folder):
        if line.seconds:
            passes.setdefault(line.pass_, []).append(line)
    return [
        own_files.write(folder / f"pass-{number}.json", json.dumps(_pass(run, lines), indent=1) + "\n")
        for number, lines in sorted(passes.items())
    ]


def _pass(run: Run, lines: list[Line]) -> dict[str, Any]:
    seen = run.environment
    return {
        "comment": own_files.MARK,
        "machine_info": {
            "node": "", "processor": "", "machine": "", "system": seen.get("os", ""), "python_version": seen.get("python", ""),
            "python_implementation": "CPython", "cpu": {"brand_raw": seen.get("cpu", ""), "count": seen.get("logical_cores")},
        },
        "commit_info": {"id": seen.get("commit") or "unknown", "dirty": bool(seen.get("dirty")), "project": "spectroconv",
                        "branch": "", "time": run.created, "author_time": run.created},
        "benchmarks": [_entry(line) for line in lines],
        "datetime": run.created,
        "version": __version__,
    }  # fmt: skip


def _entry(line: Line) -> dict[str, Any]:
    stats = Stats()
    for seconds in line.seconds:
        stats.update(seconds)
    batch = f"-b{line.batch}" if line.batch > 1 else ""
    name = f"{line.workload}-{line.contender}-t{line.threads}{batch}"
    return {
        "group": line.workload, "name": f"test_cell[{name}]", "fullname": f"benchmarks/test_cells.py::test_cell[{name}]",
        "params": None, "param": name, "extra_info": {key: value for key, value in asdict(line).items() if key != "seconds"},
        "options": {"disable_gc": True, "timer": "perf_counter"},
        "stats": {**stats.as_dict(), "data": list(line.seconds), "iterations": 1},
    }  # fmt: skip
