"""Small JSON files that processes share: what was measured on a machine, by environment.

A file holds one table with a section for each environment that wrote it: the library's sources, Numba, NumPy and the CPU's features. It
is written anew as a whole and appears by a rename, under a lock where the system has such locks, so nobody reads half a file and two
writers lose nothing. Whatever is wrong with a file only warns: what it held can be measured again. The environment variable KERNELS_TUNING
is "off" (no file is read or written), "readonly" (read, never written) or the path of the first of the files.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from kernels.runtime.completing import completed
from kernels.runtime.machine import cpu
from kernels.runtime.user_files import cache_folder, read_own, write_own

ENVIRONMENTS = 8  # that a file keeps: a few machines and versions that share a home
LARGEST = 64 << 20  # bytes; no file of measurements gets that long
Sections = dict[str, dict[str, Any]]  # entries by environment


def _mode() -> str:
    return os.environ.get("KERNELS_TUNING", "").lower()


def where(kind: str) -> Path | None:
    """The file of a kind, "tuning" or "calibration": $KERNELS_TUNING or beside it, else among the user's caches; None where it is off."""
    if _mode() == "off":
        return None
    tuning = cache_folder() / "tuning.json" if _mode() in ("", "readonly") else Path(os.path.expanduser(os.environ["KERNELS_TUNING"]))
    return tuning if kind == "tuning" else tuning.with_name(f"{kind}.json")


def exists(file: Path | None) -> bool:
    """Whether there is such a file; False too where nobody may look, which `Path.exists` raises for."""
    return file is not None and os.path.exists(file)


@functools.cache
@completed
def environment() -> str:
    """What measurements hold for, as people can read it."""
    import numba
    import numpy

    from kernels.runtime.disk_cache import sources  # brings Numba, which a plan needs anyway

    name, features = cpu()
    digest, library = hashlib.sha256(features.encode()).hexdigest()[:8], (sources() or "unknown")[:12]
    return f"sources {library}, numba {numba.__version__}, numpy {numpy.__version__}, {name} with features {digest}"


def title(kind: str) -> str:
    """The key that a file's table stands under."""
    return f"spectroconv {kind}"


def read(kind: str, file: Path) -> dict[str, Any] | None:
    """This environment's section of a file; {} where it has none, None, and a warning, where it cannot be read."""
    sections = _sections(kind, file)
    if sections and environment() not in sections:
        text = f"{kind} file {file} was measured with other versions or on another CPU, and is not used; measure anew or remove it"
        warnings.warn(text, RuntimeWarning, stacklevel=4)
    return None if sections is None else sections.get(environment(), {})


def change(kind: str, file: Path, how: Callable[[Sections], None]) -> bool:
    """Let `how` change the sections of a file, and put the file in place of the old; whether it could be done, with a warning where not."""
    try:
        file = Path(os.path.realpath(file))
        file.parent.mkdir(parents=True, exist_ok=True)
        with _alone(file.parent):
            if not _ours(kind, file):
                raise OSError("it was not written by this library and is left alone")
            if _mode() == "readonly" or (file.exists() and not (file.stat().st_mode & 0o222 and os.access(file, os.W_OK))):
                raise OSError("it is read-only")
            if file.exists():
                read_own(file)  # raises for what is not to be trusted, nor to be lost
            sections = (_sections(kind, file) if file.exists() and file.stat().st_size else None) or {}
            how(sections)
            for old in list(sections)[:-ENVIRONMENTS]:
                del sections[old]
            text = f"{_start(kind)}: " + json.dumps(sections, indent=1).replace("\n", "\n ") + "\n}\n"
            write_own(file, text.encode())
    except OSError as error:
        warnings.warn(f"{kind} file {file} is not written: {error}", RuntimeWarning, stacklevel=4)
        return False
    return True


def readonly() -> bool:
    """Whether files are read only."""
    return _mode() == "readonly"


def _start(kind: str) -> str:
    """How a file that was written here begins, however it ends."""
    return f'{{\n "{title(kind)}"'


def _sections(kind: str, file: Path) -> Sections | None:
    """All sections of a file; None, and a warning, where it holds none or cannot be read."""
    try:
        if not file.is_file() or file.stat().st_size > LARGEST:
            raise ValueError("it is no file" if exists(file) else "it does not exist")
        content = json.loads(read_own(file).decode())
        sections = content.get(title(kind)) if isinstance(content, dict) else None
        if not isinstance(sections, dict) or not all(isinstance(entries, dict) for entries in sections.values()):
            raise ValueError("it holds something else")
        return sections
    except (OSError, ValueError, RecursionError) as error:
        warnings.warn(f"{kind} file {file} is not used: {error}", RuntimeWarning, stacklevel=4)
        return None


def _ours(kind: str, file: Path) -> bool:
    """Whether a file may be written over: none there, an empty one, or one that was written here, damaged or not."""
    if not file.exists():
        return True
    with file.open("rb") as opened:
        start = opened.read(len(_start(kind)))
    return not start or start == _start(kind).encode()


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let no other process read, change and replace a file of this folder meanwhile, where the system has such locks."""
    try:
        handle, release = _windows_lock(folder) if sys.platform == "win32" else _lock(folder)
    except (ImportError, OSError):  # some network folders have none; files still appear whole
        yield
        return
    try:
        yield
    finally:
        release()
        os.close(handle)


def _lock(folder: Path) -> tuple[int, Callable[[], None]]:
    """The folder, opened and locked, and what unlocks it before it is closed."""
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError:
        os.close(handle)
        raise
    return handle, lambda: None  # closing unlocks


def _windows_lock(folder: Path) -> tuple[int, Callable[[], None]]:
    """The same for a system that locks bytes of files, not folders."""
    import msvcrt

    handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT)
    try:
        msvcrt.locking(handle, msvcrt.LK_LOCK, 1)  # type: ignore[attr-defined, unused-ignore]
    except OSError:
        os.close(handle)
        raise

    def release() -> None:
        os.lseek(handle, 0, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_UNLCK, 1)  # type: ignore[attr-defined, unused-ignore]

    return handle, release
