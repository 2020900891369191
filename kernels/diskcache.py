"""Compiled code on disk: one file per function and signature, in a folder whose name is a hash of all that the code depends on.

Numba's own cache keys on byte code and signature but not on intrinsic bodies, other files or flags, numbers its files so that two
processes can take the same number, and fails where no folder can be written. Here the folder's name carries the library's sources,
the CPU, the flags and the versions; a file's name carries function and signature; files appear by an atomic rename; and any failure
to read or write only means that the code is compiled again.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import pickle
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from numba.core import config, serialize
from numba.core.caching import CompileResultCacheImpl, _Cache

from kernels.machine import cache_folder, cpu


@functools.cache
def sources() -> str:
    """A hash of the library's sources."""
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()


@functools.cache
def folder() -> Path | None:
    """Where compiled code is kept: under $KERNELS_CACHE_DIR, else the user's cache folder; None where nothing can be written."""
    flags = config.OPT, config.LOOP_VECTORIZE, config.SLP_VECTORIZE, config.BOUNDSCHECK, config.FULL_TRACEBACKS
    versions = sys.version, numba.__version__, llvmlite.__version__, np.__version__
    digest = hashlib.sha256(repr((sources(), cpu(), flags, *versions, platform.machine())).encode())
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
        self._name = f"{py_func.__module__}.{py_func.__qualname__}.{variant}"
        self._impl = object.__new__(CompileResultCacheImpl)  # its constructor only looks for Numba's own folder

    @property
    def cache_path(self) -> str | None:
        path = folder()
        return str(path) if path else None

    def _file(self, signature: Any, codegen: Any) -> Path | None:
        path = folder()
        key = hashlib.sha256(repr((signature, codegen.magic_tuple())).encode()).hexdigest()[:24]
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
