"""Batch norm as it trains, with its gradient: a channel at a time, by `kernels.primitives.batch_norm`.

Gradients of gradients are PyTorch's, and so is whatever somebody traces or transforms.
"""

from __future__ import annotations

from typing import Any

import torch

from kernels.primitives import batch_norm
from kernels.torch.compute import threads
from kernels.torch.eligibility import autocast, refusal, undisturbed
from kernels.torch.memory import array_of, empty

Tensor = torch.Tensor


def trainable(x: Tensor, weight: Tensor | None, bias: Tensor | None, epsilon: float) -> str | None:
    """Why PyTorch normalises this batch; None where ours does."""
    if not undisturbed(x, weight, bias) or torch.compiler.is_compiling():
        return "somebody traces or transforms the call"
    if reason := refusal(x, weight, bias) or autocast():
        return reason
    if not x.is_contiguous():
        return "its channels lie last or apart; ours takes them one after the other"
    if not epsilon > 0:
        return f"eps is {epsilon}, which PyTorch's own refuses"
    if x.shape[1] < threads() or x.numel() <= x.shape[1]:
        return "it has fewer channels than there are threads, or no more than a number each"
    return None


def _planes(x: Tensor) -> tuple[int, int, int]:
    return x.shape[0], x.shape[1], x[0, 0].numel()


class Normalise(torch.autograd.Function):
    """(y, stats) of x (N, C, *spatial), weight and bias (C,), epsilon, and whether y is rectified; stats as `kernels.primitives.batch_norm`
    says."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor, epsilon: float, rectified: bool) -> tuple[Tensor, Tensor]:
        y, stats = empty(x.shape, x.dtype), x.new_empty((batch_norm.STATS, x.shape[1]))
        gamma, beta, planes = weight.contiguous(), bias.contiguous(), _planes(x)
        arrays = array_of(x, planes), array_of(gamma), array_of(beta)
        batch_norm.normalise(*arrays, epsilon, threads(), array_of(y, planes), array_of(stats), rectified)
        return y, stats

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        x, weight, _, ctx.epsilon, ctx.rectified = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(x, weight, output[1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Any) -> tuple[Tensor | None, ...]:
        x, weight, stats = ctx.saved_tensors
        if torch.is_grad_enabled() or not undisturbed(grad, x, weight):
            mean, inverse, _, factor, added = stats
            if ctx.rectified:
                lined = (-1, *(1,) * (x.dim() - 2))
                before = (x.detach() - mean.view(lined)) * factor.view(lined) + added.view(lined)
                grad = torch.ops.aten.threshold_backward(grad, before, 0)
            found = torch.ops.aten.native_batch_norm_backward(
                grad, x, weight, None, None, mean, inverse, True, ctx.epsilon, list(ctx.needs_input_grad[:3])
            )
            return *found, None, None
        grad, held, planes = grad.contiguous(), weight.contiguous(), _planes(x)
        of_x, sums = empty(x.shape, x.dtype), x.new_empty((2, x.shape[1]))
        given = array_of(x, planes), array_of(held), array_of(stats), array_of(grad, planes)
        batch_norm.gradient(*given, threads(), array_of(of_x, planes), array_of(sums), ctx.rectified)
        return of_x, sums[1], sums[0], None, None


def normalised(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, epsilon: float, rectified: bool = False
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """(y, mean, variance) of a batch that `trainable` has nothing against; rectified: y at least 0."""
    scale = x.new_ones(x.shape[1]) if weight is None else weight
    shift = x.new_zeros(x.shape[1]) if bias is None else bias
    y, stats = Normalise.apply(x, scale, shift, epsilon, rectified)  # type: ignore[no-untyped-call]
    return y, stats[0], stats[2]
