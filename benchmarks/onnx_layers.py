"""The convolution and pooling nodes of an ONNX model as workloads: shapes by ONNX's own shape inference, equal layers counted.

Free axes (a batch or a length that the file leaves open) are fixed by `--input name=1x1x96x1366`. Weights themselves are not read, only
their shapes, so files with external data need only the model file.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.contenders.ours import problem_text
from benchmarks.own import Own, merged
from benchmarks.workloads import Workload

NODES = ("Conv", "ConvTranspose", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool")
DIMS = (1, 2)  # spatial axes of the suite's layers
Shape = tuple[int, ...]


def read(path: Path, inputs: Sequence[str] = ()) -> Own:
    """The layers of a model; ValueError says what to give where a shape stays open."""
    if not find_spec("onnx"):
        raise ValueError("--onnx needs the onnx package (pip install onnx)")
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(str(path), load_external_data=False)
    except FileNotFoundError:
        raise ValueError(f"--onnx: there is no file {path}") from None
    except DecodeError as error:
        raise ValueError(f"--onnx: {path} is no ONNX model ({error})") from None
    _fix(model.graph, inputs)
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = _shapes(graph)

    found: list[Workload] = []
    notes: list[str] = []
    for number, node in enumerate(graph.node):
        if node.op_type not in NODES:
            continue
        name = node.name or f"{node.op_type}{number}"
        x = shapes.get(node.input[0])
        if x is None:
            raise ValueError(f"--onnx: the shape of {node.input[0]!r}, input of {name}, stays open; {_how(graph)}")
        if len(x) - 2 not in DIMS:
            notes.append(f"{name} is left out: it has {len(x) - 2} spatial axes, layers of the suite have one or two")
            continue
        try:
            layer = _layer(node, x, shapes, f"{path.stem}.{name.strip('/').replace('/', '.')}")
            problem_text(layer)  # the library's own checks of what makes a layer
            if (wanted := shapes.get(node.output[0], layer.out_shape)) not in (layer.out_shape, layer.out_shape[:-1]):
                raise ValueError(f"its output is {wanted} in the model, as a layer of the suite it would be {layer.out_shape}")
            found.append(layer)
        except ValueError as error:
            notes.append(f"{name} is left out: {error}")
    if not found:
        raise ValueError("; ".join([f"--onnx: {path} has no layer to time, that is no {' or '.join(NODES)}", *notes]))
    layers = merged(found)
    return Own(layers, (f"{path.name}: {len(found)} layers, {len(layers)} of them differ", *notes))


def _fix(graph: Any, inputs: Sequence[str]) -> None:
    """Write the user's sizes into the model's inputs."""
    weights = {each.name for each in graph.initializer}
    open_ = {each.name: each for each in graph.input if each.name not in weights}
    for text in inputs:
        name, _, sizes = text.rpartition("=")
        shape = sizes.split("x")
        if not all(size.isdigit() and int(size) for size in shape):
            raise ValueError(f"--input {text!r}: a name and its sizes, e.g. --input x=1x1x96x1366")
        if name not in open_:
            raise ValueError(f"--input {text!r}: the model has no input {name!r}; {_how(graph)}")
        axes = open_[name].type.tensor_type.shape.dim
        if len(axes) not in (0, len(shape)):
            raise ValueError(f"--input {text!r}: {name} has {len(axes)} axes, these are {len(shape)}")
        for axis, size in zip(axes, shape):
            if axis.dim_value not in (0, int(size)):
                raise ValueError(f"--input {text!r}: the model fixes {name} at {_written(open_[name])}")
        del axes[:]
        for size in shape:
            axes.add().dim_value = int(size)
    if inputs:  # shapes that an exporter wrote down with free axes would keep inference from filling them
        del graph.value_info[:]
        for each in graph.output:
            each.type.tensor_type.ClearField("shape")


def _written(value: Any) -> str:
    axes = value.type.tensor_type.shape.dim
    return "x".join(str(axis.dim_value or axis.dim_param or "?") for axis in axes) or "?"


def _how(graph: Any) -> str:
    weights = {each.name for each in graph.initializer}
    given = ", ".join(f"{each.name}={_written(each)}" for each in graph.input if each.name not in weights)
    return f"fix the free axes with --input name=sizes; the model's inputs are {given}"


def _shapes(graph: Any) -> dict[str, Shape]:
    """Every shape that is known in full: of weights, constants and what was inferred."""
    found = {each.name: tuple(each.dims) for each in graph.initializer}
    found |= {each.values.name: tuple(each.dims) for each in graph.sparse_initializer}
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name == "value":
                found[node.output[0]] = tuple(attribute.t.dims)
    for value in (*graph.input, *graph.value_info, *graph.output):
        axes = value.type.tensor_type.shape.dim
        if value.type.tensor_type.HasField("shape") and all(axis.dim_value > 0 for axis in axes):
            found[value.name] = tuple(axis.dim_value for axis in axes)
    return found


def _layer(node: Any, x: Shape, shapes: dict[str, Shape], name: str) -> Workload:
    """One node. 1-D layers get height 1, as everywhere in the suite."""
    from onnx import helper

    given = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    dims, size = len(x) - 2, x[2:]
    common: dict[str, Any] = {
        "id": name, "model": name.partition(".")[0], "layer": name.partition(".")[2], "n": x[0], "c_in": x[1],
        "h": (1, *size)[-2], "w": size[-1], "axes": "",
    }  # fmt: skip
    if node.op_type.startswith("Global"):
        ones: dict[str, Any] = {"stride": (1, 1), "dilation": (1, 1), "padding": ((0, 0), (0, 0)), "groups": 1, "bias": False}
        op = "global_max_pool" if "Max" in node.op_type else "global_avg_pool"
        return Workload(op=op, c_out=x[1], kh=common["h"], kw=common["w"], **common, **ones)
    convolves = node.op_type.startswith("Conv")
    if convolves and node.input[1] not in shapes:
        raise ValueError(f"the shape of its weights, {node.input[1]!r}, is not known")
    weight = shapes[node.input[1]] if convolves else ()
    kernel = tuple(given.get("kernel_shape", weight[2:]))
    stride, dilation = (tuple(given.get(each, (1,) * dims)) for each in ("strides", "dilations"))
    transposed, groups = node.op_type == "ConvTranspose", given.get("group", 1)
    padding = (_crops if transposed else _pads)(given, size, kernel, stride, dilation)
    ops = {"Conv": "conv", "ConvTranspose": "conv_transpose", "MaxPool": "max_pool", "AveragePool": "avg_pool"}
    return Workload(
        op=f"{ops[node.op_type]}{dims}d", c_out=(weight[1] * groups if transposed else weight[0]) if convolves else x[1], groups=groups,
        kh=(1, *kernel)[-2], kw=kernel[-1], stride=_two(stride, 1), padding=_two(padding, (0, 0)), dilation=_two(dilation, 1),
        bias=convolves and len(node.input) > 2 and bool(node.input[2]), ceil_mode=bool(given.get("ceil_mode", 0)),
        count_include_pad=node.op_type != "AveragePool" or bool(given.get("count_include_pad", 0)), **common,
    )  # fmt: skip


def _two(values: tuple[Any, ...], usual: Any) -> tuple[Any, Any]:
    return (usual, *values)[-2], values[-1]


def _auto(given: dict[str, Any]) -> str:
    return given.get("auto_pad", b"NOTSET").decode()


def _split(total: int, auto: str) -> tuple[int, int]:
    """Padding of both sides, the odd one after (SAME_UPPER) or before (SAME_LOWER)."""
    return (total - total // 2, total // 2) if auto == "SAME_LOWER" else (total // 2, total - total // 2)


def _written_pads(given: dict[str, Any], dims: int) -> tuple[tuple[int, int], ...]:
    pads = given.get("pads", (0,) * 2 * dims)
    return tuple(zip(pads[:dims], pads[dims:]))


def _pads(given: dict[str, Any], size: Shape, kernel: Shape, stride: Shape, dilation: Shape) -> tuple[tuple[int, int], ...]:
    """(before, after) of each axis of a convolution or pool."""
    auto = _auto(given)
    if not auto.startswith("SAME"):
        return _written_pads(given, len(size))
    totals = [max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0) for n, k, s, d in zip(size, kernel, stride, dilation)]
    return tuple(_split(total, auto) for total in totals)


def _crops(given: dict[str, Any], size: Shape, kernel: Shape, stride: Shape, dilation: Shape) -> tuple[tuple[int, int], ...]:
    """(before, after) that a transposed convolution crops of its full sum; what output_padding adds is taken off the end."""
    auto, more = _auto(given), given.get("output_padding", (0,) * len(size))
    full = [(n - 1) * s + (k - 1) * d + 1 for n, k, s, d in zip(size, kernel, stride, dilation)]
    if "output_shape" in given or auto.startswith("SAME"):
        wanted = given.get("output_shape", [n * s for n, s in zip(size, stride)])[-len(size) :]
        totals = [whole + extra - out for whole, extra, out in zip(full, more, wanted)]
        odd = auto if auto == "SAME_UPPER" else "SAME_LOWER"  # the specification's choice for all others
        pairs = [_split(total, odd) if total > 0 else (0, total) for total in totals]
    else:
        pairs = list(_written_pads(given, len(size)))
    return tuple((before, after - extra) for (before, after), extra in zip(pairs, more))
