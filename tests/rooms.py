"""The rooms of the library, from the lowest up, and the picture of them in kernels/README.md; as a script, writes it anew."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
LIBRARY = ROOT / "kernels"
PAGE = LIBRARY / "README.md"
BEGIN, END = "<!-- rooms: written by python tests/rooms.py -->\n", "<!-- end of rooms -->\n"

# From the lowest up: a module imports only from its own room and from rooms before it. Nothing else says which floor a room is on;
# the picture in kernels/README.md is drawn from this list by `python tests/rooms.py`.
ROOMS = {
    "runtime": "machine, compiling, LLVM IR, threads, scratch memory, files",
    "problem": "values: what is computed, its operands and options, errors",
    "cost": "what every estimate counts alike: cycles, memory, calibration",
    "primitives": "what engines share: register tiles, post-ops, packing, launcher",
    "methods": "one room an engine",
    "dispatch": "plan, choice by estimate or measurement, tuning",
    "api": "what users call",
    "network": "whole models: a graph read, rewritten, placed in memory and run; layers in a row",
    "streaming": "blocks of a live signal, the past kept between calls",
    "dask": "the same calls on lazy arrays, each chunk with the halo it needs",
    "torch": "PyTorch's tensors, modules and compiler; imported by its own name only",
}
ENTRANCES = {"__init__", "__main__"}  # of the whole package: they may import every room
# an engine that runs on another's driver or with its matrices; else what engines share is in primitives and cost
MAY_USE = {"bfloat16": {"direct"}, "depthwise": {"direct"}, "gradients": {"winograd"}}
FLOOR = {room: floor for floor, room in enumerate(ROOMS)}
MODULES = sorted(LIBRARY.rglob("*.py"))


def room_of(module: str) -> str:
    """The room of a module of the library, without "kernels." before its name."""
    return module.split(".")[0]


def name_of(file: Path) -> str:
    parts = file.relative_to(LIBRARY).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


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


def uses() -> dict[str, set[str]]:
    """For each room the others that its modules import."""
    found: dict[str, set[str]] = {room: set() for room in ROOMS}
    for file in MODULES:
        own = room_of(name_of(file))
        if own in found:
            found[own] |= {room_of(name.removeprefix("kernels.")) for name in imported(ast.parse(file.read_text()))} & set(ROOMS) - {own}
    return found


def picture() -> str:
    """The rooms from the top down, what they hold, and which rooms they import from."""
    below, width = uses(), max(map(len, ROOMS))
    lines = []
    for room in reversed(ROOMS):
        lines.append(f"{room:<{width}}  {ROOMS[room]}")
        if room == "methods":
            engines = sorted(path.name for path in (LIBRARY / room).iterdir() if (path / "__init__.py").exists())
            lines.append(f"{'':<{width}}  {'/ '.join(engines)}/")
        arrows = " ".join(other for other in reversed(ROOMS) if other in below[room])
        lines += [f"{'':<{width}}  ↓ {arrows}"] if arrows else []
    return "```\n" + "\n".join(lines) + "\n```\n"


def page(text: str) -> str:
    """The page with the picture drawn anew."""
    pattern = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
    assert pattern.search(text), f"{PAGE} has lost its marks {BEGIN!r}"
    return pattern.sub(lambda _: BEGIN + picture() + END, text)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
