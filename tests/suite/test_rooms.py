"""The rooms of the suite: who may import whom, one name for one module, the names under which parts are imported by other packages."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SUITE = ROOT / "benchmarks"
# From the lowest up. A room imports from itself and from rooms before it; reports read records and nothing that runs.
ROOMS = ("records", "workloads", "host", "inputs", "learning", "contenders", "runner", "report", "tutorial", "streams", "whole", "commands")
NOT_FOR = {"report": {"workloads", "host", "inputs", "contenders", "runner"}, "host": {"workloads"}, "workloads": {"records"}}
FILES = sorted(SUITE.rglob("*.py"))


def imports(file: Path) -> set[str]:
    """Modules of the suite that a file imports, inside functions too, as full names."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the room"
            named = {f"{node.module}.{alias.name}" for alias in node.names}
            modules = {name for name in named if is_module(name)}
            found |= modules or {str(node.module)}
    return {name for name in found if name.split(".")[0] == "benchmarks"}


def is_module(name: str) -> bool:
    path = ROOT / name.replace(".", "/")
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def room(name: str) -> str:
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in ROOMS else ""


def own_name(file: Path) -> str:
    name = ".".join(file.relative_to(ROOT).with_suffix("").parts)
    return name.removesuffix(".__init__")


def test_every_folder_is_a_room() -> None:
    folders = {path.name for path in SUITE.iterdir() if path.is_dir() and not path.name.startswith(("_", "."))}
    assert folders == set(ROOMS)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_arrows_go_down(file: Path) -> None:
    own = room(own_name(file))
    for name in imports(file) if own else ():
        other = room(name)
        assert other, f"{file.name} imports {name}, which is in no room"
        assert ROOMS.index(other) <= ROOMS.index(own), f"{own} imports {name} from a room above it"
        assert other not in NOT_FOR.get(own, ()), f"{own} imports {name}"


def test_no_circle_of_modules() -> None:
    graph = {own_name(file): imports(file) for file in FILES}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path[path.index(name) :], name))
        if name not in done:
            for other in graph.get(name, ()):
                if not name.startswith(f"{other}."):  # a room's own __init__ lists its modules
                    visit(other, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_one_name_one_module() -> None:
    """Two files of one name would mean two things."""
    names = Counter(path.stem for path in FILES if not path.name.startswith("_"))
    assert {name for name, count in names.items() if count > 1} == set()


def test_other_packages_find_the_interface_of_contenders() -> None:
    from benchmarks import contenders

    assert {"Contender", "Prepared", "select", "everyone"} <= set(contenders.__all__)
