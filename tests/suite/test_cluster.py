"""A LocalCluster against one process: the command, its data and its page."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from patience import PATIENCE
from typer.testing import CliRunner

from benchmarks.__main__ import app

pytest.importorskip("distributed")
pytest.importorskip("soundfile")

ROOT = Path(__file__).resolve().parents[2]


def test_the_command(tmp_path: Path) -> None:
    from benchmarks.streams import clusters

    command = [sys.executable, "-m", "benchmarks", "cluster", "--network", "encoder", "--hours", "0.005", "--hours", "0.01",
               "--seconds", "3", "--source", "file", "--source", "tasks", "--workers", "1", "--out", str(tmp_path)]  # fmt: skip
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, cwd=ROOT, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr[-3000:]
    found, about = clusters.read(tmp_path / "cluster.json")
    assert [each.source for each in found] == ["file", "tasks"]
    for each in found:
        assert each.same and each.hours == (0.005, 0.01) and each.share > 0 and len(each.process) == 2 * clusters.TURNS
        assert not sys.platform.startswith("linux") or min(each.peaks) > 1 << 20
    text = (tmp_path / "README.md").read_text()
    assert text.count("| encoder | 3 s") == 4 and about["cpu"] in text and f"made in {about['graph']} s" in text


def test_mistakes() -> None:
    for arguments in (["--network", "onset"], ["--source", "nowhere"], ["--hours", "0"], ["--threads", "0"]):
        assert CliRunner().invoke(app, ["cluster", *arguments]).exit_code == 2
