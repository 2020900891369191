"""A convolution and the rectifier behind it where gradients may be required: one pass over memory less on the way out, two on the way
back, and what the bias gains comes with the gradient that the rectifier lets through (`kernels.primitives.rectifier`).

Gradients of gradients are PyTorch's, and so is whatever somebody traces or transforms.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.overrides import has_torch_function

from kernels.primitives import rectifier
from kernels.problem.errors import ProblemError, RefusedError
from kernels.torch import arguments, compute, theirs
from kernels.torch.compute import Note, threads
from kernels.torch.eligibility import autocast, differentiated, refusal, undisturbed
from kernels.torch.gradients import needed, of_conv
from kernels.torch.memory import array_of, empty

Tensor = torch.Tensor


class ConvReLU(torch.autograd.Function):
    """max(0, convolution) of x, weight and bias; further arguments as those of `compute.conv`."""

    @staticmethod
    def forward(
        x: Tensor, weight: Tensor, bias: Tensor | None, op: str, note: Note | None, stride: Any, ends: Any, dilation: Any, groups: int
    ) -> Tensor:  # fmt: skip
        given = op, x, weight, bias, stride, ends, dilation, groups
        try:
            y, reason = compute.conv(*given, rectified=True), None
        except (ProblemError, RefusedError, ZeroDivisionError) as error:  # a stride of 0
            y, reason = theirs.conv(*given).relu_(), str(error)
        if note:
            note.method, note.reason = None if reason else "with gradients", reason
        return y

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        x, weight, bias, _, _, *ctx.arguments = inputs
        ctx.biased = bias is not None
        ctx.save_for_backward(x, weight, output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, y = ctx.saved_tensors
        wanted = needed(ctx)
        if torch.is_grad_enabled() or not undisturbed(grad, x, weight, y) or not y.is_contiguous() or y.numel() == 0:
            return *of_conv(ctx, torch.ops.aten.threshold_backward(grad, y, 0), x, weight, wanted), *[None] * 6
        through, sums = _through(grad.contiguous(), y, weight.dim() - 2)
        of_x, of_weight, _ = of_conv(ctx, through, x, weight, (*wanted[:2], False))
        return of_x, of_weight, sums if wanted[2] else None, *[None] * 6


def _through(grad: Tensor, y: Tensor, axes: int) -> tuple[Tensor, Tensor]:
    """The gradient that the rectifier lets through, and what it sums to in each channel."""
    channels = y.shape[-axes - 1]
    planes = 1 if y.dim() == axes + 1 else y.shape[0], channels, y.shape[-axes:].numel()
    through, sums = empty(y.shape, y.dtype), y.new_empty(channels)
    of_grad, of_y, out = (array_of(each, planes) for each in (grad, y, through))
    rectifier.gradient(of_grad, of_y, threads(), out, array_of(sums))
    return through, sums


def convolve(
    op: str, x: Tensor, weight: Tensor, bias: Tensor | None, stride: Any, padding: Any, dilation: Any, groups: int, note: Note | None
) -> Tensor | None:
    """conv1d, conv2d or conv3d, rectified; None where that is to be computed one after the other."""
    if torch.compiler.is_compiling() or has_torch_function((x, weight, bias)) or not differentiated(x, weight, bias):
        return None
    if not undisturbed(x, weight, bias) or refusal(x, weight, bias) or autocast():
        return None
    try:
        numbers = arguments.of_conv(int(op[-2]), weight.shape[2:], stride, padding, dilation, groups)
    except (TypeError, ValueError):
        return None
    return ConvReLU.apply(x, weight, bias, op, note, *numbers)  # type: ignore[no-any-return, no-untyped-call]
