"""Gradients of our operators: a `remember(ctx, inputs, output)` and a `backward(ctx, grad)` a family, as torch.library and
torch.autograd.Function take them alike.

Convolutions' are ours (`backward`) unless gradients of gradients may be asked for; those, and averages, use PyTorch's own backward
operators; a maximum's gradient goes where the maximum was. All of them are differentiable in their turn.
"""

from __future__ import annotations

from typing import Any

import torch

from kernels.torch import backward, theirs
from kernels.torch.arguments import pairs
from kernels.torch.theirs import even, padded

Tensor = torch.Tensor
aten = torch.ops.aten


def remember_conv(ctx: Any, inputs: Any, output: Tensor) -> None:
    """What the backward of a convolution reads."""
    x, weight, bias, *ctx.arguments = inputs
    ctx.save_for_backward(x, weight)
    ctx.biased = bias is not None


def needed(ctx: Any) -> tuple[bool, bool, bool]:
    """Whether gradients of x, weight and bias are needed."""
    return ctx.needs_input_grad[0], ctx.needs_input_grad[1], ctx.biased and ctx.needs_input_grad[2]


def _convolution_backward(
    ctx: Any, grad: Tensor, x: Tensor, weight: Tensor, wanted: tuple[bool, bool, bool], *arguments: Any
) -> tuple[Tensor | None, ...]:
    axes = weight.dim() - 2
    alone = x.dim() == axes + 1
    if alone:
        x, grad = x.unsqueeze(0), grad.unsqueeze(0)
    sizes = [grad.shape[1]] if ctx.biased else None
    of_x, of_weight, of_bias = aten.convolution_backward(grad, x, weight, sizes, *arguments, list(wanted))
    if alone and of_x is not None:
        of_x = of_x.squeeze(0)
    return of_x, of_weight, of_bias


def backward_conv(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """Gradients of x, weight and bias; none of the numbers."""
    x, weight = ctx.saved_tensors
    return *of_conv(ctx, grad, x, weight, needed(ctx)), *[None] * 4


def of_conv(ctx: Any, grad: Tensor, x: Tensor, weight: Tensor, wanted: tuple[bool, bool, bool]) -> tuple[Tensor | None, ...]:
    """Gradients of x, weight and bias, of those that are wanted; ctx: as `remember_conv` leaves it."""
    stride, ends, dilation, groups = ctx.arguments
    axes = len(stride)
    options = {"stride": tuple(stride), "padding": pairs(ends), "dilation": tuple(dilation), "groups": groups}
    ours = backward.convolution(f"conv{axes}d", wanted, grad, x, weight, options)
    if ours is not None:
        return ours
    same = even(ends)
    source = x if same else padded(x, ends)
    padding = list(ends[::2]) if same else [0] * axes
    found = _convolution_backward(ctx, grad, source, weight, wanted, stride, padding, dilation, False, [0] * axes, groups)
    of_x = found[0]
    if of_x is not None and not same:
        for axis in range(axes):
            of_x = of_x.narrow(of_x.dim() - axes + axis, ends[2 * axis], x.shape[x.dim() - axes + axis])
    return of_x, *found[1:]


def backward_conv_transpose(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """Gradients of x, weight and bias."""
    x, weight = ctx.saved_tensors
    stride, padding, more, groups, dilation = ctx.arguments
    options = {
        "stride": tuple(stride), "padding": tuple(padding), "output_padding": tuple(more), "groups": groups, "dilation": tuple(dilation),
    }  # fmt: skip
    ours = backward.convolution(f"conv_transpose{len(stride)}d", needed(ctx), grad, x, weight, options)
    if ours is not None:
        return *ours, *[None] * 5
    found = _convolution_backward(ctx, grad, x, weight, needed(ctx), stride, padding, dilation, True, more, groups)
    return *found, *[None] * 5


def remember_max(ctx: Any, inputs: Any, output: tuple[Tensor, Tensor]) -> None:
    """Where the maxima were."""
    x, *arguments = inputs
    ctx.save_for_backward(output[1])
    ctx.shape, ctx.numbers = x.shape, len(arguments)
    ctx.axes = len(arguments[0])
    ctx.mark_non_differentiable(output[1])


def _scattered(grad: Tensor, indices: Tensor, shape: Any, axes: int) -> Tensor:
    """Each gradient added where its maximum was."""
    planes = grad.dim() - axes
    flat = grad.new_zeros(shape).flatten(planes)
    return flat.scatter_add(-1, indices.flatten(planes), grad.flatten(planes)).reshape(shape)


def backward_max(ctx: Any, grad: Tensor, _: Any) -> tuple[Tensor | None, ...]:
    """The gradient of x where the positions were returned too."""
    (indices,) = ctx.saved_tensors
    return _scattered(grad, indices, ctx.shape, ctx.axes), *[None] * ctx.numbers


def remember_pool(ctx: Any, inputs: Any, output: Tensor) -> None:
    """What the backward of a pool reads."""
    x, *ctx.arguments = inputs
    ctx.save_for_backward(x)


def backward_max_alone(op: str) -> Any:
    """The backward of a max pool that kept no positions: they are found again."""

    def backward_of(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        if not op.startswith("adaptive") and (ours := backward.maxima(op, grad, x, tuple(ctx.arguments))) is not None:
            return ours, *[None] * len(ctx.arguments)
        find = theirs.adaptive_max_pool_with_indices if op.startswith("adaptive") else theirs.max_pool_with_indices
        _, indices = find(op, x, *ctx.arguments)  # torch.func.grad takes no operators of torch.library
        return _scattered(grad, indices, x.shape, len(ctx.arguments[0])), *[None] * len(ctx.arguments)

    return backward_of


def _as_planes(tensor: Tensor, axes: int) -> Tensor:
    """One axis gets a height, as PyTorch's backward operators want it."""
    return tensor.unsqueeze(-2) if axes == 1 else tensor


def backward_avg(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """The gradient of x of an average pool."""
    (x,) = ctx.saved_tensors
    kernel, stride, padding, ceil, counted, divisor = ctx.arguments
    axes = len(kernel)
    if axes == 1:
        kernel, stride, padding = (1, *kernel), (1, *stride), (0, *padding)
    operator = aten.avg_pool3d_backward if axes == 3 else aten.avg_pool2d_backward
    found = operator(_as_planes(grad, axes), _as_planes(x, axes), kernel, stride, padding, ceil, counted, divisor)
    return found.squeeze(-2) if axes == 1 else found, *[None] * 6


def backward_adaptive_avg(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """The gradient of x of an adaptive average pool."""
    (x,) = ctx.saved_tensors
    axes = len(ctx.arguments[0])
    operator = aten._adaptive_avg_pool3d_backward if axes == 3 else aten._adaptive_avg_pool2d_backward
    found = operator(_as_planes(grad, axes), _as_planes(x, axes))
    return found.squeeze(-2) if axes == 1 else found, None
