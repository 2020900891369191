"""Consoles that lack letters: every verb says what it says, and a run is written before it is shown."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from patience import PATIENCE

from benchmarks.commands import plain_console
from benchmarks.host import environment
from benchmarks.records import archive
from tests import fabricated_run as fabricated

ENCODINGS = ("cp1252", "ascii")


def shown(encoding: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_XDIST", "PYTEST_ADDOPTS"))}
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments], cwd=environment.ROOT, capture_output=True, timeout=PATIENCE,
        env=own | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"},
    )  # fmt: skip


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_compare_and_report(encoding: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        fabricated.write(tmp_path / name, fabricated.lines(1, workloads=fabricated.WORKLOADS[:2]), fabricated.header(1, id=name))
    for arguments in (("compare", str(tmp_path / "a"), str(tmp_path / "b"), "--all"), ("report", str(tmp_path / "a"))):
        done = shown(encoding, *arguments)
        assert done.returncode == 0 and b"Traceback" not in done.stderr, done.stderr.decode(errors="replace")
        done.stdout.decode(encoding)
        assert b"vggish.conv1" in done.stdout


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_run_and_the_doctor(encoding: str, tmp_path: Path) -> None:
    done = shown(encoding, "--workload", "effat.preemph", "--contender", "jit", "--passes", "1", "--threads", "1", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    (folder,) = (path.parent for path in tmp_path.glob("*/run.json"))
    assert archive.load(folder).cells[0].median_s and (folder / "index.html").exists()
    if encoding == "cp1252":
        done = shown(encoding, "doctor")
        assert done.returncode == 0 and b"library" in done.stdout, done.stderr.decode(errors="replace")


@pytest.mark.parametrize("text", ["a → b", "├─●─┤", "≈ 2.3×", "12 µs · é ß", "┏━┓┡╇┩│└┴┘", "⠋ ⠙", "日本", "\u00a0x"])
def test_every_letter_has_something_instead(text: str) -> None:
    plain_console.prepare()
    got = text.encode("ascii", plain_console.HANDLER)
    assert got.isascii() and len(got) >= len(text.strip()) and (text[0] != "a" or got == b"a -> b")


def test_a_disabled_compiler_is_a_sentence() -> None:
    own = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run([sys.executable, "-m", "benchmarks", "list"], cwd=environment.ROOT, capture_output=True, text=True, env=own)
    assert done.returncode == 2 and "NUMBA_DISABLE_JIT is set" in done.stderr and "Traceback" not in done.stderr
