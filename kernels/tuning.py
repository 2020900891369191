"""Remembered choices: which way was measured fastest for a problem, in memory and in one small file that processes share.

What `plan(..., effort="measure")` and `python -m kernels tune` find out is kept here, and "auto" takes it from then on. An entry holds
for one problem (its line names shapes and dtype), one number of threads, and one environment: the library's sources, Numba, NumPy and
the CPU's features. Entries of other environments stay in the file unused. The environment variable KERNELS_TUNING is "off" (no file is
read or written), "readonly" (read, never written) or the file's path. Whatever is wrong with the file only warns: a choice can be
measured again.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from kernels.machine import cache_folder, cpu
from kernels.problem import Problem

MOST = 4096  # problems that are remembered; those that were recalled or measured longest ago go first
ENVIRONMENTS = 8  # that a file keeps: a few machines and versions that share a home
LARGEST = 64 << 20  # bytes; no tuning file gets that long
TITLE = "spectroconv tuning"
Sections = dict[str, dict[str, Any]]  # entries by environment, of each by problem and threads
_START = f'{{\n "{TITLE}"'  # how a file that was written here begins, however it ends


@dataclasses.dataclass(frozen=True)
class Measured:
    """What was measured for a problem: the winner, as "implementation" or "implementation:variant", and the seconds of one call of
    every candidate by such names."""

    winner: str
    seconds: dict[str, float]


_table: collections.OrderedDict[str, Measured] = collections.OrderedDict()
_lock = threading.RLock()
_state: dict[str, Any] = {"generation": 0, "attended": None}


def path() -> Path | None:
    """The file that choices are kept in: $KERNELS_TUNING, else tuning.json in the user's cache folder; None where it is "off".

    >>> import os
    >>> os.environ["KERNELS_TUNING"] = "off"
    >>> print(path())
    None
    """
    asked = os.environ.get("KERNELS_TUNING", "")
    if asked.lower() == "off":
        return None
    return cache_folder() / "tuning.json" if asked.lower() in ("", "readonly") else Path(asked).expanduser()


def generation() -> int:
    """A number that grows whenever what is remembered changes, so that choices made before can be told."""
    return int(_state["generation"])


def recall(problem: Problem, threads: int) -> Measured | None:
    """What was measured for a problem on so many threads, here or in the file; None where nothing was."""
    with _lock:
        file = path()
        if _state["attended"] != (file,):
            _state["attended"] = (file,)
            if file is not None and file.exists():
                load()
        key = _key(problem, threads)
        if key in _table:
            _table.move_to_end(key)
        return _table.get(key)


def remember(problem: Problem, threads: int, measured: Measured) -> None:
    """Keep what was measured, in memory and, unless KERNELS_TUNING forbids, in the file."""
    key = _key(problem, threads)
    with _lock:
        _keep({key: measured})
        file = path()
        if file is not None and not _readonly():
            _change(file, _with({key: measured}))


def load(file: str | Path | None = None) -> int:
    """Read the choices of a file (None: of `path()`) that hold in this environment; how many there were. What cannot be read warns."""
    source = path() if file is None else Path(file)
    if source is None:
        return 0
    sections = _read(source)
    if sections is None:
        return 0
    found = {key: _measured(entry) for key, entry in sections.get(_environment(), {}).items()}
    good = {key: measured for key, measured in found.items() if measured is not None}
    if len(good) < len(found):
        warnings.warn(f"tuning file {source}: {len(found) - len(good)} entries are damaged and not used", RuntimeWarning, stacklevel=2)
    if sections and not found:
        text = "was measured with other versions or on another CPU, and is not used"
        warnings.warn(f"tuning file {source} {text}; measure anew or call kernels.tuning.forget()", RuntimeWarning, stacklevel=2)
    _keep(good)
    return len(good)


def save(file: str | Path | None = None) -> Path | None:
    """Add all that is remembered to a file (None: `path()`); its path, or None where that could not be done, with a warning."""
    target = path() if file is None else Path(file)
    with _lock:
        return target if target is not None and _change(target, _with(_table)) else None


def forget(problem: Problem | str | None = None) -> None:
    """Forget what was measured for a problem (or its line) with any number of threads, or everything: in memory and in the file."""
    with _lock:
        for key in [key for key in _table if problem is None or key.startswith(f"{problem}, ")]:
            del _table[key]
        _state["generation"] += 1

    def without(sections: Sections) -> None:
        for environment, entries in list(sections.items()):
            left = {key: entry for key, entry in entries.items() if problem is not None and not key.startswith(f"{problem}, ")}
            sections[environment] = left
            if not left:
                del sections[environment]

    file = path()
    if file is not None and file.exists() and not _readonly():
        _change(file, without)


def _readonly() -> bool:
    return os.environ.get("KERNELS_TUNING", "").lower() == "readonly"


def _key(problem: Problem, threads: int) -> str:
    return f"{problem}, {threads} threads"


@functools.cache
def _environment() -> str:
    """What an entry holds for besides its problem and threads, as people can read it."""
    import numba
    import numpy

    from kernels.diskcache import sources  # brings Numba, which a plan needs anyway

    name, features = cpu()
    digest = hashlib.sha256(features.encode()).hexdigest()[:8]
    return f"sources {sources()[:12]}, numba {numba.__version__}, numpy {numpy.__version__}, {name} with features {digest}"


def _keep(entries: dict[str, Measured]) -> None:
    """Put entries into the table in memory, which stays bounded."""
    with _lock:
        for key, measured in entries.items():
            _table[key] = measured
            _table.move_to_end(key)
        while len(_table) > MOST:
            _table.popitem(last=False)
        _state["generation"] += bool(entries)


def _measured(entry: Any) -> Measured | None:
    """An entry of the file as a value; None where it is none."""
    try:
        seconds = {str(name): float(value) / 1e3 for name, value in entry["milliseconds"].items()}
        winner = entry["winner"]
    except (TypeError, KeyError, ValueError, AttributeError, OverflowError):
        return None
    return Measured(winner, seconds) if isinstance(winner, str) else None


def _read(file: Path) -> Sections | None:
    """The sections of a file by environment; None, and a warning, where it holds none or cannot be read."""
    try:
        if not file.is_file() or file.stat().st_size > LARGEST:
            raise ValueError("it is no file" if file.exists() else "it does not exist")
        text = file.read_text(encoding="utf-8")
        held = json.loads(text)
        sections = held.get(TITLE) if isinstance(held, dict) else None
        if not isinstance(sections, dict) or not all(isinstance(entries, dict) for entries in sections.values()):
            raise ValueError("it holds something else")
        return sections
    except (OSError, ValueError, RecursionError) as error:
        warnings.warn(f"tuning file {file} is not used: {error}", RuntimeWarning, stacklevel=3)
        return None


def _ours(file: Path) -> bool:
    """Whether a file may be written over: none there, an empty one, or one that was written here, damaged or not."""
    if not file.exists():
        return True
    with file.open("rb") as opened:
        start = opened.read(len(_START))
    return not start or start == _START.encode()


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let no other process read, change and replace a file of this folder meanwhile, where the system has such locks."""
    try:
        import fcntl

        handle = os.open(folder, os.O_RDONLY)
    except (ImportError, OSError):
        yield
        return
    try:
        with contextlib.suppress(OSError):  # some network folders have none; files still appear whole
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _with(entries: Mapping[str, Measured]) -> Callable[[Sections], None]:
    """A change that adds entries to this environment's own."""

    def add(sections: Sections) -> None:
        own = sections.pop(_environment(), {})
        for key, measured in entries.items():
            own.pop(key, None)  # the newest come last
            own[key] = {"winner": measured.winner, "milliseconds": {name: round(1e3 * s, 6) for name, s in measured.seconds.items()}}
        sections[_environment()] = dict(list(own.items())[-MOST:])
        for old in list(sections)[:-ENVIRONMENTS]:
            del sections[old]

    return add


def _change(file: Path, change: Callable[[Sections], None]) -> bool:
    """Change the sections of a file, which is replaced as a whole; whether it could be done, with a warning where not."""
    file = Path(os.path.realpath(file))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with _alone(file.parent):
            if not _ours(file):
                raise OSError("it was not written by this library and is left alone")
            if file.exists() and not (file.stat().st_mode & 0o222 and os.access(file, os.W_OK)):
                raise OSError("it is read-only")
            sections = (_read(file) if file.exists() and file.stat().st_size else None) or {}
            change(sections)
            _replace(file, f"{_START}: " + json.dumps(sections, indent=1).replace("\n", "\n ") + "\n}\n")
    except OSError as error:
        warnings.warn(f"tuning file {file} is not written: {error}", RuntimeWarning, stacklevel=4)
        return False
    return True


def _replace(file: Path, text: str) -> None:
    """Put a file in place of another in one step, so that nobody ever reads half of it."""
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=file.name, suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as opened:
            opened.write(text)
        os.replace(name, file)
    except BaseException:  # Ctrl-C too
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
