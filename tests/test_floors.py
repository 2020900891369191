"""House rules that matter, as tests: who may import whom, file lengths, compiler flags, no print, what lies at the top."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LIBRARY = ROOT / "kernels"

# From the lowest up: a module imports only from strictly lower floors. The design's floors 0 to 2 are several here: machine and errors
# know nothing, problems need the errors, what compiles needs the machine, the outer tile's last steps serve other micro-kernels, and the
# driver of packed blocks sits between micro-kernels and the methods that use it.
FLOORS = [
    {"errors", "machine", "recent", "scratch", "blas", "toomcook", "cuts.kinds"},
    {"arrays", "planes", "diskcache", "arena"},
    {"pooling", "store"},
    {"problem", "calibration", "cuts.costs"},
    {"jit", "implementation", "batchnorm", "cuts", "cuts.direct", "cuts.fft", "cuts.phases", "cuts.strides"},
    {"vector", "cuts.depthwise", "cuts.winograd", "cuts.lines"},
    {"registry", "addresses", "microkernels", "microkernels.outer"},
    {"jobs", "microkernels.tile_patches", "microkernels.tile_outputs"},
    {"microkernels.row", "microkernels.winograd", "microkernels.packing", "microkernels.window", "microkernels.smooth",
     "microkernels.fourier", "microkernels.lines", "microkernels.product", "microkernels.transpose", "microkernels.peak",
     "microkernels.weave"},
    {"microkernels.argmax", "microkernels.flat", "weights", "microkernels.across", "microkernels.stacked", "microkernels.depthwise",
     "epilogue", "relayout", "slabs", "passes", "microkernels.unweave"},
    {"finishing", "strides"},
    {"blocks"},
    {"narrow", "stacks", "columns", "tiles", "pool_narrow", "weight_spectra"},
    {"spectra"},
    {"tuning"},
    {"methods", "policy", "options"},
    {"request_conv", "request_pool"},
    {"request"},
    {"lowerings", "layers"},
    {"plan", "geometry", "patches", "models"},
    {"measure"},
    {"api", "calibrate", "fusing"},
    {"api_conv", "api_pool", "separable", "steps"},
    {"sequence"},
    {"__init__", "__main__"},
]
FLOOR = {name: floor for floor, names in enumerate(FLOORS) for name in names}
MODULES = sorted(LIBRARY.rglob("*.py"))


def part(name: str) -> str:
    """The name under which a module of the library (without "kernels.") stands in FLOORS: its own, or its folder's."""
    names = name.split(".")
    return next((key for key in (".".join(names[:2]), names[0]) if key in FLOOR), name)


def own_part(file: Path) -> str:
    return part(".".join(file.relative_to(LIBRARY).with_suffix("").parts))


def imported(tree: ast.AST) -> set[str]:
    """Full names of the modules of this repository that are imported, inside functions too, and by name."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the floor"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            modules = {name for name in names if (ROOT / (name.replace(".", "/") + ".py")).exists()}
            found |= modules or ({f"{node.module}"} if node.module != "kernels" else names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module") and isinstance(node.args[0], ast.Constant):
            found.add(str(node.args[0].value))
    return {name for name in found if name.split(".")[0] in ("kernels", "benchmarks", "tests")}


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_only_from_lower_floors(file: Path) -> None:
    own = own_part(file)
    assert own in FLOOR, f"{own} has no floor: write it into FLOORS"
    for name in imported(ast.parse(file.read_text())):
        library, _, rest = name.partition(".")
        assert library == "kernels", f"{own} imports {name}; the library imports nothing else of this repository"
        other = part(rest)
        assert other in FLOOR, f"{own} imports {name}, which has no floor"
        assert FLOOR[other] < FLOOR[own], f"{own} (floor {FLOOR[own]}) imports {other} (floor {FLOOR[other]})"


def test_an_implementation_does_not_know_who_else_exists() -> None:
    for file in sorted((LIBRARY / "methods").glob("[a-z]*.py")):
        assert not [name for name in imported(ast.parse(file.read_text())) if name.startswith("kernels.methods")], file.name


def test_every_floor_is_inhabited() -> None:
    """A module that is gone must not leave its name behind."""
    assert set(FLOOR) - {own_part(file) for file in MODULES} == set()


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
            assert ast.unparse(node.value) in ("False", "('nsz',)" if file.name == "vector.py" else "False")
        if isinstance(node, ast.Dict):
            assert not any(isinstance(key, ast.Constant) and key.value == "fastmath" for key in node.keys)
    if file.name != "jit.py":
        compilers = {"jit", "njit", "vectorize", "guvectorize", "stencil", "cfunc"}
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr in compilers:
                assert ast.unparse(node.value) not in ("numba", "nb"), f"numba.{node.attr}: go through kernels.jit"
            if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "numba":
                assert not compilers & {alias.name for alias in node.names}, "go through kernels.jit"
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


@pytest.mark.parametrize("file", sorted((LIBRARY / "methods").glob("[a-z]*.py")), ids=lambda file: file.name)
def test_an_implementation_tells_when_it_loses_and_where_it_is_from(file: Path) -> None:
    text = ast.get_docstring(ast.parse(file.read_text())) or ""
    assert re.search(r"arXiv|[Rr]eference|\b(19|20)\d\d\b", text), "the docstring does not say where the method is from"
    assert re.search(r"\blos(es|e|t)\b", text), "the docstring does not say when the method loses"
    assert "registry.add(" in file.read_text()
