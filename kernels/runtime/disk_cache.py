"""Compiled code on disk: one file per function and signature, in a folder whose name is a hash of the environment.

Numba's own cache keys on byte code and signature but not on intrinsic bodies, other files or flags, numbers its files so that two
processes can take the same number, and fails where no folder can be written. Here the folder's name carries the CPU, the flags and the
versions; a file's name carries function, signature and the sources of the function's module and of all that it imports from the library,
so that an edit elsewhere compiles nothing anew; files appear by an atomic rename; and any failure to read or write only means that the
code is compiled again.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import pickle
import platform
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from numba.core import config, serialize
from numba.core.caching import CompileResultCacheImpl, _Cache

from kernels.runtime.machine import cache_folder, cpu


@functools.cache
def sources() -> str:
    """A hash of the library's sources."""
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.parent.rglob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()


ROOT = Path(__file__).parent.parent.parent  # that `kernels` is imported from
_IMPORT = re.compile(r"^\s*(?:from\s+(kernels[\w.]*)\s+import\s+(\([^)]*\)|[^\n#]*)|import\s+(kernels[\w.]*))", re.MULTILINE)


def _file_of(module: str) -> Path | None:
    """The source file of a module of the library, None if there is no such module."""
    path = ROOT / Path(*module.split("."))
    files = path.with_name(path.name + ".py"), path / "__init__.py"
    return next((file for file in files if file.is_file()), None)


@functools.cache
def _imports(module: str) -> tuple[str, ...]:
    """Modules of the library that a module imports, anywhere in its text."""
    file, found = _file_of(module), set()
    for package, names, plain in _IMPORT.findall(file.read_text(encoding="utf-8") if file else ""):
        below = {f"{package}.{name}" for name in re.findall(r"\w+", names)}
        modules = {name for name in below if _file_of(name)}
        found |= modules
        if plain or modules != below:  # a name of the package itself
            found.add(plain or package)
    return tuple(sorted(found))


@functools.cache
def closure(module: str) -> str:
    """A hash of the sources of a module and of all that it imports from the library."""
    seen, waiting = {module}, [module]
    while waiting:
        new = set(_imports(waiting.pop())) - seen
        seen |= new
        waiting.extend(new)
    digest = hashlib.sha256()
    for name in sorted(seen):
        file = _file_of(name)
        digest.update(name.encode() + b"\0" + (file.read_bytes() if file else b""))
    return digest.hexdigest()


@functools.cache
def folder() -> Path | None:
    """Where compiled code is kept: under $KERNELS_CACHE_DIR, else the user's cache folder; None where nothing can be written."""
    flags = config.OPT, config.LOOP_VECTORIZE, config.SLP_VECTORIZE, config.BOUNDSCHECK, config.FULL_TRACEBACKS
    versions = sys.version, numba.__version__, llvmlite.__version__, np.__version__
    digest = hashlib.sha256(repr((cpu(), flags, *versions, platform.machine())).encode())
    path = cache_folder() / digest.hexdigest()[:16]
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path):
            return path
    except OSError:
        return None


class DiskCache(_Cache):
    """What a Numba dispatcher asks of its cache. `variant` tells builds of one function under different flags apart."""

    def __init__(self, py_func: Any, variant: str) -> None:
        self._module, self._name = py_func.__module__, f"{py_func.__module__}.{py_func.__qualname__}.{variant}"
        self._impl = object.__new__(CompileResultCacheImpl)  # its constructor only looks for Numba's own folder

    @property
    def cache_path(self) -> str | None:
        path = folder()
        return str(path) if path else None

    def _file(self, signature: Any, codegen: Any) -> Path | None:
        path = folder()
        key = hashlib.sha256(repr((signature, codegen.magic_tuple(), closure(self._module))).encode()).hexdigest()[:24]
        return path / f"{self._name}.{key}.bin" if path else None

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        target_context.refresh()
        file = self._file(sig, target_context.codegen())
        if file is None or not file.exists():
            return None
        try:
            return self._impl.rebuild(target_context, pickle.loads(file.read_bytes()))
        except Exception:  # damaged, truncated or foreign: whatever it is, compiling again replaces it
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        file = self._file(sig, data.codegen)
        if file is None or any(not lifted.can_cache for lifted in data.lifted) or data.library.has_dynamic_globals:
            return
        temporary = file.with_suffix(f".{os.getpid()}.{id(data)}.tmp")
        try:
            temporary.write_bytes(serialize.dumps(self._impl.reduce(data)))
            temporary.replace(file)
        except OSError:  # full or read-only by now
            with contextlib.suppress(OSError):
                temporary.unlink()

    def enable(self) -> None:
        """Always on."""

    def disable(self) -> None:
        """Always on."""

    def flush(self) -> None:
        """Files are complete once named."""
