"""The files of a run: how they are written so that nothing finished is lost, and how they are read whatever became of them.

    run.json        what was asked, the machine, its limits; replaced in one step
    cells.jsonl     one line a finished cell, on the disk before the next cell begins; cells.jsonl.gz once the run is whole
    run.lock        held by the process that writes here
    at-work.json    the cell at work (runner/resume.py)

A crash, a power cut or a full disk may leave the last line half written. It is cut off before anything is appended, and never read.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from benchmarks.records.results import SCHEMA, STATUSES, Line, Run, merge

CELLS, PACKED = "cells.jsonl", "cells.jsonl.gz"


def make(out: Path, names: Iterator[str]) -> Path:
    """Make the first of these folders that nobody has, under `out`; two runs that start together get two folders."""
    out.mkdir(parents=True, exist_ok=True)
    for name in names:
        try:
            (out / name).mkdir()
        except FileExistsError:
            continue
        return out / name
    raise ValueError(f"{out} has a run of every name that this one could have")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Nobody else writes into this run meanwhile; ValueError if somebody does already."""
    lock = FileLock(folder / "run.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise ValueError(f"{folder.name} is being written by another process; wait for it, or start a run of your own") from None
    try:
        yield
    finally:
        lock.release()
        (folder / "run.lock").unlink(missing_ok=True)


def replace_file(path: Path, content: bytes) -> None:
    """Write a file in one step: whoever reads it, after whatever happened, finds the old content or the new."""
    partial = path.with_name(f"{path.name}.partial")
    with open(partial, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def save(run: Run, folder: Path) -> None:
    """Write run.json (the cells have lines of their own)."""
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / "run.json", (json.dumps(run.as_json(), indent=1) + "\n").encode())


def append_cell(folder: Path, line: Line) -> None:
    """Append one line and push it to the disk, so that what is finished stays finished."""
    if line.status not in STATUSES:
        raise ValueError(f"status {line.status!r} is none of {STATUSES}")
    with open(folder / CELLS, "a+b") as file:
        cut_torn_line(file)
        file.write(line.as_json().encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def cut_torn_line(file: Any) -> None:
    """Take away what stands after the last line's end: the beginning of a line that was never finished."""
    end = file.seek(0, os.SEEK_END)
    if not end:
        return
    file.seek(end - 1)
    if file.read(1) == b"\n":
        return
    file.seek(0)
    file.truncate(file.read().rfind(b"\n") + 1)
    file.seek(0, os.SEEK_END)


@dataclass
class Reading:
    """Lines of a run, and how many could not be read."""

    lines: list[Line]
    unreadable: int = 0


def read_lines(folder: Path) -> Reading:
    """The lines in order; a last one cut short is left out, others that are none are counted."""
    found = Reading([])
    for text in _text(folder).splitlines(keepends=True):
        if not text.endswith(b"\n"):
            continue
        try:
            found.lines.append(Line.from_json(text.decode()))
        except (ValueError, KeyError, TypeError, AttributeError):
            found.unreadable += 1
    return found


def lines(folder: Path) -> list[Line]:
    """The lines that can be read."""
    return read_lines(folder).lines


def _text(folder: Path) -> bytes:
    """What cells.jsonl holds, packed or not; of a damaged archive what comes before the damage."""
    plain, packed = folder / CELLS, folder / PACKED
    if plain.exists() or not packed.exists():
        return plain.read_bytes() if plain.exists() else b""
    text = io.BytesIO()
    try:
        with gzip.open(packed) as file:
            while block := file.read(1 << 16):
                text.write(block)
    except (OSError, EOFError, zlib.error):
        text.write(b"\n")  # a half line is counted as one that cannot be read
    return text.getvalue()


def pack(folder: Path) -> None:
    """Compress the lines of a run that is whole: to an eighth, raw samples included."""
    if (folder / CELLS).exists():
        replace_file(folder / PACKED, gzip.compress((folder / CELLS).read_bytes(), mtime=0))
        (folder / CELLS).unlink()


def load(folder: Path | str) -> Run:
    """Read a run's folder; ValueError says what is wrong with it."""
    folder = Path(folder)
    try:
        data = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{folder}/run.json is damaged: {error}") from None
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        found = data.get("schema") if isinstance(data, dict) else data
        raise ValueError(f"{folder}/run.json has schema {found}, this program reads {SCHEMA}")
    reading = read_lines(folder)
    try:
        return Run.from_json(data, merge(reading.lines), folder, reading.unreadable)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{folder}/run.json lacks or spoils a field: {error}") from None


def runs(folder: Path) -> Iterator[tuple[Path, Run | None, str]]:
    """Every run under a folder, newest last, with why it cannot be read where it cannot: one bad run must not hide the others."""
    for path in sorted(folder.glob("*/run.json")):
        try:
            yield path.parent, load(path.parent), ""
        except (OSError, ValueError) as error:
            yield path.parent, None, str(error)
