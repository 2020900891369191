"""Files that only this user may have written: where they lie, and reading nothing that somebody else could have put there.

Compiled code is pickled and run, so a file of another user would run as this one. A folder is used only if it belongs to this user and
nobody else may write to it, a file likewise, by what the opened file says itself. Where users are not numbers (Windows), folders of the
user's profile are the user's by the system's own rules.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import tempfile
from pathlib import Path


def user() -> int | None:
    """The number of the user that this process works for; None where there are none."""
    return os.geteuid() if hasattr(os, "geteuid") else None


def cache_folder() -> Path:
    """Where compiled code and measurements are kept: $KERNELS_CACHE_DIR, else a folder of the library's own where the system keeps caches.

    That is $XDG_CACHE_HOME or ~/.cache, ~/Library/Caches on macOS, %LOCALAPPDATA% on Windows; for a user without a home a folder among the
    temporary ones with the user's number in its name.
    """
    own, caches = os.environ.get("KERNELS_CACHE_DIR"), os.environ.get("XDG_CACHE_HOME")
    if given := own or caches:
        folder = Path(os.path.expanduser(given))
        return folder if own else folder / "spectroconv"
    try:
        home = Path.home()
    except RuntimeError:  # a user without a home, as containers run programs
        return temporary_folder()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "spectroconv" / "Cache"
    return home / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "spectroconv"


def temporary_folder() -> Path:
    """Where this user's caches lie if there is no better place; it need not be one that can be written to."""
    try:
        place = tempfile.gettempdir()
    except FileNotFoundError:  # a read-only or full system
        place = "/tmp"
    return Path(place) / ("spectroconv" if user() is None else f"spectroconv-{user()}")


def own(status: os.stat_result) -> bool:
    """Whether a file or folder belongs to this user and nobody else may write to it."""
    return user() is None or (status.st_uid == user() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH))


def own_folder(path: Path) -> Path | None:
    """The folder, made if need be, for this user alone; None where it cannot be had, or written to, or is not this user's."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
        if not own(path.stat()):
            return None
        with tempfile.NamedTemporaryFile(dir=path):
            return path
    except OSError:
        return None


def read_own(file: Path) -> bytes:
    """What is in a file of this user. Raises PermissionError for another user's, or one that others may write to."""
    with file.open("rb") as opened:  # of the opened file, not by name: its name may stand for another by now
        if not own(os.fstat(opened.fileno())):
            raise PermissionError(f"it belongs to another user, or others may write to it; copy it, or chmod 600 {file}")
        return opened.read()


def write_own(file: Path, data: bytes) -> None:
    """Put a file in place of another in one step, so that nobody ever reads half of it; only this user may read and write it."""
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=file.name, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as opened:
            opened.write(data)
        os.replace(name, file)
    except BaseException:  # Ctrl-C too
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
