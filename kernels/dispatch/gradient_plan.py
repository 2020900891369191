"""Plans of gradients: like other plans, with arrays in the user's layout and two arrays where the weights' gradient is asked for."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from kernels.dispatch.conversion import check_out
from kernels.dispatch.descriptor import Descriptor
from kernels.dispatch.plan import Plan
from kernels.problem.arrays import canonical, intake
from kernels.problem.conv import ConvWeight
from kernels.problem.errors import ProblemError
from kernels.problem.operands import Operands
from kernels.problem.request_gradient import GradientRequest

Array = np.ndarray


def read_part(x: Any, shape: tuple[int, ...]) -> Any:
    """The part of the gradient of an output that windows reach, which is all of it but where output_padding exceeds a stride."""
    found = np.shape(x)
    if found == shape or len(found) != len(shape) or any(have < want for have, want in zip(found, shape)):
        return x
    return intake("", "grad_output", x)[tuple(slice(length) for length in shape)]


class InputPlan(Plan):
    """`plan(grad_output)` is the gradient with respect to the layer's input."""

    def __init__(self, descriptor: Descriptor, operands: Operands, gradient: GradientRequest) -> None:
        super().__init__(descriptor, operands)
        self._gradient = gradient

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._descriptor, self._operands, self._gradient)

    def __call__(self, grad_output: Any, out: Any = None) -> Any:
        """The gradient for a grad_output of the planned shape; into `out` if given."""
        if np.shape(grad_output) == self._gradient.grad_size:
            grad_output = read_part(grad_output, self._descriptor.signature.x_shape)
        return super().__call__(grad_output, out)


class WeightPlan(Plan):
    """`plan(x, grad_output)` is the gradient with respect to the layer's weights."""

    def __init__(self, descriptor: Descriptor, layout: GradientRequest) -> None:
        self._descriptor, self._gradient = descriptor, layout
        assert isinstance(descriptor.problem, ConvWeight)
        self._dtype, self._operand_shape = np.dtype(descriptor.problem.dtype), descriptor.problem.weight_shape

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._descriptor, self._gradient)

    def __call__(self, x: Any, grad_output: Any = None, out: Any = None) -> Any:  # type: ignore[override]
        """The gradient for x and grad_output of the planned shapes; into `out` if given."""
        layout, descriptor = self._gradient, self._descriptor
        x, grad_output = intake(layout.op, "input", x), intake(layout.op, "grad_output", grad_output)
        for name, array, size in (("input", x, layout.input_size), ("grad_output", grad_output, layout.grad_size)):
            if array.shape != size:
                raise ProblemError(f"{layout.op}: {name} has shape {array.shape}, the plan was made for {size}; make a plan for this shape")
        for name, array in (("input", x), ("grad_output", grad_output)) if isinstance(out, np.ndarray) else ():
            if np.may_share_memory(out, array):
                raise ProblemError(f"{layout.op}: out overlaps {name} in memory; pass a separate array")
        if layout.last:
            axes = descriptor.signature.spatial
            x, grad_output = (np.moveaxis(array, -1, array.ndim - 1 - axes) for array in (x, grad_output))
        first, second = (grad_output, x) if layout.exchanged else (x, grad_output)
        first = read_part(first, descriptor.signature.x_shape)
        run = descriptor.prepared.pack(Operands(canonical(second, self._dtype, self._operand_shape)))
        if layout.places is None:
            return descriptor.compute(run, first, out)
        result = descriptor.compute(run, first, None)
        if out is not None:
            check_out(layout.op, out, dataclasses.replace(descriptor.signature, out_shape=layout.weight_size), x)
        target = np.empty(layout.weight_size, result.dtype)
        target.reshape(-1)[layout.places] = result.reshape(-1)
        if out is None:
            return target
        out[...] = target
        return out

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Shape of the result, as the user sees it."""
        return self._gradient.weight_size

    @property
    def run(self) -> Any:
        """`run(x, grad, out)` computes canonical, contiguous arrays and checks nothing; of a transposed layer x is the gradient of the
        output and grad the layer's input."""
        pack = self._descriptor.prepared.pack
        return lambda x, grad, out: pack(Operands(grad))(x, out)


def gradient_plan(gradient: GradientRequest, implementation: str, threads: int | None) -> InputPlan | WeightPlan:
    """The plan of a request; of the input's gradient with a copy of the weights."""
    descriptor = Descriptor(gradient.request.problem, gradient.request.signature, implementation, threads)
    if isinstance(gradient.request.problem, ConvWeight):
        return WeightPlan(descriptor, gradient)
    return InputPlan(descriptor, gradient.request.operands.copy(), gradient)
