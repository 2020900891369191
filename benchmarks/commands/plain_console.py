"""Output that every console can show: what its encoding lacks is written with what it has, and nothing ends in an UnicodeEncodeError.

Windows consoles have cp1252 or cp437, C locales ASCII. A run must not be lost to an arrow.
"""

from __future__ import annotations

import codecs
import sys
import unicodedata

INSTEAD = {
    "→": "->", "×": "x", "–": "-", "—": "-", "·": ".", "…": "...", "≈": "~", "µ": "u", "μ": "u", "“": '"', "”": '"', "’": "'", "≤": "<=",
    "●": "o", "├": "|", "┤": "|", "│": "|", "─": "-", "━": "-", "╸": "-", "╺": "-", "┃": "|", "¼": "1/4", "½": "1/2", "√": "sqrt",
}  # fmt: skip
HANDLER = "spectroconv-plain"


def _instead(error: UnicodeError) -> tuple[str, int]:
    """A codec error handler: the nearest that ASCII has, letter by letter."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_plain, error.object[error.start : error.end])), error.end


def _plain(letter: str) -> str:
    if letter in INSTEAD:
        return INSTEAD[letter]
    if unicodedata.category(letter) == "So" or "\u2500" <= letter <= "\u28ff":  # frames of tables, bars, spinners
        return "-" if letter in "─━═" else "|" if letter in "│┃║" else "+" if "\u2500" <= letter <= "\u257f" else "*"
    bare = unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()
    return bare or "?"


def prepare() -> None:
    """Make standard output and error of this process take everything."""
    codecs.register_error(HANDLER, _instead)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure:
            reconfigure(errors=HANDLER)
