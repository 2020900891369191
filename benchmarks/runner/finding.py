"""What `doctor` finds: one thing that was looked at, what is there, how grave that is, what to do."""

from __future__ import annotations

from dataclasses import dataclass

LEVELS = ("ok", "note", "trap", "bad")  # "trap" falsifies times, "bad" stops the library from working
FALSE = ("", "0", "false", "no", "off")  # settings that switch something off


@dataclass(frozen=True)
class Finding:
    """One thing found."""

    level: str
    what: str
    found: str
    remedy: str = ""
