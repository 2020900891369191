"""An ONNX model becomes a graph."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from kernels.network.graph import Graph, Value
from kernels.network.onnx_messages import array_of, attribute_of, dtype_of, loaded, messages, onnx_package
from kernels.network.onnx_opsets import upgraded
from kernels.network.operators.registry import OPERATORS, Naming
from kernels.network.outside import Outside
from kernels.network.source import Source
from kernels.problem.errors import ProblemError
from kernels.runtime.constants import hold

DOMAINS = {"", "ai.onnx", "com.microsoft"}
_DTYPES = ("to", "dtype", "output_datatype", "output_dtype")  # attributes that name a type by its number


def opened(model: Any) -> Source:
    """The model behind a path, bytes or a ModelProto, its local functions inlined. Raises ProblemError for what is no model."""
    kind, given = messages().ModelProto, model
    try:
        if isinstance(model, str | Path):
            model = loaded(Path(model))
        elif isinstance(model, bytes | bytearray | memoryview):
            model = kind.FromString(bytes(model))
        elif not isinstance(model, kind):
            raise ProblemError(f"load: model is a {type(model).__name__}, must be a path, bytes or an onnx.ModelProto")
        if model.functions:
            model = importlib.import_module("onnx.inliner").inline_local_functions(model)
        if not model.graph.node and not model.graph.output:
            raise ProblemError("load: the model has no nodes; is it an ONNX model?")
        return Source(model) if model is given else Source.emptied(model)
    except (OSError, ProblemError):
        raise
    except Exception as error:  # what protobuf raises for damaged files has no common class
        raise ProblemError(f"load: {str(model)[:200] if isinstance(model, str | Path) else 'model'} is no ONNX model: {error}") from error


def _defined_once(proto: Any) -> None:
    """Raise ProblemError for a name that stands for two values: whoever reads it may mean either."""
    defined = {each.name for each in (*proto.initializer, *proto.input)}
    for name in (name for node in proto.node for name in node.output if name):
        if name in defined:
            raise ProblemError(f"load: there are two values {name!r}; give each value a name of its own")
        defined.add(name)


def _alike(one: np.ndarray, other: Any) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()  # also where both are NaN


def _length(axis: Any) -> int | str | None:
    """The length of an axis, or the name of a free one; some exporters write a free one as -1."""
    return axis.dim_value if axis.HasField("dim_value") and axis.dim_value >= 0 else axis.dim_param or None


def _label(node: Any) -> str:
    """What errors call a node."""
    return str(node.name or next(iter(node.output), "") or node.op_type)


class Reader:
    """Reads one model; `computed` is the dtype that its float32 and float16 numbers become."""

    def __init__(self, source: Source, computed: np.dtype) -> None:
        self.source, self.computed, self.opset = source, computed, 0
        self.opsets, self.ir_version = list[Any](), 0

    def dtype(self, number: int) -> np.dtype:
        """The dtype that a type's number becomes. Raises ProblemError where there is no such type."""
        if number in (0, None):
            return self.computed
        try:
            found = dtype_of(number)
        except KeyError:
            raise ProblemError(f"load: ONNX has no type of the number {number}") from None
        return self.computed if found in (np.float32, np.float16) else found

    def array(self, tensor: Any) -> np.ndarray:
        """The numbers of a tensor, in the dtype that is computed. Raises ProblemError for what does not hold them."""
        try:
            found = self.source.array(tensor)
            if found is None and tensor.data_location == tensor.EXTERNAL:
                raise ProblemError(f"load: the numbers of {tensor.name!r} lie in another file; give the model's path, which says where")
            if found is None:
                found = array_of(tensor)
        except ProblemError:
            raise
        except Exception as error:  # onnx raises what its parts raise
            raise ProblemError(f"load: the numbers of {tensor.name!r} cannot be read: {error}") from error
        return hold(found.astype(self.dtype(tensor.data_type), copy=False))

    def read(self) -> Graph:
        """The graph of the whole model. What no operator is known for is read all the same."""
        model = self.source.proto
        domains = {each.domain: each.version for each in model.opset_import}
        self.opset = max(domains.get("", 0), domains.get("ai.onnx", 0)) or 1
        self.opsets, self.ir_version = list(model.opset_import), model.ir_version
        importlib.import_module("kernels.network.operators")  # registers them
        graph = self._graph(model.graph, {})
        if self.computed == np.float32:
            half = messages().TensorProto.FLOAT16
            graph.halves = {each.name for each in model.graph.output if each.type.tensor_type.elem_type == half}
        return graph

    def _graph(self, proto: Any, around: dict[str, Value]) -> Graph:
        graph, known = Graph(), dict(around)
        initial: dict[str, Any] = {}
        for each in proto.initializer:
            known[each.name] = graph.constant(self.array(each))
            other = initial.setdefault(each.name, each)  # some exporters write the same one twice, perhaps in another form
            if other is not each and other != each and not _alike(self.array(other), known[each.name].data):
                raise ProblemError(f"load: there are two initialisers {each.name!r} of other values; give each a name of its own")
        for sparse in proto.sparse_initializer:
            raise ProblemError(f"load: {sparse.values.name!r} is sparse, which is not read; store it dense")
        _defined_once(proto)
        for each in proto.input:
            if each.name not in initial:
                tensor = each.type.tensor_type
                lengths = [_length(axis) for axis in tensor.shape.dim]
                shape = lengths if tensor.HasField("shape") else None
                known[each.name] = graph.input(each.name, shape, self.dtype(tensor.elem_type))
        for node in proto.node:
            self._node(graph, node, known)
        for each in proto.output:
            if each.name not in known:
                raise ProblemError(f"load: output {each.name!r} is computed by no node")
            graph.output(each.name, known[each.name])
        return graph

    def _attributes(self, node: Any, known: dict[str, Value]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for each in node.attribute:
            if not isinstance(each.name, str):  # bytes that are no text
                raise ProblemError(f"an attribute has no readable name: {each.name!r}")
            value = attribute_of(each)
            if value == b"" and each.name != "value_string":  # a word that is left empty is not given
                continue
            if each.type == each.GRAPH:
                if node.op_type != "If":  # a body that only onnxruntime runs
                    continue
                value = self._graph(value, known)
            elif each.type == each.TENSOR:
                value = self.array(value)
            elif each.name in _DTYPES and isinstance(value, int):
                value = self.dtype(value)
            elif isinstance(value, Iterable) and not isinstance(value, str | bytes):
                value = list(value)
            found[each.name] = value
        return found

    def _node(self, graph: Graph, node: Any, known: dict[str, Value]) -> None:
        if garbled := [name for name in (node.name, node.op_type, node.domain, *node.input, *node.output) if not isinstance(name, str)]:
            raise ProblemError(f"load: node {_label(node)!r} has a name that is no text: {garbled[0]!r}")
        if missing := [name for name in node.input if name and name not in known]:
            raise ProblemError(f"load: node {_label(node)!r} reads {missing[0]!r}, which nothing before it computes")
        inputs: list[Value | None] = [known[name] if name else None for name in node.input]
        op = node.op_type if node.domain in DOMAINS else f"{node.domain}.{node.op_type}"
        with Naming(op, _label(node)):
            attributes = self._attributes(node, known)
            if op == "Constant":
                known |= dict.fromkeys(node.output[:1], self._constant(graph, attributes))
                return
            op, inputs, attributes = upgraded(graph, op, self.opset, inputs, attributes)
        while inputs and inputs[-1] is None:
            inputs.pop()
        names = list(node.output)
        while len(names) > 1 and not names[-1]:
            names.pop()
        if op not in OPERATORS:
            seen = [name for name in _seen_inside(node) if name in known]
            attributes = {**attributes, "onnx": Outside(node, [*node.input[: len(inputs)], *seen], self.opsets, self.ir_version)}
            inputs += [known[name] for name in seen]
        values = graph.append(op, inputs, attributes, len(names), node.name)
        for name, value in zip(names, values):
            if name:
                value.name = name
                known[name] = value

    def _constant(self, graph: Graph, attributes: dict[str, Any]) -> Value:
        (key, value), *_ = attributes.items()
        dtypes = {"value_float": self.computed, "value_floats": self.computed, "value_int": np.int64, "value_ints": np.int64}
        if key not in ("value", *dtypes):
            raise ProblemError(f"load: a constant is given by {key}, which is not read")
        return graph.constant(value, dtypes.get(key))


def _seen_inside(node: Any) -> list[str]:
    """Names that the bodies of a node read and do not make themselves, as those of Loop and Scan may."""
    found: dict[str, None] = {}
    for graph in [each.g for each in node.attribute if each.type == each.GRAPH]:
        made = {each.name for each in (*graph.input, *graph.initializer)}
        for inner in graph.node:
            found |= dict.fromkeys(name for name in (*inner.input, *_seen_inside(inner)) if name and name not in made)
            made.update(inner.output)
        found |= dict.fromkeys(each.name for each in graph.output if each.name not in made)
    return list(found)


def read_onnx(model: Any, dtype: Any = "float32") -> Graph:
    """The graph of an ONNX model: a path, bytes, a ModelProto or what was opened. Its float32 and float16 numbers become `dtype`."""
    return Reader(model if isinstance(model, Source) else opened(model), np.dtype(dtype)).read()


def misfit(model: Any) -> str:
    """A node of a ModelProto that ONNX's own checker finds not valid, and why; "" where it finds none. Only nodes are looked at: graphs
    whose outputs say no type run everywhere."""
    checker = onnx_package().checker
    context = checker.C.CheckerContext()
    context.ir_version, context.opset_imports = model.ir_version, {each.domain: each.version for each in model.opset_import}
    nodes = list(model.graph.node)
    while nodes:
        node = nodes.pop()
        if node.domain not in ("", "ai.onnx"):  # of others the checker knows nothing
            continue
        if inner := [each.g for each in node.attribute if each.type == each.GRAPH]:
            nodes += [each for graph in inner for each in graph.node]
            continue
        try:
            checker.check_node(node, context)
        except Exception as error:  # protobuf and the checker have no error in common
            return f"{node.op_type} {_label(node)!r}: {error}"
    return ""
