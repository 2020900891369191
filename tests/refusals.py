"""The table in kernels/methods/README.md of what each implementation refuses, read from the code. Run this file to write it anew."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kernels.methods import load, registry
from kernels.methods.contract import Implementation

PAGE = Path(__file__).parent.parent / "kernels" / "methods" / "README.md"
BEGIN, END = "<!-- refusals:begin -->\n", "<!-- refusals:end -->\n"
VARIES = "…"
OF_ANOTHER = re.compile(rf"^{VARIES} \((.*)\)$")  # what it says of another problem that it would do instead


def _spelt(node: ast.JoinedStr, names: dict[str, Any]) -> str:
    """A formatted string with its constants filled in and VARIES for what depends on the problem."""
    parts = []
    for part in node.values:
        if isinstance(part, ast.Constant):
            parts.append(str(part.value))
        else:
            used = {name.id for name in ast.walk(part) if isinstance(name, ast.Name)}
            constant = all(name.isupper() and name in names for name in used)
            parts.append(eval(ast.unparse(ast.JoinedStr([part])), names) if constant else VARIES)
    return "".join(parts)


def _strings(node: ast.AST, names: dict[str, Any]) -> Iterator[str]:
    """The sentences in an expression."""
    if isinstance(node, ast.JoinedStr):
        yield _spelt(node, names)
    elif isinstance(node, ast.Constant):
        if isinstance(node.value, str):
            yield node.value
    else:
        for child in ast.iter_child_nodes(node):
            yield from _strings(child, names)


def _definition(function: Any) -> ast.AST:
    """The syntax tree of a function or lambda: the first that begins on its line."""
    tree = ast.parse(inspect.getsource(inspect.getmodule(function)))  # type: ignore[arg-type]
    line = function.__code__.co_firstlineno
    return next(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.Lambda) and node.lineno == line)


def sentences(implementation: Implementation) -> list[str]:
    """What its `refuse` can return, in order; VARIES alone where it asks another implementation."""
    refuse: Any = inspect.unwrap(implementation.refuse)
    definition = _definition(refuse)
    if any(isinstance(node, ast.Attribute) and node.attr == "refuse" for node in ast.walk(definition)):
        return [VARIES]
    if isinstance(definition, ast.Lambda):
        return list(_strings(definition.body, refuse.__globals__))
    returns = [node for node in ast.walk(definition) if isinstance(node, ast.Return) and node.value]
    return [text for node in sorted(returns, key=lambda node: node.lineno) for text in _strings(node, refuse.__globals__)]


def implementations() -> list[Implementation]:
    """All of them, operation by operation."""
    load()
    return [implementation for operation in registry.operations() for implementation in registry.every(operation).values()]


def table() -> str:
    """The table as Markdown."""
    lines = ["| implementation | refuses, in its own words |", "| --- | --- |"]
    for implementation in implementations():
        found = [OF_ANOTHER.sub(r"a sentence that follows here, \1", text) for text in sentences(implementation)]
        text = "what the methods refuse that it is lowered to" if found == [VARIES] else "<br>".join(found) or "nothing"
        lines.append(f"| {implementation.operation} `{implementation.name}` | {text} |")
    return "\n".join(lines) + "\n"


def page(text: str) -> str:
    """The page with its table written anew."""
    before, rest = text.split(BEGIN)
    return before + BEGIN + table() + END + rest.split(END)[1]


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
