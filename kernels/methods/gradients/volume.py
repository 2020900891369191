"""Weights' gradients over three axes: every tap of the kernel's depth is a two-dimensional gradient over all planes of all images.

Under one tap of the depth each plane of the output meets one plane of the input, so planes become images: those of the gradient are laid
out once, those of the input once a tap, zeros where the tap meets padding. It loses to nothing else here but the reference, whose products
wait for copies of every tap of all three axes. Reference: as for unfolding, K. Chellapilla, S. Puri, P. Simard, IWFHR 2006.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from kernels.methods import registry
from kernels.methods.contract import Implementation
from kernels.methods.gradients.depthwise import DEPTHWISE
from kernels.methods.gradients.direct import DIRECT
from kernels.methods.gradients.dots import DOTS
from kernels.methods.gradients.reference import met
from kernels.methods.gradients.winograd import WINOGRAD
from kernels.primitives.prepared import Prepared, Run
from kernels.problem.conv import ConvWeight
from kernels.problem.operands import Operands
from kernels.runtime.scratch import Scratch

Array = np.ndarray


def flat(problem: ConvWeight) -> ConvWeight:
    """The gradient of one tap of the depth."""
    return dataclasses.replace(
        problem, op="conv2d_weight", n=problem.n * problem.conv_size[0], size=problem.size[1:], kernel=problem.kernel[1:],
        stride=problem.stride[1:], padding=problem.padding[1:], dilation=problem.dilation[1:],
    )  # fmt: skip


def lowered(method: Implementation) -> Implementation:
    """The method for three axes."""

    def prepare(problem: ConvWeight, threads: int) -> Prepared:
        plane, deep = flat(problem), problem.conv_size[0]
        prepared = method.prepare(plane, threads)
        read, weighed, made = (math.prod(shape) for shape in (plane.x_shape, plane.conv_shape, plane.out_shape))
        scratch = Scratch((read + weighed + made) * problem.itemsize)
        taps = [met(problem, 0, tap) for tap in range(problem.kernel[0])]

        def pack(operands: Operands) -> Run:
            grad = operands.weight
            assert grad is not None

            def run(x: Array, out: Array) -> None:
                buffer = scratch.take()
                memory = buffer.view(problem.dtype)
                planes = memory[:read].reshape(problem.n, deep, *plane.x_shape[1:])
                grads = memory[read : read + weighed].reshape(problem.n, deep, *plane.conv_shape[1:])
                result = memory[read + weighed :].reshape(plane.out_shape)
                grads[...] = grad.swapaxes(1, 2)
                convolve = prepared.pack(Operands(grads.reshape(plane.conv_shape)))
                for tap, (seen, used) in enumerate(taps):
                    planes[:, : used.start] = 0
                    planes[:, used.stop :] = 0
                    planes[:, used] = x[:, :, seen].swapaxes(1, 2)
                    convolve(planes.reshape(plane.x_shape), result)
                    out[:, :, tap] = result
                scratch.give(buffer)

            return run

        return Prepared(pack, prepared.workspace_bytes + scratch.nbytes, f"{problem.kernel[0]} taps of the depth: {plane} {prepared.note}")

    return Implementation(
        method.name, "conv_weight3d", lambda problem: method.refuse(flat(problem)), prepare,
        lambda problem: method.error_bound(flat(problem)), sub_problems=lambda problem: ((flat(problem), problem.kernel[0]),),
        local=method.local,
    )  # fmt: skip


for _method in (DIRECT, WINOGRAD, DEPTHWISE, DOTS):
    registry.add(lowered(_method))
