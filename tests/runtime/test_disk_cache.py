"""Compiled code on disk: found again by the next process, replaced where damaged, done without where nothing can be written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from patience import PATIENCE

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
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    assert "Traceback" not in err and "Warning" not in err, err
    return json.loads(out)


def files(home: Path) -> dict[str, tuple[int, int]]:
    return {str(file.relative_to(home)): (file.stat().st_mtime_ns, file.stat().st_size) for file in home.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """A cache that two processes filled at once, and the sums of what they reported."""
    home = tmp_path_factory.mktemp("cache")
    one, other = start(home), start(home)
    reports = end(one), end(other)
    return home, reports[0] | {name: sum(each[name] for each in reports) for name in ("compiled", "loaded", "asked")}


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
        return subprocess.run(command, capture_output=True, text=True, check=True, env=environment, cwd=tmp_path, timeout=PATIENCE).stdout

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
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, cwd=tmp_path, timeout=PATIENCE)
        return done.stdout.split()

    first = keys()
    assert keys() == first
    with (copy / "kernels" / "primitives" / "gemm_tile.py").open("a") as source:
        source.write("# changed\n")
    blocks, outer, fourier = (after != before for after, before in zip(keys(), first))
    assert blocks and outer and not fourier


def test_any_damage_of_any_file_is_noticed_before_its_code_is_used(filled: tuple[Path, dict]) -> None:
    """A flipped bit, a zeroed page, a cut, and files that changed places, for every file."""
    from kernels.runtime import disk_cache

    found = sorted(filled[0].rglob("*.bin"))
    contents = [file.read_bytes() for file in found]
    keys = []
    for content in contents:
        start = len(disk_cache.FORMAT) + 32
        keys.append(content[start + 8 : start + 8 + int.from_bytes(content[start : start + 8], "little")].decode())
    for i, (key, content) in enumerate(zip(keys, contents)):
        assert disk_cache.unseal(key, content)
        for at in {0, 40, len(content) // 3, len(content) // 2, len(content) - 1}:
            flipped = bytearray(content)
            flipped[at] ^= 1 << (at % 8)
            cut, page = content[:at], content[: at & ~4095] + bytes(4096) + content[(at & ~4095) + 4096 :]
            for damaged in (bytes(flipped), cut, page[: len(content)], content + b"\0"):
                with pytest.raises(ValueError, match="damaged"):
                    disk_cache.unseal(key, damaged)
        with pytest.raises(ValueError, match="another's"):
            disk_cache.unseal(key, contents[i - 1])


def test_damaged_files_end_no_process_and_are_replaced(filled: tuple[Path, dict], tmp_path: Path) -> None:
    """Every file is damaged, in seven ways by turns: a process that loads and compiles everything anew takes seconds for each."""
    home = tmp_path / "copy"
    shutil.copytree(filled[0], home)
    found = sorted(home.rglob("*.bin"))
    contents = [file.read_bytes() for file in found]
    assert len(found) >= 14, "each way meets several files"
    for i, (file, content) in enumerate(zip(found, contents)):
        half = len(content) // 2
        flipped = content[:half] + bytes([content[half] ^ 16]) + content[half + 1 :]
        zeroed = content[:half] + bytes(min(4096, len(content) - half)) + content[half + 4096 :]
        scrambled = bytes(byte ^ 0x55 for byte in content)
        ways = content[:half], b"", scrambled, b"\x80\x04N.", flipped, zeroed, contents[i - 1]
        file.write_bytes(ways[i % len(ways)])
    first = end(start(home))
    assert first["loaded"] == 0 and first["compiled"] >= 1
    again = end(start(home))
    assert again["compiled"] == 0 and again["loaded"] == again["asked"], "a damaged file was not replaced"


def _zipped(target: Path, version: str) -> None:
    """The library in an archive, with a compiled function more that tells its version."""
    import zipfile

    with zipfile.ZipFile(target, "w") as archive:
        for file in sorted((ROOT / "kernels").rglob("*.py")):
            archive.writestr(str(file.relative_to(ROOT)), file.read_text(encoding="utf-8"))
        text = f"from kernels.runtime.jit import njit\n\n\n@njit\ndef version():\n    return {version}\n"
        archive.writestr("kernels/runtime/told.py", text)


LEAF = "from kernels.runtime.jit import njit\n\n\n@njit\ndef leaf(x):\n    return x + {}\n"
TOP = "from kernels.leaf import leaf\nfrom kernels.runtime.jit import njit\n\n\n@njit\ndef top(x):\n    return leaf(x)\n"
UPGRADED = """
import pathlib, sys
from kernels import top
pathlib.Path(sys.argv[1]).write_text(sys.argv[2])
sys.stdout.write(str(top.top(1)))
"""


def test_code_from_before_an_upgrade_is_not_kept_as_the_new_versions(tmp_path: Path) -> None:
    """A process that began before compiles after; the next one must compute what the new sources say."""
    shutil.copytree(ROOT / "kernels", tmp_path / "kernels", ignore=shutil.ignore_patterns("__pycache__"))
    leaf, told = tmp_path / "kernels" / "leaf.py", []
    leaf.write_text(LEAF.format(10))
    (tmp_path / "kernels" / "top.py").write_text(TOP)
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "KERNELS_CACHE_DIR": str(tmp_path / "cache")}
    for _ in range(2):
        command = [sys.executable, "-B", "-c", UPGRADED, str(leaf), LEAF.format(200)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, cwd=tmp_path, timeout=PATIENCE)
        told.append(done.stdout)
    assert told == ["11", "201"]


@pytest.mark.parametrize("form", ["archive", "byte code"])
def test_a_new_version_without_sources_never_runs_the_old_ones_code(tmp_path: Path, form: str) -> None:
    """From an archive, and as byte code alone."""
    import compileall
    import zipfile

    told = []
    for version in ("1", "2"):
        place = tmp_path / "library.zip"
        _zipped(place, version)
        if form == "byte code":
            archive, place = place, tmp_path / "library"
            shutil.rmtree(place, ignore_errors=True)
            zipfile.ZipFile(archive).extractall(place)
            assert compileall.compile_dir(place, quiet=1, legacy=True)
            for source in place.rglob("*.py"):
                source.unlink()
        code = "from kernels.runtime import disk_cache, told; print(told.version(), disk_cache.closure('kernels.runtime.told'))"
        environment = os.environ | {"PYTHONPATH": str(place), "KERNELS_CACHE_DIR": str(tmp_path / "cache")}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=PATIENCE)
        assert done.returncode == 0, done.stderr
        told.append(done.stdout.split())
    assert [answer for answer, _ in told] == ["1", "2"]
    assert told[0][1] != told[1][1]


def test_code_from_outside_the_library_is_keyed_by_its_file_or_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kernels.runtime import disk_cache

    def key(text: str) -> str | None:
        (tmp_path / "outsider.py").write_text(text)
        monkeypatch.setitem(sys.modules, "outsider", type(sys)("outsider"))
        sys.modules["outsider"].__file__ = str(tmp_path / "outsider.py")
        return disk_cache.closure.__wrapped__("outsider")

    plain = "import math\nimport numpy as np\nfrom kernels.runtime.jit import njit\n"
    assert key(plain) is not None and key(plain) == key(plain) and key(plain) != key(plain + "\n# changed\n")
    for more in ("import mine\n", "import numpy, mine\n", "from . import mine\n", "    from mine.own import it\n"):
        assert key(plain + more) is None, more
    monkeypatch.delitem(sys.modules, "outsider")
    assert disk_cache.closure.__wrapped__("outsider") is None


def test_code_whose_file_cannot_be_looked_at_is_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file's name may be this long, so that even asking for it fails."""
    from kernels.runtime import disk_cache
    from kernels.runtime.jit import njit

    monkeypatch.setattr(disk_cache, "folder", lambda: tmp_path / ("n" * 300))
    monkeypatch.setattr(disk_cache, "closure", lambda module: "known")

    @njit
    def more(x: float) -> float:
        return x + 1

    assert more(1.0) == 2.0
