"""The arguments of convolutions, plain and transposed, become a problem and its operands."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kernels.problem.accuracy import accuracy_of, precision_of
from kernels.problem.arrays import canonical, intake, result_dtypes, warn_if_widened
from kernels.problem.conv import Conv, ConvTranspose
from kernels.problem.errors import ProblemError
from kernels.problem.operands import Operands
from kernels.problem.options import (
    Array,
    Ints,
    Request,
    Signature,
    activation_pair,
    check_positive,
    check_size,
    flag,
    flat,
    is_channels_last,
    padding_pairs,
    per_axis,
    per_channel,
    pool_triple,
    split_shape,
    user_shape,
)
from kernels.problem.window import COMPUTED, Pairs, Size, dilated


@dataclasses.dataclass(frozen=True)
class ConvLayer:
    """What every convolution reads from its arguments: axes of x, canonical order of weight, numbers per axis."""

    op: str
    axes: int
    channels_last: bool
    batch: tuple[int, ...]
    n: int
    c_in: int
    size: Size
    given: Array  # weight in the user's memory
    has_dtype: bool  # whether the user's weight had one
    weight: Array
    groups: int
    stride: Size
    dilation: Size

    @property
    def kernel(self) -> Size:
        return self.weight.shape[2:]


def axes_of(op: str) -> int:
    """Spatial axes of an operation by its name: 2 for conv2d and for conv2d_weight."""
    return int(next(letter for letter in op if letter.isdigit()))


def _layer(
    op: str, x_shape: Sequence[int], weight: Any, *, stride: Ints, dilation: Ints, groups: int, flip: bool, layout: str, order: str
) -> ConvLayer:
    axes, last = axes_of(op), is_channels_last(op, layout)
    batch, n, c_in, size = split_shape(op, x_shape, axes, last)
    has_dtype = hasattr(weight, "dtype")
    given = weight = intake(op, "weight", weight)
    if weight.ndim != axes + 2:
        order = "(*kernel, C_in/groups, C_out)" if last else order
        raise ProblemError(f"{op}: weight has shape {weight.shape}, {weight.ndim} axes; must have {axes + 2} in the order {order}")
    if last:
        weight = np.moveaxis(weight, (-1, -2), (0, 1))
    if flag(op, "flip", flip):
        weight = weight[(..., *(slice(None, None, -1),) * axes)]
    groups = per_axis(op, "groups", groups, 1)[0]
    stride, dilation = per_axis(op, "stride", stride, axes), per_axis(op, "dilation", dilation, axes)
    check_positive(op, weight.shape[2:], stride, dilation)
    return ConvLayer(
        op=op, axes=axes, channels_last=last, batch=batch, n=n, c_in=c_in, size=size, given=given, has_dtype=has_dtype, weight=weight,
        groups=groups, stride=stride, dilation=dilation,
    )  # fmt: skip


def _assemble(
    make: Callable[..., Conv], layer: ConvLayer, x_shape: Sequence[int], x_dtype: np.dtype, padding: Pairs, c_out: int, *, bias: Any,
    scale: Any, shift: Any, activation: Any, pool: Any, accuracy: str | None, precision: Any = None, **more: Any,
) -> Request:  # fmt: skip
    """The problem that `make` builds, and its operands."""
    op, axes = layer.op, layer.axes
    others = {"bias": bias, "scale": scale, "shift": shift}
    given = {"weight": layer.given, **{name: intake(op, name, value) for name, value in others.items() if value is not None}}
    computed, returned = result_dtypes([x_dtype, *(array.dtype for array in given.values())])
    chosen = {"weight": layer.has_dtype} | {name: hasattr(value, "dtype") for name, value in others.items()}  # lists have none of their own
    warn_if_widened(op, x_dtype, computed, {name: array.dtype for name, array in given.items() if chosen[name]})
    scaled = scale is not None or shift is not None
    problem = make(
        op=op, n=layer.n, c_in=layer.c_in, size=flat(layer.size, 1), kernel=flat(layer.kernel, 1), stride=flat(layer.stride, 1),
        padding=flat(padding, (0, 0)), dilation=flat(layer.dilation, 1), dtype=COMPUTED[computed.itemsize],
        c_out=c_out, groups=layer.groups, bias=bias is not None, scale=scaled,
        activation=activation_pair(op, activation), pool=pool_triple(op, pool, axes), accuracy=accuracy_of(op, accuracy),
        precision=precision_of(op, precision, computed.name), **more,
    )  # fmt: skip
    check_size(problem)
    operands = Operands(
        canonical(layer.weight, computed, problem.weight_shape),
        per_channel(op, "bias", bias, c_out, computed),
        per_channel(op, "scale", np.ones(c_out) if scaled and scale is None else scale, c_out, computed),
        per_channel(op, "shift", np.zeros(c_out) if scaled and shift is None else shift, c_out, computed),
    )
    shape = user_shape(layer.batch, problem, axes, layer.channels_last)
    return Request(problem, operands, Signature(tuple(x_shape), shape, returned, axes, layer.channels_last), given)


def _channels_per_group(c_in: int, groups: int) -> str:
    """What to do about channels of x that a weight does not have, for the end of a message."""
    if c_in % groups:
        return f"{c_in} channels do not make {groups} groups, pass groups that divide them"
    count = f"{c_in}/{groups} = {c_in // groups}" if groups > 1 else str(c_in)
    return f"pass weight with {count} input channels"


def conv_layer(
    op: str, x_shape: Sequence[int], weight: Any, *, stride: Ints, padding: Any, dilation: Ints, groups: int, flip: bool, layout: str
) -> tuple[ConvLayer, Pairs, int]:
    """(layer, padding, output channels) of a convolution."""
    order = "(C_out, C_in/groups, *kernel)"
    layer = _layer(op, x_shape, weight, stride=stride, dilation=dilation, groups=groups, flip=flip, layout=layout, order=order)
    groups, c_in, (c_out, per_group) = layer.groups, layer.c_in, layer.weight.shape[:2]
    if groups >= 1 and c_in != per_group * groups:
        wants = f"weight wants {per_group} per group x groups={groups} = {per_group * groups}"
        raise ProblemError(f"{op}: x has {c_in} channels but {wants}; {_channels_per_group(c_in, groups)}")
    return layer, padding_pairs(op, padding, layer.size, layer.kernel, layer.stride, layer.dilation), c_out


def conv(
    op: str, x_shape: Sequence[int], x_dtype: np.dtype, weight: Any, bias: Any = None, stride: Ints = 1, padding: Any = 0,
    dilation: Ints = 1, groups: int = 1, *, flip: bool = False, activation: Any = None, pool: Any = None, scale: Any = None,
    shift: Any = None, layout: str = "channels_first", accuracy: str | None = None, precision: str | None = None,
) -> Request:  # fmt: skip
    """conv1d, conv2d or conv3d."""
    layer, pairs, c_out = conv_layer(
        op, x_shape, weight, stride=stride, padding=padding, dilation=dilation, groups=groups, flip=flip, layout=layout
    )
    return _assemble(
        Conv, layer, x_shape, x_dtype, pairs, c_out, bias=bias, scale=scale, shift=shift, activation=activation, pool=pool,
        accuracy=accuracy, precision=precision,
    )  # fmt: skip


def transposed_layer(
    op: str, x_shape: Sequence[int], weight: Any, *, stride: Ints, padding: Any, output_padding: Ints, groups: int, dilation: Ints,
    output_size: Any, flip: bool, layout: str,
) -> tuple[ConvLayer, Pairs, Size, int]:  # fmt: skip
    """(layer, padding, output padding, output channels) of a transposed convolution."""
    order = "(C_in, C_out/groups, *kernel)"
    layer = _layer(op, x_shape, weight, stride=stride, dilation=dilation, groups=groups, flip=flip, layout=layout, order=order)
    if layer.channels_last and layer.groups > 1 and layer.weight.shape[0] % layer.groups == 0:  # C_out holds the groups, canonically C_in
        per_group = layer.weight.reshape(layer.groups, -1, *layer.weight.shape[1:])
        layer = dataclasses.replace(layer, weight=per_group.swapaxes(1, 2).reshape(-1, *per_group.shape[1:2], *layer.kernel))
    elif layer.channels_last:
        layer = dataclasses.replace(layer, weight=layer.weight.swapaxes(0, 1))
    if layer.c_in != layer.weight.shape[0]:
        groups = layer.groups if layer.channels_last and layer.groups > 1 else 1  # a weight with channels last has those of one group
        remedy = _channels_per_group(layer.c_in, groups)
        raise ProblemError(f"{op}: x has {layer.c_in} channels but weight wants {layer.weight.shape[0]}; {remedy}")
    full = tuple((n - 1) * s + dilated(k, d) for n, k, s, d in zip(layer.size, layer.kernel, layer.stride, layer.dilation))
    more = per_axis(op, "output_padding", output_padding, layer.axes)
    if isinstance(padding, str) and padding in ("same", "same_lower"):
        excess = [length + extra - n * s for length, extra, n, s in zip(full, more, layer.size, layer.stride)]
        more = tuple(max(extra, extra - e) for extra, e in zip(more, excess))
        halves = [(max(e, 0) // 2, max(e, 0) - max(e, 0) // 2) for e in excess]
        pairs: Pairs = tuple(half[::-1] if padding == "same_lower" else half for half in halves)
    else:
        pairs = padding_pairs(op, padding, layer.size, layer.kernel, layer.stride, layer.dilation)
    if output_size is not None:
        more = _output_padding(op, layer, output_size, tuple(length - sum(pair) for length, pair in zip(full, pairs)))
    return layer, pairs, more, layer.weight.shape[1] * layer.groups


def conv_transpose(
    op: str, x_shape: Sequence[int], x_dtype: np.dtype, weight: Any, bias: Any = None, stride: Ints = 1, padding: Any = 0,
    output_padding: Ints = 0, groups: int = 1, dilation: Ints = 1, *, output_size: Any = None, flip: bool = False, activation: Any = None,
    pool: Any = None, scale: Any = None, shift: Any = None, layout: str = "channels_first", accuracy: str | None = None,
) -> Request:  # fmt: skip
    """conv_transpose1d, 2d or 3d."""
    layer, pairs, more, c_out = transposed_layer(
        op, x_shape, weight, stride=stride, padding=padding, output_padding=output_padding, groups=groups, dilation=dilation,
        output_size=output_size, flip=flip, layout=layout,
    )  # fmt: skip
    return _assemble(
        ConvTranspose, layer, x_shape, x_dtype, pairs, c_out, bias=bias, scale=scale, shift=shift, activation=activation, pool=pool,
        accuracy=accuracy, output_padding=flat(more, 0),
    )  # fmt: skip


def _output_padding(op: str, layer: ConvLayer, output_size: Any, shortest: Size) -> Size:
    """What lengthens the shortest output to the size asked for; only the lengths that divide into as many inputs can be had."""
    wanted = per_axis(op, "output_size", output_size, layer.axes)
    for size, least, s, d, axis in zip(wanted, shortest, layer.stride, layer.dilation, "DHW"[-layer.axes :]):
        if not least <= size < least + max(s, d):
            raise ProblemError(
                f"{op}: axis {axis}: output_size is {size}, must be {least} to {least + max(s, d) - 1}: (input - 1) * stride + dilated "
                f"kernel - padding = {least}, and less than stride {s} or dilation {d} more"
            )
    return tuple(size - least for size, least in zip(wanted, shortest))
