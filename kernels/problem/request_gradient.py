"""The arguments of gradients of convolutions become a problem: a (transposed) convolution of the gradient, or a `ConvWeight`.

The gradient of a convolution with respect to its input is the transposed convolution with the very same weights, and the other way round.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kernels.problem.accuracy import accuracy_of
from kernels.problem.arrays import canonical, result_dtypes
from kernels.problem.conv import Conv, ConvTranspose, ConvWeight
from kernels.problem.errors import ProblemError
from kernels.problem.operands import Operands
from kernels.problem.options import Ints, Request, Signature, check_size, flat, shape
from kernels.problem.request_conv import ConvLayer, conv_layer, transposed_layer
from kernels.problem.window import Pairs, Size, dilated

Array = np.ndarray


@dataclasses.dataclass(frozen=True)
class Adjoint:
    """A layer whose gradients are asked for. given: input shape as the user has it. padding: in a transposed layer what crops the sum.
    size: spatial size of the layer's output, c_out its channels; axes as the user has them, a 1-D layer's one."""

    op: str
    given: tuple[int, ...]
    layer: ConvLayer
    padding: Pairs
    size: Size
    c_out: int
    transposed: bool
    accuracy: str

    @property
    def grad_shape(self) -> tuple[int, ...]:
        """Shape of the gradient of the layer's output, as the user has it."""
        batch = self.layer.batch
        return (*batch, *self.size, self.c_out) if self.layer.channels_last else (*batch, self.c_out, *self.size)

    def check(self, grad_output: Any) -> None:
        """Raises ProblemError unless the gradient (or its shape) fits the layer's output."""
        if grad_output is None:
            return
        found = grad_output if isinstance(grad_output, tuple | list) else np.shape(grad_output)
        if shape(self.op, found) != self.grad_shape:
            raise ProblemError(
                f"{self.op}: grad_output has shape {tuple(found)}; the output for input {self.given}, weight {self.layer.given.shape}, "
                f"stride {self.layer.stride}, padding {self.padding}, dilation {self.layer.dilation} has {self.grad_shape}"
            )


@dataclasses.dataclass(frozen=True)
class GradientRequest:
    """A request for a gradient. sizes: shapes as the user has them, of the layer's input, of the gradient of its output, and of its
    weights. places: where in the weights' gradient the canonical result goes, as `_places` says. last: channels come last. exchanged: of a
    transposed layer, whose weights' gradient has the gradient of the output for x and the layer's input for an operand."""

    request: Request
    op: str
    input_size: tuple[int, ...]
    grad_size: tuple[int, ...]
    weight_size: tuple[int, ...]
    places: Array | None = None
    last: bool = False
    exchanged: bool = False


def _conv(op: str, x_shape: Sequence[int], weight: Any, *, accuracy: str | None, **options: Any) -> Adjoint:
    """options: those of `conv_layer`."""
    layer, pairs, c_out = conv_layer(op, x_shape, weight, **options)
    axes = zip(layer.size, layer.kernel, layer.stride, pairs, layer.dilation)
    size = tuple((n + sum(pair) - dilated(k, d)) // s + 1 for n, k, s, pair, d in axes)
    return Adjoint(op, tuple(x_shape), layer, pairs, size, c_out, False, accuracy_of(op, accuracy))


def _transposed(op: str, x_shape: Sequence[int], weight: Any, *, accuracy: str | None, **options: Any) -> Adjoint:
    """options: those of `transposed_layer`."""
    layer, pairs, more, c_out = transposed_layer(op, x_shape, weight, **options)
    axes = zip(layer.size, layer.kernel, layer.stride, pairs, layer.dilation, more)
    size = tuple((n - 1) * s - sum(pair) + dilated(k, d) + o for n, k, s, pair, d, o in axes)
    return Adjoint(op, tuple(x_shape), layer, pairs, size, c_out, True, accuracy_of(op, accuracy))


def _forward(adjoint: Adjoint, dtype: str, make: Callable[..., Conv]) -> Conv:
    """The convolution that an ordinary layer is, or that a transposed one is the adjoint of, whose output is then the layer's input."""
    layer, axes = adjoint.layer, adjoint.layer.axes
    channels, outs, size, padding = layer.c_in, adjoint.c_out, layer.size, adjoint.padding
    if adjoint.transposed:
        channels, outs = outs, channels
        beyond = [_beyond(adjoint, axis) for axis in range(axes)]
        size = tuple(n - max(0, more - after) for n, more, (_, after) in zip(adjoint.size, beyond, padding))
        padding = tuple((before, max(0, after - more)) for more, (before, after) in zip(beyond, padding))
    op = f"conv{axes}d_weight" if make is ConvWeight else f"conv{axes}d"
    numbers = flat(layer.kernel, 1), flat(layer.stride, 1), flat(padding, (0, 0)), flat(layer.dilation, 1), dtype
    problem = make(op, layer.n, channels, flat(size, 1), *numbers, c_out=outs, groups=layer.groups, accuracy=adjoint.accuracy)
    check_size(problem)
    return problem


def _beyond(adjoint: Adjoint, axis: int) -> int:
    """By how many outputs at its end a transposed layer exceeds what its adjoint convolution reads for as many windows as it has inputs."""
    layer, (before, after) = adjoint.layer, adjoint.padding[axis]
    reach = (layer.size[axis] - 1) * layer.stride[axis] + dilated(layer.kernel[axis], layer.dilation[axis])
    more = adjoint.size[axis] + before + after - reach
    return more // layer.stride[axis] * layer.stride[axis]


def _input(adjoint: Adjoint, grad_output: Any, grad_dtype: np.dtype) -> GradientRequest:
    """The request of the gradient with respect to the input: x is the gradient of the output, the result has the input's shape."""
    adjoint.check(grad_output)
    layer = adjoint.layer
    computed, returned = result_dtypes([grad_dtype, layer.given.dtype])
    forward = _forward(adjoint, computed.name, Conv)
    problem = forward if adjoint.transposed else _transpose_of(forward)
    weight = canonical(layer.weight, computed, problem.weight_shape)
    signature = Signature(_read_shape(adjoint, problem.size, layer.channels_last), adjoint.given, returned, layer.axes, layer.channels_last)
    request = Request(problem, Operands(weight), signature, {"weight": layer.given})
    return GradientRequest(request, adjoint.op, adjoint.given, adjoint.grad_shape, layer.given.shape)


def _read_shape(adjoint: Adjoint, size: Size, last: bool) -> tuple[int, ...]:
    """Shape of what is read of the gradient of the output: no window reaches its end where output_padding exceeds a stride."""
    batch, size = adjoint.layer.batch, size[-adjoint.layer.axes :]
    return (*batch, *size, adjoint.c_out) if last else (*batch, adjoint.c_out, *size)


def _transpose_of(forward: Conv) -> ConvTranspose:
    """The adjoint of a convolution: as long as its input, the last of which no window may reach."""
    more = tuple(
        n - ((o - 1) * s - sum(pair) + dilated(k, d))
        for n, o, s, pair, k, d in zip(forward.size, forward.conv_size, forward.stride, forward.padding, forward.kernel, forward.dilation)
    )
    return ConvTranspose(
        op=forward.op.replace("conv", "conv_transpose"), n=forward.n, c_in=forward.c_out, size=forward.conv_size, kernel=forward.kernel,
        stride=forward.stride, padding=forward.padding, dilation=forward.dilation, dtype=forward.dtype,
        c_out=forward.c_in, groups=forward.groups, output_padding=more, accuracy=forward.accuracy,
    )  # fmt: skip


def conv_input(
    op: str, input_size: Sequence[int], grad_dtype: np.dtype, weight: Any, grad_output: Any = None, stride: Ints = 1, padding: Any = 0,
    dilation: Ints = 1, groups: int = 1, *, flip: bool = False, layout: str = "channels_first", accuracy: str | None = None,
) -> GradientRequest:  # fmt: skip
    """conv1d_input, conv2d_input or conv3d_input; grad_output, or its shape, is only checked."""
    adjoint = _conv(
        op, shape(op, input_size), weight, stride=stride, padding=padding, dilation=dilation, groups=groups, flip=flip, layout=layout,
        accuracy=accuracy,
    )  # fmt: skip
    return _input(adjoint, grad_output, grad_dtype)


def conv_transpose_input(
    op: str, input_size: Sequence[int], grad_dtype: np.dtype, weight: Any, grad_output: Any = None, stride: Ints = 1, padding: Any = 0,
    output_padding: Ints = 0, groups: int = 1, dilation: Ints = 1, *, output_size: Any = None, flip: bool = False,
    layout: str = "channels_first", accuracy: str | None = None,
) -> GradientRequest:  # fmt: skip
    """conv_transpose1d_input, 2d or 3d."""
    adjoint = _transposed(
        op, shape(op, input_size), weight, stride=stride, padding=padding, output_padding=output_padding, groups=groups, dilation=dilation,
        output_size=output_size, flip=flip, layout=layout, accuracy=accuracy,
    )  # fmt: skip
    return _input(adjoint, grad_output, grad_dtype)


def _places(adjoint: Adjoint, flip: bool) -> Array | None:
    """Flat places in weights as the user has them, in canonical order; None where those are the same."""
    layer = adjoint.layer
    if not flip and not layer.channels_last:
        return None
    numbers = np.arange(layer.given.size).reshape(layer.given.shape)
    layout = "channels_last" if layer.channels_last else "channels_first"
    plain: dict[str, Any] = {"stride": 1, "padding": 0, "dilation": 1, "groups": layer.groups, "flip": flip, "layout": layout}
    if adjoint.transposed:
        read = transposed_layer(adjoint.op, adjoint.given, numbers, output_padding=0, output_size=None, **plain)[0]
    else:
        read = conv_layer(adjoint.op, adjoint.given, numbers, **plain)[0]
    return read.weight.reshape(-1)


def _weight(adjoint: Adjoint, grad_output: Any, dtypes: list[np.dtype], flip: bool) -> GradientRequest:
    """The request of the gradient with respect to the weights, of arrays with channels first. Its x is the layer's input, its operand
    called weight the gradient of the output; of a transposed layer they are exchanged."""
    adjoint.check(grad_output)
    computed, returned = result_dtypes(dtypes)
    problem = _forward(adjoint, computed.name, ConvWeight)
    layer = adjoint.layer
    shape = _read_shape(adjoint, problem.size, False) if adjoint.transposed else (*layer.batch, layer.c_in, *layer.size)
    request = Request(problem, Operands(), Signature(shape, layer.weight.shape, returned, layer.axes))
    order = _places(adjoint, flip)
    sizes = adjoint.given, adjoint.grad_shape, layer.given.shape
    return GradientRequest(request, adjoint.op, *sizes, order, layer.channels_last, adjoint.transposed)


def _blank(op: str, weight_size: Any, dtype: np.dtype) -> Array:
    """Weights of a shape, of which none needs to exist."""
    size = shape(op, weight_size)
    if min(size, default=0) < 0:
        raise ProblemError(f"{op}: weight_size is {size}; no axis can be shorter than 0")
    return np.broadcast_to(np.zeros((), dtype), size)


def conv_weight(
    op: str, x_shape: Sequence[int], x_dtype: np.dtype, weight_size: Any, grad_output: Any = None, stride: Ints = 1, padding: Any = 0,
    dilation: Ints = 1, groups: int = 1, *, grad_dtype: np.dtype | None = None, flip: bool = False,
    layout: str = "channels_first", accuracy: str | None = None,
) -> GradientRequest:  # fmt: skip
    """conv1d_weight, conv2d_weight or conv3d_weight; grad_output, or its shape, is only checked."""
    blank = _blank(op, weight_size, x_dtype)
    adjoint = _conv(
        op, shape(op, x_shape), blank, stride=stride, padding=padding, dilation=dilation, groups=groups, flip=flip, layout=layout,
        accuracy=accuracy,
    )  # fmt: skip
    return _weight(adjoint, grad_output, [x_dtype, grad_dtype or x_dtype], flip)


def conv_transpose_weight(
    op: str, x_shape: Sequence[int], x_dtype: np.dtype, weight_size: Any, grad_output: Any = None, stride: Ints = 1, padding: Any = 0,
    output_padding: Ints = 0, groups: int = 1, dilation: Ints = 1, *, output_size: Any = None, grad_dtype: np.dtype | None = None,
    flip: bool = False, layout: str = "channels_first", accuracy: str | None = None,
) -> GradientRequest:  # fmt: skip
    """conv_transpose1d_weight, 2d or 3d."""
    blank = _blank(op, weight_size, x_dtype)
    adjoint = _transposed(
        op, shape(op, x_shape), blank, stride=stride, padding=padding, output_padding=output_padding, groups=groups, dilation=dilation,
        output_size=output_size, flip=flip, layout=layout, accuracy=accuracy,
    )  # fmt: skip
    return _weight(adjoint, grad_output, [x_dtype, grad_dtype or x_dtype], flip)


GRADIENTS: dict[str, Callable[..., GradientRequest]] = {
    f"{family}{axes}d_{of}": make
    for family, of, make in (
        ("conv", "input", conv_input), ("conv", "weight", conv_weight),
        ("conv_transpose", "input", conv_transpose_input), ("conv_transpose", "weight", conv_transpose_weight),
    )
    for axes in (1, 2, 3)
}  # fmt: skip
