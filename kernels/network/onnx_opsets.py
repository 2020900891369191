"""Older forms of ONNX's operators become the newest: attributes that are inputs by now, operators that have another name.

https://github.com/onnx/onnx/blob/main/docs/Changelog.md lists what changed with which opset.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kernels.network.graph import Graph, Value
from kernels.network.operators.shaping import text
from kernels.problem.errors import ProblemError

Inputs = list[Value | None]
Attributes = dict[str, Any]
Upgraded = tuple[str, Inputs, Attributes]


def _to_inputs(graph: Graph, inputs: Inputs, attributes: Attributes, names: dict[str, int], dtype: Any) -> None:
    """Move attributes to the inputs of these places."""
    for name, at in names.items():
        if name in attributes:
            inputs += [None] * (at + 1 - len(inputs))
            inputs[at] = graph.constant(np.asarray(attributes.pop(name)), dtype)


def _axes(graph: Graph, op: str, opset: int, inputs: Inputs, attributes: Attributes) -> Upgraded:
    _to_inputs(graph, inputs, attributes, {"axes": 1}, np.int64)
    return op, inputs, attributes


def _slice(graph: Graph, op: str, opset: int, inputs: Inputs, attributes: Attributes) -> Upgraded:
    _to_inputs(graph, inputs, attributes, {"starts": 1, "ends": 2, "axes": 3}, np.int64)
    return op, inputs, attributes


def _pad(graph: Graph, op: str, opset: int, inputs: Inputs, attributes: Attributes) -> Upgraded:
    attributes.setdefault("pads", attributes.pop("paddings", [])) if opset < 2 else None
    if opset < 11:
        _to_inputs(graph, inputs, attributes, {"pads": 1}, np.int64)
        _to_inputs(graph, inputs, attributes, {"value": 2}, inputs[0].dtype if inputs[0] is not None else None)
    return op, inputs, attributes


def _clip(graph: Graph, op: str, opset: int, inputs: Inputs, attributes: Attributes) -> Upgraded:
    _to_inputs(graph, inputs, attributes, {"min": 1, "max": 2}, np.float32)
    return op, inputs, attributes


def _split(graph: Graph, op: str, opset: int, inputs: Inputs, attributes: Attributes) -> Upgraded:
    _to_inputs(graph, inputs, attributes, {"split": 1}, np.int64)
    return op, inputs, attributes


def _top(graph: Graph, op: str, opset: int, inputs: Inputs, attributes: Attributes) -> Upgraded:
    if "k" in attributes:
        attributes["k"] = [attributes["k"]]
    _to_inputs(graph, inputs, attributes, {"k": 1}, np.int64)
    return op, inputs, attributes


def _softmax(graph: Graph, op: str, opset: int, inputs: Inputs, attributes: Attributes) -> Upgraded:
    """Before opset 13 everything from the axis on is one row."""
    if opset < 13:
        attributes = {"axis": attributes.get("axis", 1), "flattened": 1}
    return op, inputs, attributes


def _resize(graph: Graph, op: str, opset: int, inputs: Inputs, attributes: Attributes) -> Upgraded:
    if opset < 11:  # (x, scales), by positions i / scale, the input before
        _to_inputs(graph, inputs, attributes, {"scales": 1}, np.float32)
        inputs = [inputs[0], None, inputs[1]]
        mode = text(attributes.get("mode", "nearest"))
        mode = "linear" if mode in ("bilinear", "trilinear") else mode  # which its text includes
        attributes = {"mode": mode, "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return "Resize", inputs, attributes


def _dropout(graph: Graph, op: str, opset: int, inputs: Inputs, attributes: Attributes) -> Upgraded:
    training = inputs[2] if len(inputs) > 2 else None
    if training is not None and (training.data is None or bool(training.data)):
        raise ProblemError("Dropout in training mode draws random numbers; export the model for inference")
    return op, inputs[:1], {}


def _batch_norm(graph: Graph, op: str, opset: int, inputs: Inputs, attributes: Attributes) -> Upgraded:
    if attributes.get("training_mode"):
        raise ProblemError("BatchNormalization in training mode computes its own statistics; export the model for inference")
    return op, inputs, attributes


_UPGRADES: dict[str, Callable[[Graph, str, int, Inputs, Attributes], Upgraded]] = {
    "Squeeze": _axes, "Unsqueeze": _axes, "Slice": _slice, "Pad": _pad, "Clip": _clip, "Split": _split, "TopK": _top, "Softmax": _softmax,
    "LogSoftmax": _softmax, "Hardmax": _softmax, "Resize": _resize, "Upsample": _resize, "Dropout": _dropout,
    "BatchNormalization": _batch_norm,
    **dict.fromkeys(("ReduceMax", "ReduceMin", "ReduceSum", "ReduceMean", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare",
                     "ReduceLogSum", "ReduceLogSumExp"), _axes),
}  # fmt: skip


def upgraded(graph: Graph, op: str, opset: int, inputs: Inputs, attributes: Attributes) -> Upgraded:
    """The node in the newest form; constants that it needs are made in `graph`. Raises ProblemError for what is not inference."""
    upgrade = _UPGRADES.get(op)
    return upgrade(graph, op, opset, list(inputs), dict(attributes)) if upgrade else (op, inputs, attributes)
