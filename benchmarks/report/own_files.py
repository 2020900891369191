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
# What begins the pages and data of learn, live, cluster, tutorial and whole models, which need no mark: nobody else's begin so.
BEGINNINGS = (
    b"<title>Learning ", b"learnt from notes by python -m benchmarks", b"<title>spectroconv live</title>", b"# Whole models\n\n",
    b"# Clusters\n\n", b"<title>Convolution, heard: ", b'{"about": {"clip": ', b'{\n "about": {\n  "cpu": ',
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
    return MARK.encode() in shown or any(mark in shown for mark in (*OLDER, *BEGINNINGS))


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
