"""The gradient of the weights tap by tap, each a product of matrices by NumPy: what anybody would write who has a fast product.

Under one tap every output position meets one input position, so that tap's gradients are the output's gradient (c_out, positions) times a
strided view of the input (positions, c_in). It shares no code with the fast methods and is what measuring checks them by. It loses
wherever there are several taps: the view is copied for each, and short products wait for memory.
Reference: K. Chellapilla, S. Puri, P. Simard, "High performance convolutional neural networks for document processing", IWFHR 2006.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from kernels.cost.calibration import calibration
from kernels.cost.roofline import rate
from kernels.methods import registry
from kernels.methods.contract import Implementation, rounding_bound
from kernels.primitives.prepared import Prepared, Run
from kernels.problem.conv import ConvWeight
from kernels.problem.operands import Operands
from kernels.runtime.blas import bounded

Array = np.ndarray

SPIN = 0.03  # seconds that BLAS threads go on spinning after a product, beside whoever is next
SPINNING = 15e-3  # seconds that this costs whoever comes next


def met(problem: ConvWeight, axis: int, tap: int) -> tuple[slice, slice]:
    """(input positions, output positions) that meet under a tap along one axis; padding meets none."""
    stride, before = problem.stride[axis], problem.padding[axis][0]
    shift = tap * problem.dilation[axis] - before  # input position under output 0
    first = max(0, -(shift // stride))
    last = min(problem.conv_size[axis] - 1, (problem.size[axis] - 1 - shift) // stride)
    count = max(0, last - first + 1)
    start = first * stride + shift if count else 0
    return slice(start, start + (count - 1) * stride + 1 if count else 0, stride), slice(first, first + count)


def prepare(problem: ConvWeight, threads: int) -> Prepared:
    """Which positions meet under each tap."""
    groups, dtype = problem.groups, np.dtype(problem.dtype)
    ins, outs = problem.c_in // groups, problem.c_out // groups
    per_axis = [[met(problem, axis, tap) for tap in range(k)] for axis, k in enumerate(problem.kernel)]

    def pack(operands: Operands) -> Run:
        grad = operands.weight
        assert grad is not None

        @np.errstate(all="ignore")  # NaN and inf are values here, as in compiled loops
        def run(x: Array, out: Array) -> None:
            for tap in itertools.product(*(range(k) for k in problem.kernel)):
                pairs = [per_axis[axis][k] for axis, k in enumerate(tap)]
                whole = slice(None), slice(None)
                seen, weighed = x[(*whole, *(read for read, _ in pairs))], grad[(*whole, *(used for _, used in pairs))]
                place: Any = (*whole, *tap)
                positions = math.prod(seen.shape[2:])
                a = np.moveaxis(weighed.reshape(problem.n, groups, outs, positions), 0, 2).reshape(groups, outs, -1)
                b = np.moveaxis(seen.reshape(problem.n, groups, ins, positions), 0, 2).reshape(groups, ins, -1)
                with bounded(threads):
                    out[place] = np.matmul(a, b.transpose(0, 2, 1)).reshape(problem.c_out, ins)

        return run

    copies = problem.n * math.prod(problem.conv_size) * (problem.c_in + problem.c_out) * dtype.itemsize
    return Prepared(pack, 2 * copies)


def estimate(problem: ConvWeight) -> float:
    """A quarter of the peak for products, two copies of what each tap sees, and BLAS threads that spin on."""
    copied = 4 * problem.taps * (math.prod(problem.conv_shape) + math.prod(problem.conv_shape) // problem.c_out * problem.c_in)
    return problem.flops / rate(problem, 0.25) + copied * problem.itemsize / calibration().bandwidth + SPINNING


for _operation in ("conv_weight", "conv_weight3d"):
    registry.add(
        Implementation("reference", _operation, lambda problem: None, prepare, rounding_bound, estimate=estimate, trust=3, lingers=SPIN)
    )
