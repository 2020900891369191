"""House rule: arguments have names. No function takes more than 12 positional parameters, no call gives more than 8 bare positional values.

Public functions that mirror PyTorch's keep its parameters, and what implements them passes them on in that order. What is listed below is
older than the rule or not yet a record: the lists may get shorter, never longer.
"""

from __future__ import annotations

import ast
from collections import Counter

from rooms import LIBRARY, MODULES

PARAMETERS, VALUES = 12, 8
MIRRORS = ("api", "torch", "dask")  # rooms of functions with PyTorch's parameters

LONG_FUNCTIONS = {
    "methods.direct.pack_weights: _turn": 1,
    "methods.pooling.long_windows: _sums": 1,
    "methods.pooling.long_windows: sum_lines": 1,
    "methods.reference.conv_im2col: unfold": 1,
    "methods.winograd.pack_weights: _interpolate": 1,
    "methods.winograd.strided: _part": 1,
    "methods.winograd.tile_load: write_entries": 1,
    "primitives.elementwise: _run": 1,
    "primitives.post_ops: block_post_ops": 1,
    "primitives.reduction: _across": 1,
    "primitives.resample: _lines": 1,
    "primitives.vector_matrix: _run": 1,
}

LONG_CALLS = {
    "methods.direct.blocking: Blocking": 1,
    "methods.direct.driver: block_post_ops": 1,
    "methods.direct.driver: pack_channels": 1,
    "methods.direct.driver: plane_of": 1,
    "methods.direct.driver_oc: pack_channels": 1,
    "methods.fft.blocking: Blocking": 2,
    "methods.fft.scipy_driver: gather_columns": 1,
    "methods.fft.scipy_driver: scatter_columns": 1,
    "methods.lowered.transposed_phases: Conv": 1,
    "methods.pooling.long_windows: _maxima": 1,
    "methods.pooling.long_windows: _maxima_down": 1,
    "methods.pooling.long_windows: _sums": 1,
    "methods.pooling.long_windows: _sums_down": 1,
    "methods.reference.conv_im2col: unfold": 1,
    "methods.reference.conv_im2col: unfold_tap": 1,
    "methods.reference.pool_jit: plane_averages": 1,
    "methods.winograd.blocking: Blocking": 1,
    "methods.winograd.driver: block_post_ops": 1,
    "network.layers: Conv": 1,
    "network.layers: Linear": 1,
    "network.lower_layers: Conv": 1,
    "network.steps: Conv": 1,
    "primitives.driver: launch": 1,
    "primitives.packed_layout: Layout": 2,
    "primitives.post_ops: store_channels": 1,
    "primitives.vector_pass: _line": 1,
    "primitives.vector_program: _load": 1,
    "primitives.vector_program: _store": 1,
    "problem.conv: Pool": 1,
    "problem.request_conv: ConvLayer": 1,
    "problem.request_conv: _assemble": 1,
    "problem.request_conv: _layer": 2,
    "problem.request_conv: conv_layer": 1,
    "problem.request_conv: make": 1,
    "problem.request_conv: transposed_layer": 1,
    "problem.request_gradient: ConvTranspose": 1,
    "problem.request_gradient: _conv": 2,
    "problem.request_gradient: conv_layer": 2,
    "problem.request_gradient: transposed_layer": 2,
    "problem.request_pool: Pool": 1,
    "problem.request_pool: _pool": 2,
    "streaming.joining: self._append": 1,
    "streaming.parts: Conv": 1,
}


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
    assert functions - Counter(LONG_FUNCTIONS) == Counter(), "give it a record (primitives/records.py) or a NamedTuple"
    assert calls - Counter(LONG_CALLS) == Counter(), "name what you give, or give a record"


def test_what_was_mended_leaves_the_lists() -> None:
    functions, calls = found()
    assert Counter(LONG_FUNCTIONS) - functions == Counter()
    assert Counter(LONG_CALLS) - calls == Counter()
