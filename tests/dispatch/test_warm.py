"""Compiling ahead: every engine is among the usual layers, and what was compiled is not compiled again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from patience import PATIENCE

from kernels import __main__ as command
from kernels.dispatch.heuristic import choose
from kernels.dispatch.warm import usual
from kernels.methods import load

LINES = """conv2d n1 c4 8x8 -> c4 k3x3 s1x1 p1+1x1+1 d1x1 g1 float32
max_pool2d n1 c4 8x8 -> k2x2 s2x2 p0+0x0+0 d1x1 indices float32
"""
CALLS = """
import kernels, numpy as np
x, weight = np.ones((1, 4, 8, 8), "f4"), np.ones((4, 4, 3, 3), "f4")
kernels.conv2d(x, weight, padding=1)
kernels.plan("conv2d", x.shape, weight, padding=1)(x)
kernels.max_pool2d(x, 2, return_indices=True)
"""


def test_usual_layers_take_every_engine() -> None:
    load()
    assert {choose(problem).name for problem in usual()} == {"direct", "winograd", "fft", "depthwise", "window"}


def test_what_was_compiled_ahead_is_not_compiled_again(tmp_path: Path) -> None:
    layers = tmp_path / "layers.txt"
    layers.write_text(LINES)
    cache = tmp_path / "cache"
    environment = {**os.environ, "KERNELS_CACHE_DIR": str(cache)}

    def run(*arguments: str) -> str:
        command = [sys.executable, *arguments]
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=PATIENCE).stdout

    said = run("-m", "kernels", "warm", "--layers", str(layers))
    assert [line.split(": ")[1] for line in said.splitlines()] == LINES.splitlines()
    before = sorted(path for path in cache.rglob("*") if path.is_file())
    assert before
    run("-c", CALLS)
    assert sorted(path for path in cache.rglob("*") if path.is_file()) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--input", "x=1x2"], "there is no --onnx"), (["--layers", "none.txt"], "none.txt"), (["--threads", "0"], "threads is 0")],
)
def test_what_cannot_be_compiled_ahead(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["warm", *arguments]) == 2
    assert message in capsys.readouterr().err
