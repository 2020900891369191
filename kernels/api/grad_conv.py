"""Gradients of convolutions with respect to their input and to their weights, by the names and in the order of torch.nn.grad.

The gradient with respect to the input is a transposed convolution of grad_output with the layer's own weights (that of a transposed layer a
convolution), and any method that does those does it. That with respect to the weights has methods of its own (`methods.gradients`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kernels.api.call import key_of
from kernels.dispatch.choices import REMEMBERED
from kernels.dispatch.descriptor import Descriptor
from kernels.dispatch.gradient_plan import WeightPlan, gradient_plan, read_part
from kernels.dispatch.preparation import REMEMBERED_BYTES
from kernels.problem.arrays import intake
from kernels.problem.errors import ProblemError
from kernels.problem.operands import Operands
from kernels.problem.options import Ints
from kernels.problem.request_gradient import GRADIENTS
from kernels.runtime.bounded_cache import Recent

Array = np.ndarray

# the arguments that are not arrays, in the order in which the functions hand them on
PLAIN = "stride", "padding", "dilation", "groups", "flip", "layout", "accuracy"
TRANSPOSED = "stride", "padding", "output_padding", "groups", "dilation", "output_size", "flip", "layout", "accuracy"

_descriptors: Recent[Descriptor] = Recent(REMEMBERED, REMEMBERED_BYTES)
_plans: Recent[WeightPlan] = Recent(REMEMBERED, REMEMBERED_BYTES)


def forget() -> None:
    """Drop what is remembered of recent calls."""
    _descriptors.forget()
    _plans.forget()


def _known(size: Any) -> Any:
    """A shape as a key of what is remembered; what is neither tuple nor list can be no key, and the request says what is wrong with it."""
    return tuple(size) if isinstance(size, tuple | list) else object()


def _input(
    op: str, input_size: Any, weight: Any, grad_output: Any, names: tuple[str, ...], numbers: tuple[Any, ...], implementation: str,
    threads: int | None, out: Array | None,
) -> Array:  # fmt: skip
    """The gradient with respect to the input; weights are packed anew with every call."""
    grad_output = intake(op, "grad_output", grad_output)
    weight = intake(op, "weight", weight)
    if isinstance(out, np.ndarray) and np.may_share_memory(out, weight):
        raise ProblemError(f"{op}: out overlaps weight in memory; pass a separate array")
    key = key_of(op, grad_output, (weight,), (_known(input_size), implementation, threads, numbers))
    descriptor = None if key is None else _descriptors.get(key)
    if descriptor is not None:
        operands = Operands(weight[:, :, None] if weight.ndim == 3 else weight)  # a 1-D kernel's height
    else:
        gradient = GRADIENTS[op](op, input_size, grad_output.dtype, weight, grad_output, **dict(zip(names, numbers)))
        descriptor = Descriptor(gradient.request.problem, gradient.request.signature, implementation, threads, packs=True)
        operands = gradient.request.operands
        if key is not None and gradient.request.unpacked:
            _descriptors.put(key, descriptor, descriptor.prepared.workspace_bytes)
    run = descriptor.prepared.pack(operands)
    return descriptor.compute(run, read_part(grad_output, descriptor.signature.x_shape), out)  # type: ignore[no-any-return]


def _weight(
    op: str, x: Any, weight_size: Any, grad_output: Any, names: tuple[str, ...], numbers: tuple[Any, ...], implementation: str,
    threads: int | None, out: Array | None,
) -> Array:  # fmt: skip
    """The gradient with respect to the weights."""
    x, grad_output = intake(op, "input", x), intake(op, "grad_output", grad_output)
    key = key_of(op, x, (grad_output,), (_known(weight_size), implementation, threads, numbers))
    plan = None if key is None else _plans.get(key)
    if plan is None:
        options = dict(zip(names, numbers))
        gradient = GRADIENTS[op](op, x.shape, x.dtype, weight_size, grad_output, grad_dtype=grad_output.dtype, **options)
        made = gradient_plan(gradient, implementation, threads)
        assert isinstance(made, WeightPlan)
        plan = made
        if key is not None:
            _plans.put(key, plan, plan.workspace_bytes)
    return plan(x, grad_output, out)  # type: ignore[no-any-return]


def conv1d_input(
    input_size: Sequence[int], weight: Any, grad_output: Any, stride: Ints = 1, padding: Any = 0, dilation: Ints = 1, groups: int = 1, *,
    flip: bool = False, layout: str = "channels_first", accuracy: str | None = None,
    implementation: str = "auto", threads: int | None = None, out: Array | None = None,
) -> Array:  # fmt: skip
    """The gradient of a 1-D convolution with respect to its input, of shape input_size.

    grad_output (N, C_out, OW) is the gradient of the layer's output, weight (C_out, C_in/groups, KW) the layer's own; all other arguments
    are the layer's and mean what `kernels.conv1d` says. Raises ProblemError where they make no layer or shapes do not fit, RefusedError if
    the named implementation cannot do it. Definition: torch.nn.grad.conv1d_input.

    >>> conv1d_input((1, 1, 3), [[[1.0, 10.0]]], [[[1.0, 2.0]]])
    array([[[ 1., 12., 20.]]])
    """
    numbers = stride, padding, dilation, groups, flip, layout, accuracy
    return _input("conv1d_input", input_size, weight, grad_output, PLAIN, numbers, implementation, threads, out)


def conv2d_input(
    input_size: Sequence[int], weight: Any, grad_output: Any, stride: Ints = 1, padding: Any = 0, dilation: Ints = 1, groups: int = 1, *,
    flip: bool = False, layout: str = "channels_first", accuracy: str | None = None,
    implementation: str = "auto", threads: int | None = None, out: Array | None = None,
) -> Array:  # fmt: skip
    """The gradient of a 2-D convolution with respect to its input, of shape input_size.

    grad_output (N, C_out, OH, OW) is the gradient of the layer's output, weight (C_out, C_in/groups, KH, KW) the layer's own; all other
    arguments are the layer's and mean what `kernels.conv2d` says. Raises ProblemError where they make no layer or shapes do not fit,
    RefusedError if the named implementation cannot do it. Definition: torch.nn.grad.conv2d_input.
    """
    numbers = stride, padding, dilation, groups, flip, layout, accuracy
    return _input("conv2d_input", input_size, weight, grad_output, PLAIN, numbers, implementation, threads, out)


def conv3d_input(
    input_size: Sequence[int], weight: Any, grad_output: Any, stride: Ints = 1, padding: Any = 0, dilation: Ints = 1, groups: int = 1, *,
    flip: bool = False, layout: str = "channels_first", accuracy: str | None = None,
    implementation: str = "auto", threads: int | None = None, out: Array | None = None,
) -> Array:  # fmt: skip
    """The gradient of a 3-D convolution with respect to its input, of shape input_size.

    grad_output (N, C_out, OD, OH, OW) is the gradient of the layer's output, weight (C_out, C_in/groups, KD, KH, KW) the layer's own; all
    other arguments are the layer's and mean what `kernels.conv3d` says. Raises ProblemError where they make no layer or shapes do not fit,
    RefusedError if the named implementation cannot do it. Definition: torch.nn.grad.conv3d_input.
    """
    numbers = stride, padding, dilation, groups, flip, layout, accuracy
    return _input("conv3d_input", input_size, weight, grad_output, PLAIN, numbers, implementation, threads, out)


def conv1d_weight(
    input: Any, weight_size: Sequence[int], grad_output: Any, stride: Ints = 1, padding: Any = 0, dilation: Ints = 1, groups: int = 1, *,
    flip: bool = False, layout: str = "channels_first", accuracy: str | None = None,
    implementation: str = "auto", threads: int | None = None, out: Array | None = None,
) -> Array:  # fmt: skip
    """The gradient of a 1-D convolution with respect to its weights, of shape weight_size.

    input (N, C_in, L) is the layer's input, grad_output (N, C_out, OW) the gradient of its output; all other arguments are the
    layer's and mean what `kernels.conv1d` says. The same inputs, threads and implementation give the same bits. Raises ProblemError where
    they make no layer or shapes do not fit, RefusedError if the named implementation cannot do it. Definition: torch.nn.grad.conv1d_weight.

    >>> conv1d_weight([[[1.0, 2.0, 3.0]]], (1, 1, 2), [[[1.0, 10.0]]])
    array([[[21., 32.]]])
    """
    numbers = stride, padding, dilation, groups, flip, layout, accuracy
    return _weight("conv1d_weight", input, weight_size, grad_output, PLAIN, numbers, implementation, threads, out)


def conv2d_weight(
    input: Any, weight_size: Sequence[int], grad_output: Any, stride: Ints = 1, padding: Any = 0, dilation: Ints = 1, groups: int = 1, *,
    flip: bool = False, layout: str = "channels_first", accuracy: str | None = None,
    implementation: str = "auto", threads: int | None = None, out: Array | None = None,
) -> Array:  # fmt: skip
    """The gradient of a 2-D convolution with respect to its weights, of shape weight_size.

    input (N, C_in, H, W) is the layer's input, grad_output (N, C_out, OH, OW) the gradient of its output; all other arguments are the
    layer's and mean what `kernels.conv2d` says. The same inputs, threads and implementation give the same bits. Raises ProblemError where
    they make no layer or shapes do not fit, RefusedError if the named implementation cannot do it. Definition: torch.nn.grad.conv2d_weight.
    """
    numbers = stride, padding, dilation, groups, flip, layout, accuracy
    return _weight("conv2d_weight", input, weight_size, grad_output, PLAIN, numbers, implementation, threads, out)


def conv3d_weight(
    input: Any, weight_size: Sequence[int], grad_output: Any, stride: Ints = 1, padding: Any = 0, dilation: Ints = 1, groups: int = 1, *,
    flip: bool = False, layout: str = "channels_first", accuracy: str | None = None,
    implementation: str = "auto", threads: int | None = None, out: Array | None = None,
) -> Array:  # fmt: skip
    """The gradient of a 3-D convolution with respect to its weights, of shape weight_size.

    input (N, C_in, D, H, W) is the layer's input, grad_output (N, C_out, OD, OH, OW) the gradient of its output; all other arguments are
    the layer's and mean what `kernels.conv3d` says. The same inputs, threads and implementation give the same bits. Raises ProblemError
    where they make no layer or shapes do not fit, RefusedError if the named implementation cannot do it. Definition:
    torch.nn.grad.conv3d_weight.
    """
    numbers = stride, padding, dilation, groups, flip, layout, accuracy
    return _weight("conv3d_weight", input, weight_size, grad_output, PLAIN, numbers, implementation, threads, out)


def conv_transpose1d_input(
    input_size: Sequence[int], weight: Any, grad_output: Any, stride: Ints = 1, padding: Any = 0, output_padding: Ints = 0, groups: int = 1,
    dilation: Ints = 1, *, output_size: Any = None, flip: bool = False, layout: str = "channels_first", accuracy: str | None = None,
    implementation: str = "auto", threads: int | None = None, out: Array | None = None, ) -> Array:  # fmt: skip
    """The gradient of a transposed 1-D convolution with respect to its input, of shape input_size.

    grad_output (N, C_out, OW) is the gradient of the layer's output, weight (C_in, C_out/groups, KW) the layer's own; all other arguments
    are the layer's and mean what `kernels.conv_transpose1d` says. Raises ProblemError where they make no layer or shapes do not fit,
    RefusedError if the named implementation cannot do it. Definition: torch.nn.grad.conv1d_input.
    """
    numbers = stride, padding, output_padding, groups, dilation, output_size, flip, layout, accuracy
    return _input("conv_transpose1d_input", input_size, weight, grad_output, TRANSPOSED, numbers, implementation, threads, out)


def conv_transpose2d_input(
    input_size: Sequence[int], weight: Any, grad_output: Any, stride: Ints = 1, padding: Any = 0, output_padding: Ints = 0, groups: int = 1,
    dilation: Ints = 1, *, output_size: Any = None, flip: bool = False, layout: str = "channels_first", accuracy: str | None = None,
    implementation: str = "auto", threads: int | None = None, out: Array | None = None, ) -> Array:  # fmt: skip
    """The gradient of a transposed 2-D convolution with respect to its input, of shape input_size.

    grad_output (N, C_out, OH, OW) is the gradient of the layer's output, weight (C_in, C_out/groups, KH, KW) the layer's own; all other
    arguments are the layer's and mean what `kernels.conv_transpose2d` says. Raises ProblemError where they make no layer or shapes do not
    fit, RefusedError if the named implementation cannot do it. Definition: torch.nn.grad.conv2d_input.
    """
    numbers = stride, padding, output_padding, groups, dilation, output_size, flip, layout, accuracy
    return _input("conv_transpose2d_input", input_size, weight, grad_output, TRANSPOSED, numbers, implementation, threads, out)


def conv_transpose3d_input(
    input_size: Sequence[int], weight: Any, grad_output: Any, stride: Ints = 1, padding: Any = 0, output_padding: Ints = 0, groups: int = 1,
    dilation: Ints = 1, *, output_size: Any = None, flip: bool = False, layout: str = "channels_first", accuracy: str | None = None,
    implementation: str = "auto", threads: int | None = None, out: Array | None = None, ) -> Array:  # fmt: skip
    """The gradient of a transposed 3-D convolution with respect to its input, of shape input_size.

    grad_output (N, C_out, OD, OH, OW) is the gradient of the layer's output, weight (C_in, C_out/groups, KD, KH, KW) the layer's own; all
    other arguments are the layer's and mean what `kernels.conv_transpose3d` says. Raises ProblemError where they make no layer or shapes do
    not fit, RefusedError if the named implementation cannot do it. Definition: torch.nn.grad.conv3d_input.
    """
    numbers = stride, padding, output_padding, groups, dilation, output_size, flip, layout, accuracy
    return _input("conv_transpose3d_input", input_size, weight, grad_output, TRANSPOSED, numbers, implementation, threads, out)


def conv_transpose1d_weight(
    input: Any, weight_size: Sequence[int], grad_output: Any, stride: Ints = 1, padding: Any = 0, output_padding: Ints = 0, groups: int = 1,
    dilation: Ints = 1, *, output_size: Any = None, flip: bool = False, layout: str = "channels_first", accuracy: str | None = None,
    implementation: str = "auto", threads: int | None = None, out: Array | None = None, ) -> Array:  # fmt: skip
    """The gradient of a transposed 1-D convolution with respect to its weights, of shape weight_size.

    input (N, C_in, L) is the layer's input, grad_output (N, C_out, OW) the gradient of its output; all other arguments are the
    layer's and mean what `kernels.conv_transpose1d` says. The same inputs, threads and implementation give the same bits. Raises
    ProblemError where they make no layer or shapes do not fit, RefusedError if the named implementation cannot do it. Definition:
    torch.nn.grad.conv1d_weight.
    """
    numbers = stride, padding, output_padding, groups, dilation, output_size, flip, layout, accuracy
    return _weight("conv_transpose1d_weight", input, weight_size, grad_output, TRANSPOSED, numbers, implementation, threads, out)


def conv_transpose2d_weight(
    input: Any, weight_size: Sequence[int], grad_output: Any, stride: Ints = 1, padding: Any = 0, output_padding: Ints = 0, groups: int = 1,
    dilation: Ints = 1, *, output_size: Any = None, flip: bool = False, layout: str = "channels_first", accuracy: str | None = None,
    implementation: str = "auto", threads: int | None = None, out: Array | None = None, ) -> Array:  # fmt: skip
    """The gradient of a transposed 2-D convolution with respect to its weights, of shape weight_size.

    input (N, C_in, H, W) is the layer's input, grad_output (N, C_out, OH, OW) the gradient of its output; all other arguments are the
    layer's and mean what `kernels.conv_transpose2d` says. The same inputs, threads and implementation give the same bits. Raises
    ProblemError where they make no layer or shapes do not fit, RefusedError if the named implementation cannot do it. Definition:
    torch.nn.grad.conv2d_weight.
    """
    numbers = stride, padding, output_padding, groups, dilation, output_size, flip, layout, accuracy
    return _weight("conv_transpose2d_weight", input, weight_size, grad_output, TRANSPOSED, numbers, implementation, threads, out)


def conv_transpose3d_weight(
    input: Any, weight_size: Sequence[int], grad_output: Any, stride: Ints = 1, padding: Any = 0, output_padding: Ints = 0, groups: int = 1,
    dilation: Ints = 1, *, output_size: Any = None, flip: bool = False, layout: str = "channels_first", accuracy: str | None = None,
    implementation: str = "auto", threads: int | None = None, out: Array | None = None, ) -> Array:  # fmt: skip
    """The gradient of a transposed 3-D convolution with respect to its weights, of shape weight_size.

    input (N, C_in, D, H, W) is the layer's input, grad_output (N, C_out, OD, OH, OW) the gradient of its output; all other arguments are
    the layer's and mean what `kernels.conv_transpose3d` says. The same inputs, threads and implementation give the same bits. Raises
    ProblemError where they make no layer or shapes do not fit, RefusedError if the named implementation cannot do it. Definition:
    torch.nn.grad.conv3d_weight.
    """
    numbers = stride, padding, output_padding, groups, dilation, output_size, flip, layout, accuracy
    return _weight("conv_transpose3d_weight", input, weight_size, grad_output, TRANSPOSED, numbers, implementation, threads, out)
