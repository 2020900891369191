"""House rule: arguments have names. No function takes more than 12 positional parameters, no call gives more than 8 bare positional values.

The rooms whose functions mirror PyTorch's keep its parameters.
"""

from __future__ import annotations

import ast
from collections import Counter

from rooms import LIBRARY, MODULES

PARAMETERS, VALUES = 12, 8
MIRRORS = ("api", "torch", "dask")  # rooms of functions with PyTorch's parameters


def found() -> tuple[Counter[str], Counter[str]]:
    """(functions with too many parameters, calls with too many values), as "module: name", each with how often."""
    functions: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    for file in MODULES:
        parts = file.relative_to(LIBRARY).with_suffix("").parts
        module, mirrors = ".".join(parts), parts[0] in MIRRORS
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef) and not mirrors and len(node.args.posonlyargs + node.args.args) > PARAMETERS:
                functions[f"{module}: {node.name}"] += 1
            if isinstance(node, ast.Call) and not mirrors and sum(not isinstance(value, ast.Starred) for value in node.args) > VALUES:
                calls[f"{module}: {ast.unparse(node.func)}"] += 1
    return functions, calls


def test_no_function_takes_a_dozen_bare_arguments() -> None:
    functions, calls = found()
    assert functions == Counter(), "give it a record (primitives/records.py) or a NamedTuple"
    assert calls == Counter(), "name what you give, or give a record"
