"""PyTorch's own operators behind our operators' arguments: what computes the tensors and requests that ours refuse, and gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from kernels.torch.arguments import memory_format, pairs

Tensor = torch.Tensor


def lying(y: Tensor, x: Tensor, axes: int) -> Tensor:
    """The result laid out in memory as ours would be."""
    return y.contiguous(memory_format=memory_format(x, axes))


def even(ends: Any) -> bool:
    """Whether the padding before and after is alike on every axis."""
    return all(before == after for before, after in pairs(ends))


def padded(x: Tensor, ends: Any) -> Tensor:
    """x with zeros around it; functional.pad takes the last axis first."""
    return functional.pad(x, [end for pair in reversed(pairs(ends)) for end in pair])


def conv(op: str, x: Tensor, weight: Tensor, bias: Tensor | None, stride: Any, ends: Any, dilation: Any, groups: int) -> Tensor:
    """conv1d, conv2d or conv3d."""
    source, padding = (x, list(ends[::2])) if even(ends) else (padded(x, ends), [0] * len(stride))
    y = getattr(functional, op)(source, weight, bias, stride, padding, dilation, groups)
    return lying(y, x, len(stride))


def conv_transpose(
    op: str, x: Tensor, weight: Tensor, bias: Tensor | None, stride: Any, padding: Any, more: Any, groups: int, dilation: Any
) -> Tensor:
    """conv_transpose1d, 2d or 3d."""
    return lying(getattr(functional, op)(x, weight, bias, stride, padding, more, groups, dilation), x, len(stride))


def max_pool(op: str, x: Tensor, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: bool) -> Tensor:
    """max_pool1d, 2d or 3d."""
    return lying(getattr(functional, op)(x, kernel, stride, padding, dilation, ceil), x, len(kernel))


def max_pool_with_indices(
    op: str, x: Tensor, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: bool
) -> tuple[Tensor, Tensor]:
    """The same with positions."""
    both = getattr(functional, f"{op}_with_indices")(x, kernel, stride, padding, dilation, ceil)
    return lying(both[0], x, len(kernel)), lying(both[1], x, len(kernel))


def avg_pool(op: str, x: Tensor, kernel: Any, stride: Any, padding: Any, ceil: bool, counted: bool, divisor: int | None) -> Tensor:
    """avg_pool1d, 2d or 3d; one axis takes no divisor of its own."""
    if op == "avg_pool1d":
        if divisor is not None:
            return avg_pool("avg_pool2d", x.unsqueeze(-2), (1, *kernel), (1, *stride), (0, *padding), ceil, counted, divisor).squeeze(-2)
        return functional.avg_pool1d(x, kernel, stride, padding, ceil, counted)
    return lying(getattr(functional, op)(x, kernel, stride, padding, ceil, counted, divisor), x, len(kernel))


def adaptive_pool(op: str, x: Tensor, output_size: Any) -> Tensor:
    """adaptive_avg_pool1d to adaptive_max_pool3d."""
    return lying(getattr(functional, op)(x, output_size), x, len(output_size))


def adaptive_max_pool_with_indices(op: str, x: Tensor, output_size: Any) -> tuple[Tensor, Tensor]:
    """adaptive_max_pool1d, 2d or 3d with positions."""
    both = getattr(functional, f"{op}_with_indices")(x, output_size)
    return lying(both[0], x, len(output_size)), lying(both[1], x, len(output_size))
