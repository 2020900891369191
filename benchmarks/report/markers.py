"""What machines write between two markers of a page that people write."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def between(readme: Path, begin: str, end: str) -> Callable[[str], bool]:
    """What puts lines between two markers of a file, True if that changed it. ValueError where it has not one of each, in order."""
    text = readme.read_text(encoding="utf-8")
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(f"{readme}: needs one {begin} and after it one {end}")

    def put(lines: str) -> bool:
        updated = f"{text.partition(begin)[0]}{begin}\n{lines}\n{end}{text.partition(end)[2]}"
        if updated != text:
            readme.write_text(updated, encoding="utf-8")
        return updated != text

    return put
