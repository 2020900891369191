"""Models as lists of layers: what an ONNX model, or a file with a layer a line, asks of this library, alike layers counted once.

An ONNX model is read with its shapes inferred; its weights' values play no part. Batch normalisation and activation that alone read a
convolution's output belong to it, as in `conv2d(..., scale=…, shift=…, activation=…)`; pools stay layers of their own. A file of layers
holds problem lines, as `str(problem)` prints them, with what follows # as their name; or it is a JSON list of such lines or of rows in
the form of benchmarks/workloads/catalogue.json. https://onnx.ai/onnx/operators says what the attributes mean.
"""

from __future__ import annotations

import collections
import dataclasses
import importlib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kernels.network.graph import Node, Value
from kernels.network.onnx_messages import array_of, attribute_of, onnx_package
from kernels.network.operators.windows import window_request
from kernels.network.passes.epilogues import activation
from kernels.problem.conv import Conv, ConvTranspose, Problem, parse
from kernels.problem.errors import ProblemError, shown
from kernels.problem.pool import Pool
from kernels.problem.request import request_of

Shape = tuple[int, ...]

_OPERATORS = "Conv", "ConvTranspose", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"
_PRODUCTS = "Gemm", "MatMul"


@dataclasses.dataclass(frozen=True)
class Layer:
    """A problem that a model has `count` times, called as it is called first."""

    name: str
    problem: Problem
    count: int = 1


@dataclasses.dataclass(frozen=True)
class LeftOut:
    """A node that is no layer here: its name and operator, and why."""

    name: str
    operator: str
    reason: str


def merged(named: Iterable[tuple[str, Problem]]) -> list[Layer]:
    """Layers in order of their first appearance, equal problems counted.

    >>> from kernels import parse
    >>> line = "max_pool2d n1 c8 8x8 -> k2x2 s2x2 p0+0x0+0 d1x1 float32"
    >>> [(layer.name, layer.count) for layer in merged([("pool1", parse(line)), ("pool2", parse(line))])]
    [('pool1', 2)]
    """
    pairs = list(named)
    counts = collections.Counter(problem for _, problem in pairs)
    names = {problem: name for name, problem in reversed(pairs)}
    return [Layer(names[problem], problem, count) for problem, count in counts.items()]


def from_layers(path: str | Path) -> list[Layer]:
    """The layers of a file of problem lines, or of a JSON list of lines or rows. Raises ProblemError that names the line or row."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")  # Windows' editors begin files with a mark
        rows = json.loads(text) if text.lstrip().startswith("[") else text.splitlines()
    except RecursionError as error:
        raise ProblemError(f"{path} is no JSON list of layers: it is nested too deeply") from error
    except ValueError as error:
        raise ProblemError(f"{path} is no JSON list: {error}") from error
    found = []
    for number, row in enumerate(rows, 1):
        try:
            if not isinstance(row, str):
                found.append((str(row.get("id", f"row {number}")), _of_row(row)))
                continue
            line, _, name = row.partition("#")
            if line.strip():
                found.append((name.strip() or f"line {number}", parse(line.strip())))
        except (AttributeError, KeyError, TypeError, ProblemError) as error:
            what = f"has no {error}" if isinstance(error, KeyError) else str(error)
            raise ProblemError(f"{path}, entry {number}: {what}") from error
    return merged(found)


def _of_row(row: Mapping[str, Any]) -> Problem:
    """The problem of one row of the catalogue; whole numbers may be written as 9.0, as tables of other programs have them."""
    whole: dict[str, Any] = {key: int(each) if isinstance(each, float) and each.is_integer() else each for key, each in row.items()}
    row = whole
    op = {"global_avg_pool": "avg_pool2d", "global_max_pool": "max_pool2d"}.get(row["op"], row["op"])
    stride, dilation = ((row.get(f"{letter}h", 1), row.get(f"{letter}w", 1)) for letter in "sd")
    padding = tuple((row.get(f"p{axis}", 0), row.get(f"p{axis}_end", row.get(f"p{axis}", 0))) for axis in "hw")
    window = row["n"], row["c_in"], (row["h"], row["w"]), (row["kh"], row["kw"]), stride, padding, dilation, row.get("dtype", "float32")
    more: dict[str, Any] = {key: row[key] for key in ("c_out", "groups") if key in row} | {"bias": bool(row.get("bias"))}
    if re.fullmatch("(max|avg)_pool[12]d", op):
        return Pool(op, *window)
    if re.fullmatch("conv[12]d", op):
        return Conv(op, *window, **more)
    if re.fullmatch("conv_transpose[12]d", op):
        return ConvTranspose(op, *window, **more, output_padding=(0, 0))
    raise ProblemError(f"operation {shown(op)} does not exist")


def from_onnx(
    path: str | Path, inputs: Mapping[str, Sequence[int]] | None = None, left_out: list[LeftOut] | None = None
) -> list[Layer]:
    """The convolutions, pools and products by constant matrices of an ONNX model, the last as 1x1 convolutions of one position.

    inputs: shapes by name, for inputs with free axes; a free batch axis is 1 without. left_out: a list that takes what is no layer here, a
    node each with its reason; without one, the first such node is an error. Raises ImportError without the package onnx, and ProblemError.
    """
    onnx = onnx_package()
    try:
        model = onnx.load(str(path), load_external_data=False)
        if model.functions:  # a call of one hides the layers in it
            model = importlib.import_module("onnx.inliner").inline_local_functions(model)  # no part of what `import onnx` brings
        known_to = {each.domain for each in model.opset_import}  # what is used but not imported would end the inference for all
        for domain in {node.domain for node in model.graph.node} - known_to - {"ai.onnx"}:
            model.opset_import.append(onnx.helper.make_opsetid(domain, 1))
        graph = onnx.shape_inference.infer_shapes(_fixed(model, dict(inputs or {})), data_prop=True).graph
        numbers = _numbers(graph)
    except (OSError, ProblemError):
        raise
    except Exception as error:  # what protobuf and shape inference raise for damaged files has no common class
        raise ProblemError(f"{path} cannot be read as an ONNX model: {error}") from error
    values = [*graph.input, *graph.value_info, *graph.output]
    constants = {value.name: tuple(value.dims) for value in graph.initializer}
    constants |= {value.values.name: tuple(value.dims) for value in graph.sparse_initializer}
    shapes = {value.name: _shape(value) for value in values} | constants
    producers = {name: node for node in graph.node for name in node.output}
    kinds = {value.name: value.type.tensor_type.elem_type for value in values}
    readers = collections.defaultdict(list, {value.name: [None] for value in graph.output})  # whoever calls the model reads outputs
    for node in graph.node:
        for name in node.input:
            readers[name].append(node)
    found, others = [], list(_others(graph, ""))
    for node in graph.node:
        linear = node.op_type in _PRODUCTS and len(node.input) > 1 and len(constants.get(node.input[1], ())) == 2
        if node.domain not in ("", "ai.onnx") or not (linear or node.op_type in _OPERATORS):
            continue
        called = _called(node)
        try:
            dtype = np.dtype({10: "float16", 11: "float64"}.get(kinds.get(node.input[0], 1), "float32"))
            known = [shapes.get(name) for name in node.input]
            if unknown := [name for shape, name in zip(known, node.input) if name and shape is None]:
                raise ProblemError(_unknown(unknown[0], producers, shapes))
            read = _read(node, known, dtype, {})
            problem = _linear(read) if linear else window_request(read).problem
            if linear or "Conv" in node.op_type:
                problem = _with_epilogue(problem, node, readers, numbers)
            found.append((called, problem))
        except (ProblemError, TypeError, ValueError, KeyError, IndexError) as error:
            others.append(LeftOut(called, node.op_type, f"has no {error}" if isinstance(error, KeyError) else str(error)))
    if left_out is None and others:
        raise ProblemError(f"{path}: node {others[0].name}: {others[0].reason}")
    (left_out if left_out is not None else []).extend(others)
    return merged(found)


def _called(node: Any) -> str:
    return str(node.name or next((name for name in node.output if name), node.op_type))


def _others(graph: Any, inside: str) -> Iterator[LeftOut]:
    """Nodes that convolve or pool but are none of this library's operators, and all that lie in graphs inside nodes."""
    for node in graph.node:
        own = node.op_type in _OPERATORS and node.domain in ("", "ai.onnx")
        if inside and (own or "Conv" in node.op_type or "Pool" in node.op_type or node.op_type in _PRODUCTS):
            yield LeftOut(_called(node), node.op_type, f"it lies inside {inside}, which decides while it runs how often it is called")
        elif not own and ("Conv" in node.op_type or "Pool" in node.op_type):
            yield LeftOut(_called(node), node.op_type, _foreign(node))
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _others(inner, f"{node.op_type} {_called(node)}")


def _foreign(node: Any) -> str:
    """Why an operator that convolves or pools is no layer here."""
    if node.op_type.startswith("QLinear") or node.op_type.endswith("Integer"):
        return "it computes with integers; this library computes in float32 and float64"
    if node.domain not in ("", "ai.onnx"):
        return f"it is an operator of {node.domain}; export the model before another runtime optimises it"
    return "the library has no such operation"


def _unknown(name: str, producers: Mapping[str, Any], shapes: Mapping[str, Shape | None]) -> str:
    """Why a value's shape is not known: an input with free axes, for which a hint helps, or what the operator before it does."""
    while name in producers:
        node = producers[name]
        before = [each for each in node.input if each and shapes.get(each) is None]
        if not before:
            of = f" of {node.domain}" if node.domain else ""
            return f"its shape is not known after {_called(node)}, an operator {node.op_type}{of}"
        name = before[0]
    return f"its shape depends on the input's; give the input's, e.g. --input {name}=1x1x96x1366"


def _linear(node: Node) -> Problem:
    """A product of rows by a constant matrix: one position a row, so that memory is read as it lies."""
    rows, matrix, *bias = (each for each in node.inputs if each)
    if node.attributes.get("transA") or any(node.attributes.get(name, 1.0) != 1.0 for name in ("alpha", "beta")):
        raise ProblemError("products here take x as it is, alpha 1 and beta 1")
    c_out, c_in = matrix.lengths if node.attributes.get("transB") else matrix.lengths[::-1]
    shapes = (c_out, c_in, 1), *((c_out,) for _ in bias)
    operands = tuple(np.broadcast_to(np.zeros((), rows.kind), shape) for shape in shapes)
    return request_of("conv1d", (math.prod(rows.lengths[:-1]), c_in, 1), rows.kind, operands, {}).problem


def _fixed(model: Any, inputs: dict[str, Sequence[int]]) -> Any:
    """The model with the shapes of its inputs filled in."""
    weights = {value.name for value in model.graph.initializer}
    given = {value.name: value for value in model.graph.input if value.name not in weights}
    if unknown := set(inputs) - set(given):
        raise ProblemError(f"the model has no input {min(unknown)!r}; it has {', '.join(given)}")
    for value in [*model.graph.input, *model.graph.value_info, *model.graph.output]:
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_value < 0:  # how some exporters write a free axis
                axis.ClearField("dim_value")
    for name, value in given.items():
        shape = value.type.tensor_type.shape
        if name in inputs:
            while len(shape.dim) < len(inputs[name]):
                shape.dim.add()
            if len(shape.dim) != len(inputs[name]):
                raise ProblemError(f"input {name!r} has {len(shape.dim)} axes, {len(inputs[name])} were given")
            for axis, length in zip(shape.dim, inputs[name]):
                axis.dim_value = length
        elif shape.dim and not shape.dim[0].HasField("dim_value"):
            shape.dim[0].dim_value = 1
    return model


def _shape(value: Any) -> Shape | None:
    """The shape of a value, None where an axis is free."""
    kind = value.type.tensor_type
    known = kind.HasField("shape") and all(axis.HasField("dim_value") for axis in kind.shape.dim)
    return tuple(axis.dim_value for axis in kind.shape.dim) if known else None


def _read(node: Any, shapes: list[Shape | None], dtype: np.dtype, numbers: Mapping[str, np.ndarray]) -> Node:
    """A node of the file as one of a graph whose shapes are known. numbers: what constants hold, of those that are asked for it."""
    inputs = [Value(name, shape, dtype, numbers.get(name)) if name else None for name, shape in zip(node.input, shapes)]
    attributes = {each.name: attribute_of(each) for each in node.attribute}
    return Node(node.op_type, inputs, [Value(name) for name in node.output if name], attributes, _called(node))


def _numbers(graph: Any) -> dict[str, np.ndarray]:
    """Constants of one number, as limits are."""
    made = {node.output[0]: each.t for node in graph.node if node.op_type == "Constant" for each in node.attribute if each.name == "value"}
    tensors = {each.name: each for each in graph.initializer} | made
    return {name: array_of(each) for name, each in tensors.items() if math.prod(each.dims) == 1 and not each.external_data}


def _with_epilogue(problem: Problem, node: Any, readers: Mapping[str, list[Any]], numbers: Mapping[str, np.ndarray]) -> Problem:
    """The problem with the batch normalisation and the activation that alone read it, one after the other."""
    assert isinstance(problem, Conv)
    follow = readers[node.output[0]]
    if len(follow) == 1 and follow[0] is not None and follow[0].op_type == "BatchNormalization":
        problem, follow = dataclasses.replace(problem, scale=True), readers[follow[0].output[0]]
    if len(follow) != 1 or follow[0] is None:
        return problem
    found = activation(_read(follow[0], [None] * len(follow[0].input), np.dtype(problem.dtype), numbers))
    return dataclasses.replace(problem, activation=found) if found else problem
