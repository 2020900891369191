"""Remembered choices: which way was measured fastest for a problem, in memory and in one small file that processes share.

What `plan(..., effort="measure")` and `python -m kernels tune` find out is kept here, and "auto" takes it from then on. An entry holds
for one problem (its line names shapes and dtype), one number of threads, and one environment; see `runtime.store`, which also says what the
environment variable KERNELS_TUNING does.
"""

from __future__ import annotations

import collections
import dataclasses
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kernels.problem.conv import Problem
from kernels.runtime import store
from kernels.runtime.locks import lock
from kernels.runtime.store import Sections

MOST = 4096  # problems that are remembered; those that were recalled or measured longest ago go first
KIND = "tuning"


@dataclasses.dataclass(frozen=True)
class Measured:
    """What was measured for a problem: the winner, as "implementation" or "implementation:variant", and the seconds of one call of
    every candidate by such names. spread: times as long as its shortest that the winner took in another race. related: it was measured
    with another epilogue."""

    winner: str
    seconds: dict[str, float]
    spread: float = 1.0
    related: bool = False


_table: collections.OrderedDict[str, Measured] = collections.OrderedDict()
_layers: dict[str, str] = {}  # of a layer without its epilogue: the key of what was measured last of it
_lock = lock()
_state: dict[str, Any] = {"generation": 0, "attended": None}


def path() -> Path | None:
    """The file that choices are kept in: $KERNELS_TUNING, else tuning.json in the user's cache folder; None where it is "off"."""
    return store.where(KIND)


def generation() -> int:
    """A number that grows whenever what is remembered changes, so that choices made before can be told."""
    return int(_state["generation"])


def recall(problem: Problem, threads: int, *, exact: bool = False) -> Measured | None:
    """What was measured for a problem on so many threads, here or in the file, or unless `exact` for its layer with another epilogue: which
    method is fastest hardly depends on what follows, and layers are measured apart that are fused later. None where nothing was."""
    with _lock:
        file = path()
        if _state["attended"] != (file,):
            _state["attended"] = (file,)
            if store.exists(file):
                load()
        if not _table:
            return None
        key = _key(problem, threads)
        if key in _table:
            _table.move_to_end(key)
            return _table[key]
        other = None if exact else _table.get(_layers.get(_layer(key), ""))
        return other and dataclasses.replace(other, related=True)


def remember(problem: Problem, threads: int, measured: Measured) -> None:
    """Keep what was measured, in memory and, unless KERNELS_TUNING forbids, in the file."""
    entry = {_key(problem, threads): measured}
    with _lock:
        _keep(entry)
        file = path()
        if file is not None and not store.readonly():
            store.change(KIND, file, _with(entry))


def load(file: str | Path | None = None) -> int:
    """Read the choices of a file (None: of `path()`) that hold in this environment; how many there were. What cannot be read warns."""
    source = path() if file is None else Path(file)
    entries = None if source is None else store.read(KIND, source)
    if not entries:
        return 0
    found = {key: _measured(entry) for key, entry in entries.items()}
    good = {key: measured for key, measured in found.items() if measured is not None}
    if len(good) < len(found):
        text = f"tuning file {source}: {len(found) - len(good)} entries are damaged and not used"
        warnings.warn(text, RuntimeWarning, stacklevel=2)
    _keep(good)
    return len(good)


def save(file: str | Path | None = None) -> Path | None:
    """Add all that is remembered to a file (None: `path()`); its path, or None where that could not be done, with a warning."""
    target = path() if file is None else Path(file)
    with _lock:
        return target if target is not None and store.change(KIND, target, _with(_table)) else None


def forget(problem: Problem | str | None = None) -> None:
    """Forget what was measured for a problem (or its line) with any number of threads, or everything: in memory and in the file."""
    with _lock:
        for key in [key for key in _table if problem is None or key.startswith(f"{problem}, ")]:
            del _table[key]
            if _layers.get(_layer(key)) == key:
                del _layers[_layer(key)]
        _state["generation"] += 1

    def without(sections: Sections) -> None:
        for environment, entries in list(sections.items()):
            left = {key: entry for key, entry in entries.items() if problem is not None and not key.startswith(f"{problem}, ")}
            sections[environment] = left
            if not left:
                del sections[environment]

    file = path()
    if file is not None and store.exists(file) and not store.readonly():
        store.change(KIND, file, without)


def _key(problem: Problem, threads: int) -> str:
    return f"{problem}, {threads} threads"


def _layer(key: str) -> str:
    """A convolution's key without bias, scale, activation and pool; any other's as it is."""
    if not key.startswith("conv"):
        return key
    return " ".join(word for word in key.split(" ") if word not in ("bias", "scale") and ":" not in word)


def _keep(entries: dict[str, Measured]) -> None:
    """Put entries into the table in memory, which stays bounded."""
    with _lock:
        for key, measured in entries.items():
            _table[key] = measured
            _table.move_to_end(key)
            _layers[_layer(key)] = key
        while len(_table) > MOST:
            old, _ = _table.popitem(last=False)
            if _layers.get(_layer(old)) == old:
                del _layers[_layer(old)]
        _state["generation"] += bool(entries)


def _measured(entry: Any) -> Measured | None:
    """An entry of the file as a value; None where it is none."""
    try:
        seconds = {str(name): float(value) / 1e3 for name, value in entry["milliseconds"].items()}
        winner, spread = entry["winner"], float(entry.get("spread", 1.0))
    except (TypeError, KeyError, ValueError, AttributeError, OverflowError):
        return None
    return Measured(winner, seconds, spread) if isinstance(winner, str) and spread >= 1 else None


def _with(entries: Mapping[str, Measured]) -> Callable[[Sections], None]:
    """A change that adds entries to this environment's own."""

    def add(sections: Sections) -> None:
        own = sections.pop(store.environment(), {})
        for key, measured in entries.items():
            own.pop(key, None)  # the newest come last
            times = {name: round(1e3 * s, 6) for name, s in measured.seconds.items()}
            own[key] = {"winner": measured.winner, "spread": round(measured.spread, 3), "milliseconds": times}
        sections[store.environment()] = dict(list(own.items())[-MOST:])

    return add
