"""Compiled code on disk: one file per function and signature, in a folder whose name is a hash of the environment.

Numba's own cache keys on byte code and signature but not on intrinsic bodies, other files or flags, numbers its files so that two
processes can take the same number, and fails where no folder can be written. Here the folder's name carries the CPU, the flags and the
versions; a file's name carries function, signature and the sources of the function's module and of all that it imports from the library,
so that an edit elsewhere compiles nothing anew; files appear by an atomic rename; and any failure to read or write only means that the
code is compiled again.

Each file holds its whole key and a checksum of the rest, which are looked at before anything in it is used: a flipped bit or a zeroed page
in machine code would end the process, and a file of another key compute something else. A folder or file that is not this user's alone is
never read (`user_files`).
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import pickle
import platform
import re
import struct
import sys
import time
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from numba.core import config, serialize
from numba.core.caching import CompileResultCacheImpl, _Cache
from numba.core.runtime import rtsys

from kernels.runtime.machine import cpu
from kernels.runtime.user_files import cache_folder, own_folder, read_own, temporary_folder, user, write_own

FORMAT = b"spectroconv code 2\n"
ROOT = Path(__file__).parent.parent.parent  # that `kernels` is imported from
BEGAN = time.time()  # of this process, nearly
_IMPORT = re.compile(r"^\s*(?:from\s+(kernels[\w.]*)\s+import\s+(\([^)]*\)|[^\n#]*)|import\s+(kernels[\w.]*))", re.MULTILINE)


@functools.cache  # names that many modules import
def _file_of(module: str) -> Path | None:
    """The source file of a module of the library, None if there is no such module."""
    path = os.path.join(ROOT, *module.split("."))
    files = f"{path}.py", os.path.join(path, "__init__.py")
    return next((Path(file) for file in files if os.path.isfile(file)), None)


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


def replaced(file: Path) -> bool:
    """Whether a file changed since this process began, by an upgrade or an edit: what was imported may be the text before, whose code must
    not be kept under the new one's key."""
    status = file.stat()
    return BEGAN < max(status.st_mtime, status.st_ctime) <= time.time()  # the future says nothing: somebody's clock is wrong


@functools.cache
def sources() -> str | None:
    """A hash of the library as it is imported: its sources, else its byte code, else the archive that it lies in; None where it is none of
    these."""
    package = ROOT / "kernels"
    files = sorted(package.rglob("*.py")) or sorted(package.rglob("*.pyc"))
    files = files or [folder for folder in package.parents if folder.is_file()]
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest() if files else None


@functools.cache
def closure(module: str) -> str | None:
    """A hash of the sources of a module and of all that it imports from the library; of the whole library where there are no sources to
    tell that, and None where there is nothing to tell one version from another by, or the sources are `replaced`."""
    if module.split(".")[0] != "kernels":
        return _outsider(module)
    seen, waiting = {module}, [module]
    while waiting:
        new = set(_imports(waiting.pop())) - seen
        seen |= new
        waiting.extend(new)
    digest = hashlib.sha256()
    for name in sorted(seen):
        file = _file_of(name)
        if file is None:
            return sources()
        if replaced(file):
            return None
        digest.update(name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


_VERSIONED = {"kernels", "llvmlite", "numba", "numpy", "scipy", *sys.stdlib_module_names}  # the keys know their versions
_ANY_IMPORT = re.compile(r"^[ \t]*(?:from|import)[ \t]+([\w.]+)(.*)", re.MULTILINE)


def _outsider(module: str) -> str | None:
    """The same for a module outside the library, as a method of the user's own: of its file and the library. None where it imports others'
    modules too, whose changes nothing here would see."""
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None or not Path(file).is_file() or sources() is None:
        return None
    content = Path(file).read_bytes()
    for package, more in _ANY_IMPORT.findall(content.decode(errors="replace")):
        names = [package, *re.findall(r",\s*([\w.]+)", more.partition("import ")[0])]
        if any(name.split(".")[0] not in _VERSIONED for name in names):
            return None
    return hashlib.sha256(content + str(sources()).encode()).hexdigest()


@functools.cache
def folder() -> Path | None:
    """Where compiled code is kept: under $KERNELS_CACHE_DIR, else the user's cache folder, else a temporary one of the user's own; None
    where nothing can be written, or all that is there could be somebody else's."""
    flags = config.OPT, config.LOOP_VECTORIZE, config.SLP_VECTORIZE, config.BOUNDSCHECK, config.FULL_TRACEBACKS
    versions = FORMAT, sys.version, numba.__version__, llvmlite.__version__, np.__version__
    name = hashlib.sha256(repr((cpu(), flags, *versions, platform.machine(), user())).encode()).hexdigest()[:16]
    places = [cache_folder()] if os.environ.get("KERNELS_CACHE_DIR") else [cache_folder(), temporary_folder()]
    return next((found for place in places if (found := own_folder(place / name))), None)


def seal(key: str, data: bytes) -> bytes:
    """A file's content: the mark of its format, a checksum of what follows, the key's length, the key, the data."""
    name = key.encode()
    rest = struct.pack("<Q", len(name)) + name + data
    return FORMAT + hashlib.sha256(rest).digest() + rest


def unseal(key: str, content: bytes) -> bytes:
    """The data of a file's content. Raises ValueError unless it was sealed with this key and is whole."""
    start = len(FORMAT) + hashlib.sha256().digest_size
    rest, name = content[start:], key.encode()
    if content[: len(FORMAT)] != FORMAT or content[len(FORMAT) : start] != hashlib.sha256(rest).digest():
        raise ValueError("the file is damaged")
    if rest[: 8 + len(name)] != struct.pack("<Q", len(name)) + name:
        raise ValueError("the file is another's")
    return rest[8 + len(name) :]


class DiskCache(_Cache):
    """What a Numba dispatcher calls of its cache. use: what of the function's compiled forms it makes; counts: see `jit.njit`."""

    def __init__(self, py_func: Any, use: str, counts: bool) -> None:
        self._use, self._counts = use, counts
        self._module, self._name = py_func.__module__, f"{py_func.__module__}.{py_func.__qualname__}"
        code = getattr(py_func, "body", py_func).__code__  # of a function that is written outside the library, nothing else tells
        self._code = hashlib.sha256(repr((code.co_code, code.co_names, [c for c in code.co_consts if not hasattr(c, "co_code")])).encode())
        self._impl = object.__new__(CompileResultCacheImpl)  # its constructor only looks for Numba's own folder

    @property
    def cache_path(self) -> str | None:
        path = folder()
        return str(path) if path else None

    def _file(self, signature: Any, codegen: Any) -> tuple[Path, str] | None:
        """The file of a signature and the key that it must hold; None where nothing is kept."""
        path, version = folder(), closure(self._module)
        if path is None or version is None:
            return None
        key = repr((path.name, self._name, self._use, signature, codegen.magic_tuple(), version, self._code.hexdigest()))
        return path / f"{self._name}.{hashlib.sha256(key.encode()).hexdigest()[:24]}.bin", key

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        if self._counts:  # what such code needs at run time; Numba would bring all that the compiler knows of NumPy too, in 0.4 s
            rtsys.initialize(target_context)
        found = self._file(sig, target_context.codegen())
        if found is None:
            return None
        try:
            return self._impl.rebuild(target_context, pickle.loads(unseal(found[1], read_own(found[0]))))
        except Exception:  # absent, damaged, foreign, or nobody may look: whatever it is, compiling again replaces it
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        found = self._file(sig, data.codegen)
        if found is None or any(not lifted.can_cache for lifted in data.lifted) or data.library.has_dynamic_globals:
            return
        with contextlib.suppress(OSError):  # full or read-only by now
            write_own(found[0], seal(found[1], serialize.dumps(self._impl.reduce(data))))

    def enable(self) -> None:
        """Always on."""

    def disable(self) -> None:
        """Always on."""

    def flush(self) -> None:
        """Files are complete once named."""
