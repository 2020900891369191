"""Gradients of convolutions by `kernels.grad`, tensors in and out without copies.

Where gradients of gradients may be asked for, where somebody traces or transforms, and for tensors that ours do not compute, PyTorch's own
operators do it (`gradients`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from kernels.api import grad as ours
from kernels.api.grad_maxima import from_input
from kernels.problem.errors import ProblemError, RefusedError
from kernels.torch.compute import threads
from kernels.torch.eligibility import refusal, undisturbed
from kernels.torch.memory import array_of, empty

Tensor = torch.Tensor
Found = tuple[Tensor | None, Tensor | None, Tensor | None]


def maxima(op: str, grad: Tensor, x: Tensor, arguments: tuple[Any, ...]) -> Tensor | None:
    """The gradient of x of a max pool, from x alone; None where PyTorch is to do it. arguments: as `torch.ops.spectroconv` takes them."""
    if torch.is_grad_enabled() or not undisturbed(grad, x) or refusal(x, grad) is not None or x.dtype != grad.dtype or grad.numel() == 0:
        return None
    axes = len(arguments[0])
    held = x.contiguous(), grad.contiguous()
    result = empty(x.shape, x.dtype)
    batched = [(1,) * (axes + 2 - each.dim()) + tuple(each.shape) for each in (*held, result)]
    of_x, of_grad, out = (array_of(each, shape) for each, shape in zip((*held, result), batched))
    kernel, stride, padding, dilation, ceil = arguments
    try:
        from_input(op, of_x, of_grad, (tuple(kernel), tuple(stride), tuple(padding), tuple(dilation), ceil), threads(), out)
    except (ProblemError, RefusedError):
        return None
    return result


def convolution(
    op: str, needed: tuple[bool, bool, bool], grad: Tensor, x: Tensor, weight: Tensor, options: dict[str, Any]
) -> Found | None:  # fmt: skip
    """Gradients of x, weight and bias, of those that are needed; None where PyTorch is to do it. options: of the functions of
    `kernels.grad`."""
    if torch.is_grad_enabled() or not undisturbed(grad, x, weight):
        return None
    if refusal(x, weight, grad) is not None or grad.numel() == 0 or x.numel() == 0:
        return None
    axes = weight.dim() - 2
    held = grad.contiguous(), x.contiguous(), weight.contiguous()
    of_grad, of_x, of_weight = map(array_of, held)
    options = {**options, "threads": threads()}

    def into(shape: Any, compute: Callable[[Any], Any]) -> Tensor:
        result = empty(shape, x.dtype)
        compute(array_of(result))
        return result

    by_input, by_weight = (getattr(ours, f"{op}_{of}") for of in ("input", "weight"))
    try:
        for_x = into(x.shape, lambda out: by_input(x.shape, of_weight, of_grad, **options, out=out)) if needed[0] else None
        for_weight = into(weight.shape, lambda out: by_weight(of_x, weight.shape, of_grad, **options, out=out)) if needed[1] else None
    except (ProblemError, RefusedError):
        return None
    spatial = [grad.dim() - 1 - axis for axis in range(axes)]
    for_bias = grad.sum([*spatial, 0] if grad.dim() == axes + 2 else spatial) if needed[2] else None
    return for_x, for_weight, for_bias
