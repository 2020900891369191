"""A workload as an ONNX model, of one node or a network's, weights constant: what ONNX Runtime and OpenVINO load."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.inputs.tensors import Tensors
from benchmarks.workloads.layer import Floats, Workload
from benchmarks.workloads.networks import Network
from benchmarks.workloads.nodes import BATCH_NORM_EPSILON, Node

OPS = {
    "conv1d": "Conv", "conv2d": "Conv", "conv_transpose1d": "ConvTranspose", "conv_transpose2d": "ConvTranspose",
    "max_pool1d": "MaxPool", "max_pool2d": "MaxPool", "avg_pool1d": "AveragePool", "avg_pool2d": "AveragePool",
    "global_avg_pool": "GlobalAveragePool", "global_max_pool": "GlobalMaxPool", "network": "a graph of these and ELEMENTWISE",
}  # fmt: skip
OPSET, IR_VERSION = 17, 9  # old enough for every runtime of the last years; nothing here changed since


def refuse(workload: Workload) -> str | None:
    """None, or why no node says this workload."""
    if workload.op not in OPS:
        return f"the suite has no ONNX node for {workload.op}"
    if workload.op.startswith("avg") and max(workload.dilation) > 1:
        return f"AveragePool has no dilation in opset {OPSET}"
    return None


ELEMENTWISE = {"relu": "Relu", "elu": "Elu", "sigmoid": "Sigmoid"}


def model(workload: Workload, given: Tensors) -> bytes:
    """The serialised model: input "x", output "y"."""
    from onnx import TensorProto, helper

    graph = Graph()
    if isinstance(workload, Network):
        graph.chain(workload.nodes, "x", "y")
    else:
        graph.layer(workload, [array for array in (given.weight, given.bias) if array is not None], "x", "y")
    proto = helper.make_graph(
        graph.nodes, workload.id,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, workload.x_shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, workload.out_shape)],
        graph.constants,
    )  # fmt: skip
    made = helper.make_model(proto, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    return bytes(made.SerializeToString())


class Graph:
    """The nodes and constants of a model. A batch norm is written as the node of that name: runtimes fold it into the convolution."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(self, kind: str, inputs: Sequence[str | Floats], output: str, **attributes: Any) -> None:
        """A node; arrays among its inputs become constants."""
        from onnx import helper, numpy_helper

        names = []
        for each in inputs:
            if not isinstance(each, str):
                self.constants.append(numpy_helper.from_array(each, f"constant{len(self.constants)}"))
                each = self.constants[-1].name
            names.append(each)
        self.nodes.append(helper.make_node(kind, names, [output], **attributes))

    def layer(self, workload: Workload, arrays: Sequence[Floats], x: str, y: str) -> None:
        """A convolution or pool."""
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
        self.add(OPS[workload.op], [x, *arrays], y, **attributes)

    def chain(self, nodes: Sequence[Node], x: str, y: str) -> None:
        """The nodes one after the other, from the value x to the value y."""
        for i, node in enumerate(nodes):
            to = y if i == len(nodes) - 1 else f"{y}.{i}"
            self.network_node(node, x, to)
            x = to

    def network_node(self, node: Node, x: str, y: str) -> None:
        """One layer of a network."""
        if node.workload:
            self.layer(node.workload, node.arrays, x, y)
        elif node.op == "batch_norm" and node.axis == 1:
            mean, var, gamma, beta = node.arrays
            self.add("BatchNormalization", [x, gamma, beta, mean, var], y, epsilon=BATCH_NORM_EPSILON)
        elif node.op == "batch_norm":
            scale, shift = node.scale_and_shift()
            self.add("Mul", [x, scale], f"{y}.scaled")
            self.add("Add", [f"{y}.scaled", shift], y)
        elif node.op == "linear":
            self.add("Gemm", [x, *node.arrays], y, transB=1)
        elif node.op == "flatten":
            self.add("Flatten", [x], y)
        elif node.branches:
            ends = [f"{y}.branch{b}" for b in range(len(node.branches))]
            for branch, end in zip(node.branches, ends):
                self.chain(branch, x, end)
            self.add("Concat", ends, y, axis=1) if node.op == "concatenate" else self.add("Sum", ends, y)
        else:
            self.add(ELEMENTWISE[node.op], [x], y)
