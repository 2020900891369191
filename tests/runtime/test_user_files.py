"""Nothing is read that another user could have written, and files lie where each system keeps caches."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from patience import PATIENCE

from kernels.runtime import store, user_files

ROOT = Path(__file__).parents[2]
STRANGER = 54321
posix = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="users are not numbers here")
root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can plant another user's files")

LOCATE = "from kernels.runtime import disk_cache; import sys; sys.stdout.write(str(disk_cache.folder()))"


def run(code: str, **environment: str) -> str:
    full = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run([sys.executable, "-c", code], env=full, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return done.stdout


class Bomb:
    """A pickle of it runs a command where it is read."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.mark}",)


NO_TEMPORARY = """
import sys, tempfile

def nowhere():
    raise FileNotFoundError(2, "No usable temporary directory found")

tempfile.gettempdir = nowhere
from kernels.runtime import disk_cache, store
folder, tuning = disk_cache.folder(), store.where("tuning")
sys.stdout.write(str(folder and folder.parent))
"""


def test_a_system_without_a_temporary_folder_uses_the_users_own(tmp_path: Path) -> None:
    """As a read-only container with a volume for its user's files."""
    assert run(NO_TEMPORARY, KERNELS_CACHE_DIR="", XDG_CACHE_HOME=str(tmp_path)) == str(tmp_path / "spectroconv")


@posix
@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777, 0o720, 0o702])
def test_a_folder_that_others_may_write_to_is_not_used(tmp_path: Path, mode: int) -> None:
    home = str(tmp_path / "cache")
    folder = Path(run(LOCATE, KERNELS_CACHE_DIR=home))
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(mode)
    assert run(LOCATE, KERNELS_CACHE_DIR=home) == "None"
    folder.chmod(0o755)
    assert run(LOCATE, KERNELS_CACHE_DIR=home) == str(folder)


@root
def test_a_folder_that_another_user_planted_is_not_used_and_a_private_one_is(tmp_path: Path) -> None:
    """A user without a cache of their own, in whose temporary folder somebody else was first."""
    code = "from kernels.runtime import user_files; import sys; sys.stdout.write(str(user_files.temporary_folder()))"
    caches, temporary = tmp_path / "caches", tmp_path / "tmp"
    temporary.mkdir()
    environment = {"XDG_CACHE_HOME": str(caches), "TMPDIR": str(temporary), "KERNELS_CACHE_DIR": ""}
    first = Path(run(LOCATE, **environment))
    assert first.is_relative_to(caches)
    os.chown(first, STRANGER, STRANGER)
    second = Path(run(LOCATE, **environment))
    assert second.is_relative_to(Path(run(code, **environment))) and second.stat().st_uid == os.geteuid()
    os.chown(second, STRANGER, STRANGER)
    assert run(LOCATE, **environment) == "None"


@root
@pytest.mark.parametrize("planted", ["stranger", "writable"])
def test_compiled_code_of_another_user_is_never_unpickled(tmp_path: Path, planted: str) -> None:
    from kernels.runtime import disk_cache

    (tmp_path / "small.py").write_text("from kernels.runtime.jit import njit\n\n\n@njit\ndef more(x):\n    return x + 1\n")  # soon compiled
    code = "import small; assert small.more(1) == 2"
    environment = {"KERNELS_CACHE_DIR": str(tmp_path), "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    run(code, **environment)
    files = list(tmp_path.rglob("*.bin"))
    assert files
    for file in files:
        content = file.read_bytes()
        start = len(disk_cache.FORMAT) + 32
        length = int.from_bytes(content[start : start + 8], "little")
        key = content[start + 8 : start + 8 + length].decode()
        file.write_bytes(disk_cache.seal(key, pickle.dumps(Bomb(tmp_path / "ran"))))
    run(code, **environment)
    assert (tmp_path / "ran").exists(), "the test's pickle would run if it were the user's own"
    (tmp_path / "ran").unlink()
    for file in files:
        file.write_bytes(disk_cache.seal(key, pickle.dumps(Bomb(tmp_path / "ran"))))
        os.chown(file, STRANGER, STRANGER) if planted == "stranger" else file.chmod(0o666)
    run(code, **environment)
    assert not (tmp_path / "ran").exists()


@posix
@pytest.mark.parametrize("mode", [0o666, 0o660, 0o602])
@pytest.mark.parametrize("kind", ["tuning", "calibration"])
def test_measurements_that_others_may_write_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, mode: int) -> None:
    monkeypatch.setenv("KERNELS_TUNING", str(tmp_path / "tuning.json"))
    file = store.where(kind)
    assert file is not None
    file.write_text(json.dumps({store.title(kind): {store.environment(): {"key": 1}}}, indent=1))
    file.chmod(0o644)
    assert store.read(kind, file) == {"key": 1}
    file.chmod(mode)
    with pytest.warns(RuntimeWarning, match="another user, or others may write to it; copy it, or chmod 600"):
        assert store.read(kind, file) is None
    before = file.read_bytes()
    with pytest.warns(RuntimeWarning, match="is not written: it belongs to another user, or others may write to it"):
        assert not store.change(kind, file, lambda sections: sections.clear())
    assert file.read_bytes() == before


def test_what_is_written_is_the_users_alone(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        assert user_files.own_folder(tmp_path / "a" / "b") == tmp_path / "a" / "b"
        user_files.write_own(tmp_path / "a" / "b" / "file", b"1")
    finally:
        os.umask(old)
    if os.name == "posix":
        assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
        assert (tmp_path / "a" / "b" / "file").stat().st_mode & 0o777 == 0o600
    assert user_files.read_own(tmp_path / "a" / "b" / "file") == b"1"


def test_folders_of_each_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("KERNELS_CACHE_DIR", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(user_files.Path, "home", lambda: tmp_path)
    expected = {
        "linux": tmp_path / ".cache/spectroconv", "darwin": tmp_path / "Library/Caches/spectroconv",
        "win32": tmp_path / "AppData/Local/spectroconv/Cache",
    }  # fmt: skip
    for platform, folder in expected.items():
        monkeypatch.setattr(sys, "platform", platform)
        assert user_files.cache_folder() == folder
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert user_files.cache_folder() == tmp_path / "local/spectroconv/Cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert user_files.cache_folder() == tmp_path / "xdg/spectroconv"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "~/caches")
    assert user_files.cache_folder() == tmp_path / "caches/spectroconv"
    monkeypatch.setenv("KERNELS_CACHE_DIR", "~/mine")
    assert user_files.cache_folder() == tmp_path / "mine"


def test_the_lock_of_windows_is_taken_and_given_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[int] = []

    class Locks:
        LK_LOCK, LK_UNLCK = 1, 0

        @staticmethod
        def locking(handle: int, mode: int, count: int) -> None:
            os.fstat(handle)  # raises if it is closed already
            calls.append(mode)

    monkeypatch.setitem(sys.modules, "msvcrt", Locks)
    monkeypatch.setattr(sys, "platform", "win32")
    with store._alone(tmp_path):
        assert calls == [1]
    assert calls == [1, 0]
