"""The arrays of a workload: input from the clip for first layers, seeded normal values for inner ones, weights and bias.

The same workload, seed and clip always give the same arrays, in every process and for every contender.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from math import prod, sqrt

import numpy as np

from benchmarks.inputs.clip import Clip
from benchmarks.inputs.frontends import first_layer
from benchmarks.workloads.layer import Floats, Workload
from benchmarks.workloads.training_passes import Training

FADED = np.float32(2.0**-135)  # takes numbers near 1 to some 2e-41, where float32 has gone below its smallest normal number, 1.2e-38
ALIGNMENT = 64  # a cache line and an AVX-512 vector; NumPy's own 16 would let luck decide how many loads cross lines


def aligned(shape: tuple[int, ...], fill: float = np.nan) -> Floats:
    """A new float32 array whose first value begins a cache line, its pages touched."""
    count = prod(shape)
    buffer = np.empty(count * 4 + ALIGNMENT, np.uint8)
    start = -buffer.ctypes.data % ALIGNMENT
    array = buffer[start : start + count * 4].view(np.float32).reshape(shape)
    array.fill(fill)
    return array


def aligned_copy(array: Floats) -> Floats:
    """A writable copy on a cache line."""
    copy = aligned(array.shape, 0.0)
    copy[...] = array
    return copy


@dataclass(frozen=True, eq=False)
class Tensors:
    """Input, weight, bias and, of training, the gradient of the output; read-only: a contender that writes its input fails at once."""

    x: Floats
    weight: Floats | None
    bias: Floats | None
    grad: Floats | None = None


def tensors(workload: Workload, clip: Clip) -> Tensors:
    """Weights are scaled by 1/sqrt(K) so that outputs stay near the inputs' size, as trained layers keep them."""
    rng = np.random.default_rng(zlib.crc32(workload.id.encode()))  # crc32, not hash(): that differs between processes
    weight = bias = None
    if workload.weight_shape is not None:
        weight = rng.standard_normal(workload.weight_shape, dtype=np.float32) / np.float32(sqrt(workload.terms))
    if workload.bias:
        bias = rng.standard_normal(workload.c_out, dtype=np.float32)
    x = aligned_copy(first_layer(workload, clip) if workload.input else rng.standard_normal(workload.x_shape, dtype=np.float32))
    if workload.denormals:
        lines = x.reshape(workload.n, workload.c_in, -1)
        lines[:, :, lines.shape[2] // 2 :] *= FADED
    grad = None
    if isinstance(workload, Training):
        grad = aligned_copy(rng.standard_normal(workload.layer_shape, dtype=np.float32))
    for array in (x, weight, bias, grad):
        if array is not None:
            array.flags.writeable = False
    return Tensors(x, weight, bias, grad)
