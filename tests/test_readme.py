"""What README promises works as it is written there."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from patience import PATIENCE

ROOT = Path(__file__).parent.parent
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", (ROOT / "README.md").read_text(), flags=re.MULTILINE | re.DOTALL)


def test_the_first_block_is_two_commands() -> None:
    language, block = BLOCKS[0]
    suite, tests = block.strip().splitlines()
    assert language == "" or language in ("sh", "bash", "console")
    for line, extra, end in ((suite, "bench", "-m benchmarks"), (tests, "test", "-m pytest")):
        assert line.startswith("python3 -m venv .venv && ") and f"'.[{extra}]'" in line and line.endswith(end)


def onnx_model() -> bytes:
    """A model for README's lines: one convolution and what follows it."""
    import numpy as np
    import onnx

    make, helper = onnx.helper.make_node, onnx.helper
    weight = onnx.numpy_helper.from_array(np.ones((8, 1, 3, 3), np.float32), "w")
    nodes = [make("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]), make("Relu", ["c"], ["r"]), make("GlobalAveragePool", ["r"], ["y"])]
    inputs, outputs = [helper.make_tensor_value_info("x", 1, [1, 1, 96, "time"])], [helper.make_empty_tensor_value_info("y")]
    graph = helper.make_graph(nodes, "small", inputs, outputs, [weight])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(proto.SerializeToString())


PAGES = sorted([ROOT / "README.md", *(ROOT / "kernels").rglob("README.md")])
WITH_CODE = [page for page in PAGES if "```python" in page.read_text()]


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_library_example(page: Path, tmp_path: Path) -> None:
    """Every Python block runs as pasted, and prints what its comments say."""
    code = re.findall(r"^```python\n(.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    assert code
    (tmp_path / "model.onnx").write_bytes(onnx_model())
    for block in code:
        needed = re.findall(r"^import (torch|dask)\b", block, flags=re.MULTILINE)  # extras that the tests' own environment lacks
        if any(importlib.util.find_spec(name) is None for name in needed):
            continue
        done = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0, done.stderr
        for promised in re.findall(r"print\(.*\)  # (.*)", block):
            assert promised in done.stdout


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")
def test_it_counts_the_models_that_the_catalogue_has() -> None:
    from benchmarks.workloads import catalogue

    stated = re.search(r"layers of (\d+) published music models", (ROOT / "README.md").read_text())
    assert stated and int(stated[1]) == len({layer.model for layer in catalogue()})


def test_the_results_are_those_of_the_newest_core_run() -> None:
    """`python -m benchmarks report --update-readme` writes the table; a run that is committed without it fails here."""
    from benchmarks.report import readme

    command = ["git", "ls-files", "-z", "--", "reports/*/run.json"]
    named = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    run = readme.newest_core(ROOT / name for name in (Path(each).parent for each in named if each) if (ROOT / name).exists())
    assert run is not None
    shown = (ROOT / "README.md").read_text(encoding="utf-8").partition(readme.BEGIN)[2].partition(readme.END)[0].strip()
    assert run.folder is not None
    wanted = readme.section(run, "reports/speed.svg", f"reports/{run.folder.name}/index.html")
    assert shown == wanted, f"README does not show {run.id}: python -m benchmarks report --update-readme"


def test_links_and_folders_exist() -> None:
    for document in (*PAGES, ROOT / "benchmarks" / "README.md"):
        text = document.read_text()
        for target in re.findall(r"\]\(([^)#]+)", text):
            if "://" not in target and target != "reports/README.md":  # written by the first run
                assert (document.parent / target).exists(), f"{document} links to {target}"
    for folder in re.findall(r"^\| `([\w/]+/)`", (ROOT / "README.md").read_text(), flags=re.MULTILINE):
        assert folder == "reports/" or (ROOT / folder).is_dir(), folder  # reports/ is made by the first run
