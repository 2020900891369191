"""Compiled code on disk: found again by the next process, replaced where damaged, done without where nothing can be written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

# computes with a compiled loop and a micro-kernel, checks the answers, and says what was compiled and what was loaded
WORK = """
import json
import numpy as np
import kernels
from kernels.runtime import disk_cache
from numba.core import event

loaded = []
original = disk_cache.DiskCache.load_overload
def load_overload(self, sig, target_context):
    found = original(self, sig, target_context)
    loaded.append(found is not None)
    return found
disk_cache.DiskCache.load_overload = load_overload

x = np.arange(40, dtype=np.float32).reshape(1, 1, 4, 10)
with event.install_recorder("numba:compile") as recorder:
    for name in ("jit", "direct"):
        for threads in (1, 2):
            y = kernels.conv2d(x, np.ones((1, 1, 2, 3), np.float32), implementation=name, threads=threads)
            expected = sum(x[0, 0, i : i + 3, j : j + 8] for i in range(2) for j in range(3))
            assert (y[0, 0] == expected).all(), name
folder = disk_cache.folder()
started = sum(1 for _, entry in recorder.buffer if entry.is_start)
print(json.dumps({"compiled": started, "loaded": sum(loaded), "asked": len(loaded), "folder": None if folder is None else str(folder)}))
"""


def start(home: Path) -> subprocess.Popen[str]:
    environment = os.environ | {"KERNELS_CACHE_DIR": str(home)}
    return subprocess.Popen([sys.executable, "-c", WORK], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def end(process: subprocess.Popen[str]) -> dict:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "Traceback" not in err and "Warning" not in err, err
    return json.loads(out)


def files(home: Path) -> dict[str, tuple[int, int]]:
    return {str(file.relative_to(home)): (file.stat().st_mtime_ns, file.stat().st_size) for file in home.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """A cache that two processes filled at once, and what one of them reported."""
    home = tmp_path_factory.mktemp("cache")
    one, other = start(home), start(home)
    reports = end(one), end(other)
    return home, reports[0]


def test_two_processes_may_fill_it_at_once(filled: tuple[Path, dict]) -> None:
    home, report = filled
    assert report["compiled"] >= 4 and report["loaded"] <= report["asked"]
    names = files(home)
    assert len(names) >= 4
    assert all(name.endswith(".bin") for name in names), "no half-written file stays"
    assert Path(report["folder"]).parent == home


def test_the_next_process_loads_everything(filled: tuple[Path, dict]) -> None:
    home, _ = filled
    before = files(home)
    report = end(start(home))
    assert report["compiled"] == 0 and report["loaded"] == report["asked"] >= 4
    assert files(home) == before


@pytest.mark.parametrize("damage", ["cut_short", "emptied", "scrambled", "foreign"])
def test_a_damaged_file_is_compiled_again(filled: tuple[Path, dict], tmp_path: Path, damage: str) -> None:
    home = tmp_path / "copy"
    shutil.copytree(filled[0], home)
    victims = [file for file in home.rglob("*.bin") if "jit" in file.name and "serial" in file.name]
    assert victims
    for file in victims:
        data = file.read_bytes()
        scrambled = bytes(b ^ 0x55 for b in data)
        damaged = {"cut_short": data[: len(data) // 2], "emptied": b"", "scrambled": scrambled, "foreign": b"\x80\x04N."}
        file.write_bytes(damaged[damage])
    report = end(start(home))
    assert report["compiled"] >= 1 and report["loaded"] < report["asked"]
    again = end(start(home))
    assert again["compiled"] == 0, "the damaged file was not replaced"


def test_done_without_where_nothing_can_be_written(tmp_path: Path) -> None:
    """A folder below a regular file cannot be made, by anybody."""
    wall = tmp_path / "file"
    wall.write_text("")
    report = end(start(wall / "cache"))
    assert report["folder"] is None and report["loaded"] == 0 and report["compiled"] >= 4
    assert wall.read_text() == ""


def test_flags_and_cpu_are_in_the_folders_name(tmp_path: Path) -> None:
    code = "from kernels.runtime import disk_cache; import sys; sys.stdout.write(disk_cache.folder().name)"

    def name(**changes: str) -> str:
        environment = os.environ | {"KERNELS_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)} | changes
        command = [sys.executable, "-c", code]
        return subprocess.run(command, capture_output=True, text=True, check=True, env=environment, cwd=tmp_path, timeout=60).stdout

    first = name()
    assert name() == first
    assert name(NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="") != first
    assert name(NUMBA_OPT="2") != first


def test_an_edit_compiles_anew_what_imports_the_edited_module_and_nothing_else(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(ROOT / "kernels", copy / "kernels", ignore=shutil.ignore_patterns("__pycache__"))
    modules = "kernels.methods.direct.driver", "kernels.primitives.gemm_tile", "kernels.methods.fft.codelets"

    def keys() -> list[str]:
        code = f"from kernels.runtime import disk_cache; print(*map(disk_cache.closure, {modules}))"
        command = [sys.executable, "-c", code]
        environment = os.environ | {"PYTHONPATH": str(copy)}
        return subprocess.run(command, capture_output=True, text=True, check=True, env=environment, cwd=tmp_path, timeout=60).stdout.split()

    first = keys()
    assert keys() == first
    with (copy / "kernels" / "primitives" / "gemm_tile.py").open("a") as source:
        source.write("# changed\n")
    blocks, outer, fourier = (after != before for after, before in zip(keys(), first))
    assert blocks and outer and not fourier
