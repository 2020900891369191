"""The scripts of the pages under a linter, where Node's eslint is at hand."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from patience import PATIENCE

from benchmarks.tutorial import lesson

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / ".eslint.config.mjs"
SCRIPTS = {"tutorial.js": lesson.script, "page.js": (ROOT / "benchmarks" / "report" / "page.js").read_text}


def eslint() -> str:
    """The program: $ESLINT, one on the path, or that of the checkout; skips where there is none."""
    places = os.environ.get("ESLINT"), shutil.which("eslint"), str(ROOT / "node_modules" / ".bin" / "eslint")
    found = next((each for each in places if each and Path(each).exists()), None)
    if found is None or shutil.which("node") is None:
        pytest.skip("no eslint here: npm install -g eslint, or ESLINT=its path")
    return found


def lint(name: str, text: str) -> subprocess.CompletedProcess[str]:
    words = [eslint(), "--config", str(CONFIG), "--stdin", "--stdin-filename", name, "--max-warnings", "0"]
    return subprocess.run(words, input=text, capture_output=True, text=True, cwd=ROOT, check=False, timeout=PATIENCE)


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_linter_finds_nothing(name: str) -> None:
    done = lint(name, SCRIPTS[name]())
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_linter_would_find_something() -> None:
    done = lint("tutorial.js", f"{lesson.script()}const unused = undefinedName == 1;\n")
    assert done.returncode == 1 and all(rule in done.stdout for rule in ("no-unused-vars", "no-undef", "eqeqeq"))
