"""Gradients of a layer in float64, by sums that the library does not take.

The gradient of the input is the transposed convolution of the output's gradient, that of a transposed layer the convolution. The gradient
of the weights is summed tap by tap: what every output position has, times the input that it saw under the tap.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.inputs.tensors import Tensors
from benchmarks.workloads.layer import Workload
from benchmarks.workloads.training_passes import STEP, WEIGHT, Training

Doubles = npt.NDArray[np.float64]


def answer(workload: Training, given: Tensors, forward: Any) -> Doubles:
    """What the pass computes; `forward(workload, given)` is the answer of a plain layer."""
    if workload.part == WEIGHT:
        return of_weight(workload, given).reshape(workload.out_shape)
    if workload.part != STEP:
        return of_input(workload, given, forward).reshape(workload.out_shape)
    assert given.grad is not None
    found = [forward(plain(workload), given), of_input(workload, given, forward), of_weight(workload, given)]
    if workload.bias:
        found.append(given.grad.astype(np.float64).sum(axis=(0, *range(2, given.grad.ndim))))
    return np.concatenate([part.ravel() for part in found])


def plain(workload: Training) -> Workload:
    """The layer."""
    return Workload(**{field.name: getattr(workload, field.name) for field in fields(Workload)})


def of_input(workload: Training, given: Tensors, forward: Any) -> Doubles:
    """As a layer of the other kind, whose input is the gradient of the output."""
    assert given.grad is not None
    layer = plain(workload)
    grad = given.grad.reshape(layer.n, layer.c_out, layer.oh, layer.ow)
    sizes, outs = (layer.h, layer.w), (layer.oh, layer.ow)
    kernel, axes = (layer.kh, layer.kw), range(2)
    if layer.is_transposed:
        # what no window reaches, as beyond an output padding, is left out
        ends = [max(0, -after) for _, after in layer.padding]
        grad = grad[:, :, : layer.oh - ends[0], : layer.ow - ends[1]]
        padding = tuple((before, max(0, after)) for before, after in layer.padding)
        op = "conv2d"
    else:
        spans = [(outs[i] - 1) * layer.stride[i] + layer.dilation[i] * (kernel[i] - 1) + 1 for i in axes]
        padding = tuple((layer.padding[i][0], spans[i] - layer.padding[i][0] - sizes[i]) for i in axes)
        op = "conv_transpose2d"
    other = replace(
        layer, op=op, c_in=layer.c_out, c_out=layer.c_in, h=grad.shape[2], w=grad.shape[3], padding=padding, bias=False, input=None,
        ceil_mode=False,
    )  # fmt: skip
    found: Doubles = forward(other, Tensors(grad, given.weight, None))
    # windows that end before the input does leave zeros
    whole = np.zeros((layer.n, layer.c_in, *sizes))
    found = found.reshape(layer.n, layer.c_in, *found.shape[-2:])[:, :, : sizes[0], : sizes[1]]
    whole[:, :, : found.shape[2], : found.shape[3]] = found
    return whole


def of_weight(workload: Training, given: Tensors) -> Doubles:
    """Tap by tap, in the order of the layer's own weights."""
    assert given.grad is not None
    layer = plain(workload)
    x = given.x.astype(np.float64).reshape(layer.n, layer.c_in, layer.h, layer.w)
    grad = given.grad.astype(np.float64).reshape(layer.n, layer.c_out, layer.oh, layer.ow)
    sliding, fixed = (grad, x) if layer.is_transposed else (x, grad)
    (sh, sw), (dh, dw), (oh, ow) = layer.stride, layer.dilation, fixed.shape[2:]
    around = [(max(0, before), max(0, after)) for before, after in layer.padding]
    sliding = np.pad(sliding, ((0, 0), (0, 0), *around))
    groups, outs, ins = layer.groups, fixed.shape[1] // layer.groups, sliding.shape[1] // layer.groups
    rows = fixed.reshape(layer.n, groups, outs, oh * ow).transpose(1, 2, 0, 3).reshape(groups, outs, -1)
    found = np.empty((groups, outs, ins, layer.kh, layer.kw))
    for a, b in np.ndindex(layer.kh, layer.kw):
        seen = sliding[:, :, a * dh : a * dh + (oh - 1) * sh + 1 : sh, b * dw : b * dw + (ow - 1) * sw + 1 : sw]
        columns = seen.reshape(layer.n, groups, ins, oh * ow).transpose(1, 0, 3, 2).reshape(groups, -1, ins)
        found[..., a, b] = rows @ columns
    return found
