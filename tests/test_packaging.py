"""What gets installed and what an import costs."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

from patience import PATIENCE

import kernels

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_kernels_is_ours() -> None:
    """Another package on the index has the same import name; it must not be what is tested here."""
    assert Path(kernels.__file__).resolve() == ROOT / "kernels" / "__init__.py"


def test_version() -> None:
    """Below 0.9, from where on the other package of that name starts, and told once."""
    assert PROJECT["name"] == "spectroconv"
    assert kernels.__version__ == PROJECT["version"]
    assert tuple(map(int, kernels.__version__.split(".")[:2])) < (0, 9)


def test_dependencies() -> None:
    names = {re.split(r"[<>=!~\[; ]", requirement)[0] for requirement in PROJECT["dependencies"]}
    assert names == {"numpy", "numba", "scipy"}
    assert PROJECT["requires-python"] == ">=3.11"
    assert {"bench", "test", "torch", "peers", "dev"} <= set(PROJECT["optional-dependencies"])


def test_import_is_quick() -> None:
    """Importing loads NumPy alone: Numba (0.4 s) and SciPy (0.3 s) come with the first plan, so nothing can compile before."""
    code = (
        "import sys, kernels\n"
        "loaded = {name.split('.')[0] for name in sys.modules}\n"
        "assert not loaded & {'numba', 'llvmlite', 'scipy', 'benchmarks', 'torch'}, loaded\n"
        "kernels.Conv('conv2d', 1, 1, (4, 4), (3, 3), (1, 1), ((0, 0), (0, 0)), (1, 1), 'float32', c_out=1)\n"
        "assert 'numba' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr


def test_loading_the_implementations_compiles_nothing() -> None:
    code = (
        "from numba.core import event\n"
        "with event.install_recorder('numba:compile') as recorder:\n"
        "    from kernels.methods import load\n"
        "    load()\n"
        "assert not recorder.buffer, recorder.buffer\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr


def test_typed() -> None:
    assert (ROOT / "kernels" / "py.typed").exists()
