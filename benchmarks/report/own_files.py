"""Writing what reports are: never over a file that the suite did not write itself.

Every format has room for MARK: a comment, a generator or a creator. A file without it, or without what older versions wrote, is
somebody's own and stays as it is.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.records.archive import replace_file

MARK = "written by python -m benchmarks"
# Older versions marked nothing; this is how their pages, lists and tables begin, and what heads every table of cells.
OLDER = (b"Written by `python -m benchmarks`", b"<title>spectroconv 20")
# Pages and data of learn, live, cluster, tutorial and whole models of older versions: how they begin, and what follows soon.
OLDER_PAIRS = (
    (b'<!doctype html>\n<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">\n'
     b"<title>Learning ", b"<tr><th>held-out examples named right</th><td>"),
    (b'{"source":"64 filters of 512 taps at 8000 Hz, ', b"python -m benchmarks learn"),
    (b'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>spectroconv live</title>\n', b"<h1>Networks on live blocks</h1>"),
    (b'{"about": {"clip": "', b'"played": [{"network": "'),
    (b"# Clusters\n\nHours of audio in an hour, ", b". One process has at most "),
    (b'{\n "about": {\n  "cpu": "', b'"measured": [\n  {\n   "network": "'),
    (b"# Whole models\n\nMilliseconds a call, ", " “Error” is the largest against ".encode()),
    (b'{\n "about": {\n  "cpu": "', b'"models": [\n  {\n   "model": "'),
    (b'<!doctype html>\n<html lang="en">\n<head>\n', b"\n<title>Convolution, heard: a tutorial for music</title>\n"),
)  # fmt: skip
TABLE = b"run,workload,contender,threads,"
BEGINNING = 4096  # bytes: the mark of text stands there; pictures may have theirs anywhere


def is_ours(path: Path) -> bool:
    """Whether the suite wrote this file, or there is nothing in it to lose."""
    content = path.read_bytes()
    if not content or content.startswith(TABLE):
        return True
    text = path.suffix in (".md", ".html", ".json", ".csv")
    shown = content[:BEGINNING] if text else content
    if any(mark in shown for mark in (MARK.encode(), *OLDER)):
        return True
    return any(shown.startswith(beginning) and sentence in shown for beginning, sentence in OLDER_PAIRS)


def check(path: Path) -> None:
    """ValueError unless the path is free or holds a file of the suite."""
    if path.is_dir():
        raise ValueError(f"{path} is a folder; name a file")
    if path.exists() and not is_ours(path):
        raise ValueError(f"{path} was not written by the suite and stays as it is; move it, or name another place")


def ready(folder: Path, *names: str) -> None:
    """Make the folder for files of these names, before hours are spent on what goes into them. ValueError or OSError where they cannot be
    written there."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        check(folder / name)
    with tempfile.TemporaryFile(dir=folder):
        pass


def write(path: Path, content: str | bytes) -> Path:
    """Write a file in one step, if what stands there is the suite's own or nothing."""
    check(path)
    replace_file(path, content.encode() if isinstance(content, str) else content)
    return path
