"""ncnn on the CPU: a net of one layer, made of a param text and a file of weights, as its users' converted models are."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contenders.base import Contender, Prepared
from benchmarks.inputs.tensors import Tensors
from benchmarks.workloads.layer import Floats, Workload

LAYERS = {
    "conv1d": "Convolution1D", "conv2d": "Convolution", "conv_transpose1d": "Deconvolution1D", "conv_transpose2d": "Deconvolution",
    "max_pool1d": "Pooling1D", "max_pool2d": "Pooling", "avg_pool1d": "Pooling1D", "avg_pool2d": "Pooling",
    "global_avg_pool": "Pooling", "global_max_pool": "Pooling",
}  # fmt: skip
GROUPED = {
    "conv1d": "ConvolutionDepthWise1D", "conv2d": "ConvolutionDepthWise",
    "conv_transpose1d": "DeconvolutionDepthWise1D", "conv_transpose2d": "DeconvolutionDepthWise",
}  # fmt: skip
MAGIC = 7767517  # begins every param text
FLOAT32 = np.zeros(1, np.int32)  # the tag before weights: stored as they are


class Ncnn(Contender):
    """An extractor over a net of one layer, half precision and bfloat16 off."""

    name = "ncnn"
    modules = ("ncnn",)
    inside_timer = (
        "One extractor made, given the input and asked for the output (it cannot be used twice), an image after the other; packing of "
        "input and output inside. Weights transformed at load; fp16 and bf16 off."
    )

    def available(self) -> str | None:
        return None if find_spec("ncnn") else "ncnn is not installed (pip install ncnn)"

    def version(self) -> str | None:
        return version("ncnn")

    def refuse(self, workload: Workload) -> str | None:
        if workload.op not in LAYERS:
            return f"the suite has no ncnn layer for {workload.op}"
        if not workload.is_conv and max(workload.dilation) > 1:
            return "ncnn's pools have no dilation"
        if workload.ceil_mode:
            return "ncnn counts the windows of ceil_mode as Caffe does, the last may begin in the padding"
        return None

    def prepare(self, workload: Workload, given: Tensors, threads: int) -> Prepared:
        import ncnn

        net = ncnn.Net()
        options = net.opt
        options.num_threads, options.use_vulkan_compute = threads, False
        for name in dir(options):
            if name.startswith(("use_fp16", "use_bf16", "use_int8")):
                setattr(options, name, False)
        with tempfile.TemporaryDirectory() as folder:
            text, weights = Path(folder) / "net.param", Path(folder) / "net.bin"
            text.write_text(param(workload), encoding="ascii")
            weights.write_bytes(b"".join(array.tobytes() for array in _weights(workload, given)))
            if net.load_param(str(text)) or net.load_model(str(weights)):
                raise ValueError("ncnn cannot load the layer")
        images = [ncnn.Mat(np.ascontiguousarray(image)).clone() for image in given.x]  # in its own memory, channels aligned as it likes

        def run() -> list[Any]:
            found = []
            for image in images:
                extractor = net.create_extractor()
                extractor.input("x", image)
                found.append(extractor.extract("y"))
            return found

        def answer(found: list[Any]) -> Floats:
            return np.stack([np.array(mat) for status, mat in found]).reshape(workload.out_shape)

        return Prepared(run=run, answer=answer)


def param(workload: Workload) -> str:
    """The net as text: one input, one layer, blobs x and y."""
    kind = (GROUPED if workload.groups > 1 else LAYERS)[workload.op]
    fields = " ".join(f"{key}={value}" for key, value in sorted(_fields(workload).items()))
    return f"{MAGIC}\n2 2\nInput input 0 1 x\n{kind} layer 1 1 x y {fields}\n"


def _fields(workload: Workload) -> Mapping[int, int]:
    """Parameters by ncnn's numbers: the same for convolutions and transposed ones, others for pools."""
    (top, bottom), (left, right) = workload.padding
    (sh, sw), (dh, dw), two = workload.stride, workload.dilation, workload.dims == 2
    if workload.is_global:
        return {0: 0 if workload.is_max else 1, 4: 1}
    if not workload.is_conv:
        fields = {0: 0 if workload.is_max else 1, 1: workload.kw, 2: sw, 3: left, 14: right, 5: 1, 6: int(workload.count_include_pad)}
        return fields | ({11: workload.kh, 12: sh, 13: top, 14: right, 15: bottom} if two else {})
    weights = workload.c_out * workload.c_in // workload.groups * workload.kh * workload.kw
    fields = {0: workload.c_out, 1: workload.kw, 2: dw, 3: sw, 4: left, 15: max(right, 0), 5: int(workload.bias), 6: weights}
    fields |= {11: workload.kh, 12: dh, 13: sh, 14: top, 16: max(bottom, 0)} if two else {}
    fields |= {7: workload.groups} if workload.groups > 1 else {}
    if workload.is_transposed:
        fields |= {18: workload.output_padding[1]} | ({19: workload.output_padding[0]} if two else {})
    return fields


def _weights(workload: Workload, given: Tensors) -> list[Any]:
    """What the file holds: a tag, the weights with output channels first, the bias."""
    if given.weight is None:
        return []
    weight = given.weight
    if workload.is_transposed:
        groups, rest = workload.groups, weight.shape[1:]
        weight = weight.reshape(groups, workload.c_in // groups, *rest).swapaxes(1, 2)
    arrays = [FLOAT32, np.ascontiguousarray(weight)]
    return arrays if given.bias is None else [*arrays, given.bias]
