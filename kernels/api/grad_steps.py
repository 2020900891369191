"""Gradients of what follows a convolution: bias, scale and shift, activation."""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.dispatch.conversion import check_out
from kernels.problem.arrays import canonical, intake, result_dtypes
from kernels.problem.conv import ACTIVATIONS
from kernels.problem.errors import ProblemError
from kernels.problem.options import Signature, activation_pair, is_channels_last, thread_count

Array = np.ndarray


def bias(grad_output: Any, *, batch: bool = True, layout: str = "channels_first") -> Array:
    """The gradient of a bias (C_out,): grad_output (N, C_out, *spatial) summed over all but its channels; batch=False: it has no N.

    >>> bias([[[1.0, 2.0], [3.0, 4.0]]])
    array([3., 7.])
    """
    grad = intake("grad.bias", "grad_output", grad_output)
    if grad.ndim < 1 + batch:
        raise ProblemError(f"grad.bias: grad_output has shape {grad.shape}; must be (N, C_out, *spatial); without N pass batch=False")
    computed, returned = result_dtypes([grad.dtype])
    if is_channels_last("grad.bias", layout):
        grad = np.moveaxis(grad, -1, int(batch))
    grad = canonical(grad if batch else grad[None], computed, grad.shape if batch else (1, *grad.shape))
    sums = grad.reshape(*grad.shape[:2], -1).sum(axis=2) if grad.size else np.zeros(grad.shape[:2], computed)
    return sums.sum(axis=0).astype(returned, copy=False)  # type: ignore[no-any-return]


def scale_shift(grad_output: Any, x: Any, scale: Any, *, batch: bool = True, layout: str = "channels_first") -> tuple[Array, Array, Array]:
    """Gradients of y = x * scale + shift (per channel) with respect to x, scale and shift, from that of y.

    >>> [part.tolist() for part in scale_shift([[[1.0, 2.0]]], [[[3.0, 4.0]]], [10.0])]
    [[[[10.0, 20.0]]], [11.0], [3.0]]
    """
    op = "grad.scale_shift"
    grad, x, scale = intake(op, "grad_output", grad_output), intake(op, "x", x), intake(op, "scale", scale)
    last = is_channels_last(op, layout)
    axis = grad.ndim - 1 if last else int(batch)
    if x.shape != grad.shape or grad.ndim < 1 + batch or scale.shape != (grad.shape[axis],):
        raise ProblemError(f"{op}: grad_output {grad.shape} and x {x.shape} must be alike, scale {scale.shape} one number per channel")
    computed, returned = result_dtypes([grad.dtype, x.dtype, scale.dtype])
    grad, x = grad.astype(computed, copy=False), x.astype(computed, copy=False)
    factor = scale.astype(computed).reshape([-1 if i == axis else 1 for i in range(grad.ndim)])
    shift = bias(grad, batch=batch, layout=layout)
    return (grad * factor).astype(returned), bias(grad * x, batch=batch, layout=layout).astype(returned), shift.astype(returned)


def activation(
    name: Any, grad_output: Any, *, output: Any = None, input: Any = None, threads: int | None = None, out: Array | None = None
) -> Array:
    """The gradient of an activation with respect to its input, from grad_output and what is known of it: its output or its input.

    name: as `activation` of a convolution, "relu" or ("leaky_relu", 0.2). The output determines all but "gelu", "gelu_tanh", "silu" and
    "hardswish", which need the input; so does a slope of 0 or less, where outputs lie on both sides. At corners the derivative is that of
    PyTorch: 0 at 0 for relu.

    >>> activation("relu", [1.0, 1.0], output=[0.0, 2.0])
    array([0., 1.])
    """
    from kernels.methods.gradients import steps  # brings Numba

    op = "grad.activation"
    pair = activation_pair(op, name)
    if pair is None or pair[0] not in ACTIVATIONS:
        raise ProblemError(f"{op}: activation {name!r} is not known; use one of {', '.join(ACTIVATIONS)}")
    if (output is None) == (input is None):
        raise ProblemError(f"{op}: pass either output or input of the activation")
    if input is None and (pair[0] in steps.OF_INPUT or (pair[0] in ("leaky_relu", "elu") and pair[1] <= 0)):
        raise ProblemError(f"{op}: the output of {name!r} does not determine its derivative; pass input=")
    grad = intake(op, "grad_output", grad_output)
    known = intake(op, "output", output) if input is None else intake(op, "input", input)
    if grad.shape != known.shape:
        raise ProblemError(f"{op}: grad_output has shape {grad.shape}, what is known {known.shape}; they must be equal")
    computed, returned = result_dtypes([grad.dtype, known.dtype])
    flat = (grad.size,)
    result = np.empty(flat, computed)
    code, slope = steps.CODES[pair[0]], float(pair[1])
    given = canonical(grad, computed, flat), canonical(known, computed, flat)
    steps.activation(thread_count(op, threads), -(-result.size // steps.RUN), *given, result, code, slope, input is not None)
    result = result.reshape(grad.shape).astype(returned, copy=False)
    if out is None:
        return result
    check_out(op, out, Signature(grad.shape, grad.shape, returned, 0), grad)
    out[...] = result
    return out
