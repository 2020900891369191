"""A workload as an ONNX model of one node, weights constant: what ONNX Runtime and OpenVINO load."""

from __future__ import annotations

from typing import Any

from benchmarks.tensors import Tensors
from benchmarks.workloads import Workload

OPS = {
    "conv1d": "Conv", "conv2d": "Conv", "conv_transpose1d": "ConvTranspose", "conv_transpose2d": "ConvTranspose",
    "max_pool1d": "MaxPool", "max_pool2d": "MaxPool", "avg_pool1d": "AveragePool", "avg_pool2d": "AveragePool",
    "global_avg_pool": "GlobalAveragePool", "global_max_pool": "GlobalMaxPool",
}  # fmt: skip
OPSET, IR_VERSION = 17, 9  # old enough for every runtime of the last years; nothing here changed since


def refuse(workload: Workload) -> str | None:
    """None, or why no node says this workload."""
    if workload.op not in OPS:
        return f"the suite has no ONNX node for {workload.op}"
    if workload.op.startswith("avg") and max(workload.dilation) > 1:
        return f"AveragePool has no dilation in opset {OPSET}"
    return None


def model(workload: Workload, given: Tensors) -> bytes:
    """The serialised model: input "x", output "y"."""
    from onnx import TensorProto, helper, numpy_helper

    dims = workload.dims
    attributes: dict[str, Any] = {}
    if not workload.is_global:
        attributes = {
            "kernel_shape": (workload.kh, workload.kw)[-dims:], "strides": workload.stride[-dims:],
            "pads": [pad[0] for pad in workload.padding[-dims:]] + [max(pad[1], 0) for pad in workload.padding[-dims:]],
        }  # fmt: skip
        if not workload.op.startswith("avg"):
            attributes["dilations"] = workload.dilation[-dims:]
    if workload.is_conv:
        attributes["group"] = workload.groups
    elif workload.ceil_mode:
        attributes["ceil_mode"] = 1
    if workload.is_transposed:
        attributes["output_padding"] = workload.output_padding[-dims:]
    if workload.op.startswith("avg"):
        attributes["count_include_pad"] = int(workload.count_include_pad)
    constants = {name: array for name, array in (("weight", given.weight), ("bias", given.bias)) if array is not None}
    node = helper.make_node(OPS[workload.op], ["x", *constants], ["y"], **attributes)
    graph = helper.make_graph(
        [node], "layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, workload.x_shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, workload.out_shape)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    return bytes(made.SerializeToString())
