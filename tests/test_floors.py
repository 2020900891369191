"""House rules that matter, as tests: who may import whom, file lengths, compiler flags, no print, what lies at the top."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest
import rooms
from rooms import ENTRANCES, FLOOR, LIBRARY, MAY_USE, MODULES, ROOMS, ROOT, imported, name_of, room_of


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_only_from_lower_rooms(file: Path) -> None:
    own = name_of(file)
    if own in ENTRANCES:
        return
    assert room_of(own) in FLOOR, f"{own} is in no room: write its folder into ROOMS"
    for name in imported(ast.parse(file.read_text())):
        library, _, other = name.partition(".")
        assert library == "kernels", f"{own} imports {name}; the library imports nothing else of this repository"
        assert room_of(other) in FLOOR, f"{own} imports {name}, which is in no room"
        assert FLOOR[room_of(other)] <= FLOOR[room_of(own)], f"{own} imports {name}, which is in a room above"


def test_the_picture_is_that_of_the_imports() -> None:
    text = rooms.PAGE.read_text()
    assert text == rooms.page(text), "run python tests/rooms.py"


def test_imports_run_in_no_circle() -> None:
    """Inside a room too."""
    waiting = {name_of(file): imported(ast.parse(file.read_text())) for file in MODULES}
    arrows = {name: {other.removeprefix("kernels.") for other in others} & set(waiting) - {name} for name, others in waiting.items()}
    while free := {name for name, others in arrows.items() if not others}:
        arrows = {name: others - free for name, others in arrows.items() if name not in free}
    assert arrows == {}


def engine_of(module: str) -> str | None:
    """The engine's room that a module lies in, None for what lies in none."""
    parts = module.split(".")
    return parts[1] if parts[0] == "methods" and (LIBRARY / "methods" / parts[1]).is_dir() else None


def test_an_engine_does_not_know_who_else_exists() -> None:
    for file in (LIBRARY / "methods").rglob("*.py"):
        own = engine_of(name_of(file)) if file.parent.name != "methods" else None
        for name in imported(ast.parse(file.read_text())):
            other = engine_of(name.removeprefix("kernels."))
            assert own is None or other in {None, own, *MAY_USE.get(own, ())}, f"{name_of(file)} imports {name}"


def test_every_room_is_inhabited() -> None:
    """A room that is gone must not leave its name behind, and none is without a name."""
    folders = {path.name for path in LIBRARY.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == set(ROOMS)
    assert {file.stem for file in LIBRARY.glob("*.py")} == ENTRANCES
    assert set(MAY_USE) <= {path.name for path in (LIBRARY / "methods").iterdir()}


def tracked() -> list[Path]:
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).exists()]


needs_git = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")


@needs_git
def test_top_level_holds_what_it_should() -> None:
    allowed = {"README.md", "pyproject.toml", "kernels", "benchmarks", "tests", "reports"}
    top = {file.relative_to(ROOT).parts[0] for file in tracked()}
    assert {name for name in top if not name.startswith(".")} <= allowed
    assert {"kernels", "tests", "pyproject.toml"} <= top


@needs_git
def test_tests_have_patience() -> None:
    """What a test allows in seconds, or measures, depends on whatever else the machine does: see tests/patience.py."""
    written = re.compile(r"timeout=[\d.]|\bperf_counter\(|\bprocess_time\(|\balarm\([1-9]|monotonic\(\)")
    own = {ROOT / "tests" / name for name in ("patience.py", "test_floors.py")}
    tests = [file for file in tracked() if file.suffix == ".py" and ROOT / "tests" in file.parents and file not in own]
    assert [str(file.relative_to(ROOT)) for file in tests if written.search(file.read_text())] == []


@needs_git
def test_no_file_grows_past_400_lines() -> None:
    long = {str(file.relative_to(ROOT)): n for file in tracked() if file.suffix == ".py" and (n := file.read_text().count("\n")) > 400}
    assert long == {}


def calls(tree: ast.AST) -> list[str]:
    return [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(ROOT)))
def test_flags_and_prints(file: Path) -> None:
    """Nothing prints; only jit.py calls Numba's compiler; nowhere is fastmath switched on, but that maxima take either of two zeros."""
    tree = ast.parse(file.read_text())
    assert "print" not in calls(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "fastmath":
            assert ast.unparse(node.value) in ("False", "('nsz',)" if file.name == "ir.py" else "False")
        if isinstance(node, ast.Dict):
            assert not any(isinstance(key, ast.Constant) and key.value == "fastmath" for key in node.keys)
    if file.name != "jit.py":
        compilers = {"jit", "njit", "vectorize", "guvectorize", "stencil", "cfunc"}
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr in compilers:
                assert ast.unparse(node.value) not in ("numba", "nb"), f"numba.{node.attr}: go through kernels.runtime.jit"
            if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "numba":
                assert not compilers & {alias.name for alias in node.names}, "go through kernels.runtime.jit"
    # LLVM's own fast-math flags on an instruction reorder sums as well; contraction into one FMA is spelt as a call
    assert not re.search(r"""flags\s*=\s*\(?\[?["'](fast|reassoc|nnan|ninf|nsz|arcp)["']""", file.read_text())


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(ROOT)))
def test_docstrings(file: Path) -> None:
    """Every module with code says what it is for, and so does every public function and class."""
    tree = ast.parse(file.read_text())
    if not tree.body:
        return
    assert ast.get_docstring(tree), "the module has no docstring"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{node.name} has no docstring"


def methods() -> list[Path]:
    """The modules that register a method for an operation of its own; lowered ones do it for whatever there is."""
    files = sorted((LIBRARY / "methods").glob("*/*.py"))
    return [file for file in files if "registry.add(" in file.read_text() and file.parent.name != "lowered"]


@pytest.mark.parametrize("file", methods(), ids=lambda file: str(file.relative_to(LIBRARY / "methods")))
def test_an_implementation_tells_when_it_loses_and_where_it_is_from(file: Path) -> None:
    text = ast.get_docstring(ast.parse(file.read_text())) or ""
    assert re.search(r"arXiv|[Rr]eference|\b(19|20)\d\d\b", text), "the docstring does not say where the method is from"
    assert re.search(r"\blos(es|e|t)\b", text), "the docstring does not say when the method loses"


def test_every_engine_has_a_method() -> None:
    rooms = {path.name for path in (LIBRARY / "methods").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert rooms - {"lowered"} == {file.parent.name for file in methods()}
