"""Helpers are linked into what calls them and nothing else; what runs is what Numba's own libraries would make."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numba import types
from numba.core.errors import TypingError
from patience import PATIENCE

from kernels.runtime.code_library import Code, Part
from kernels.runtime.jit import code, njit

MODULE = """
from kernels.runtime.jit import njit

@njit
def inner(number):
    return 3 * number

@njit
def helper(number):
    return inner(number) + 1

@njit
def one(number):
    return helper(number) * 10

@njit
def other(number):
    return helper(number) * 100
"""


@njit
def root(number):
    """Raises for the caller of its caller."""
    if number < 0:
        raise ValueError("negative numbers have no root")
    return number**0.5


@njit
def roots(numbers, out):
    """Calls a helper that may raise."""
    for i in range(len(numbers)):
        out[i] = root(numbers[i])


@njit
def unknown(number):
    """Cannot be compiled."""
    return number.no_such_field


def test_helpers_have_no_machine_code_of_their_own() -> None:
    out = np.empty(3)
    roots(np.array([1.0, 4.0, 9.0]), out)
    assert out.tolist() == [1, 2, 3]
    helper = root.of_use("compiled").overloads[types.float64,]
    assert type(helper.library) is Part and helper.library.get_pointer_to_function(helper.fndesc.llvm_func_name) == 0
    assert [type(overload.library) for overload in roots.overloads.values()] == [Code]
    assert code(root, (types.float64,)) != 0
    assert type(root.of_use("native").overloads[types.float64,].library) is Code, "the same function by its address is code"


def test_what_helpers_raise_is_raised() -> None:
    with pytest.raises(ValueError, match="negative numbers have no root"):
        roots(np.array([1.0, -4.0]), np.empty(2))


def test_garbage_is_collected_again_after_compiling() -> None:
    """After an error too, and not where the user had stopped it."""
    assert gc.isenabled()
    with pytest.raises(TypingError):
        unknown(1)
    assert gc.isenabled()
    gc.disable()
    try:
        with pytest.raises(TypingError):
            unknown(1.0)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_another_process_links_helpers_from_disk(tmp_path: Path) -> None:
    """Into functions that are compiled there."""
    (tmp_path / "parts.py").write_text(MODULE)
    environment = {**os.environ, "KERNELS_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}

    def run(call: str) -> list[str]:
        text = f"import parts; print(parts.{call}, sum(parts.helper.of_use('compiled').stats.cache_hits.values()))"
        done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True, env=environment, timeout=PATIENCE)
        return done.stdout.split()

    assert run("one(2)") == ["70", "0"]
    assert run("other(2)") == ["700", "1"]
    assert run("other(2)") == ["700", "0"], "what it was linked into is loaded whole"
