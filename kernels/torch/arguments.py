"""The arguments of torch.nn.functional's convolutions and pools, made canonical: one number per axis, padding before and after.

Nothing here looks at values of tensors, so that torch.compile and torch.export trace it; lengths may be symbols.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

Size = tuple[int, ...]


def per_axis(value: Any, axes: int) -> Size:
    """One number per axis from a number, `axes` numbers or a sequence of one. Raises ValueError for any other count."""
    if not isinstance(value, Sequence):
        return (value,) * axes
    values = tuple(value)
    if len(values) not in (1, axes):
        raise ValueError(f"{values} has {len(values)} numbers for {axes} spatial axes; pass one number or {axes}")
    return values * axes if len(values) == 1 else values


def padding_ends(padding: Any, kernel: Sequence[int], stride: Size, dilation: Size) -> Size:
    """Padding as the operators take it: before and after the first axis, before and after the second, …"""
    axes = len(kernel)
    if padding == "valid":
        return (0,) * (2 * axes)
    if padding == "same":
        if any(s != 1 for s in stride):
            raise ValueError("padding='same' wants stride 1, as PyTorch does")
        total = [d * (k - 1) for k, d in zip(kernel, dilation)]
        return tuple(end for each in total for end in (each // 2, each - each // 2))
    if isinstance(padding, str):
        raise ValueError(f"padding is {padding!r}, must be 'valid', 'same' or numbers")
    return tuple(each for p in per_axis(padding, axes) for each in (p, p))


def of_conv(axes: int, kernel: Sequence[int], stride: Any, padding: Any, dilation: Any, groups: int) -> tuple[Size, Size, Size, int]:
    """The numbers of a convolution as the operators take them. Raises ValueError and TypeError for those that make no sense."""
    step, dilated = per_axis(stride, axes), per_axis(dilation, axes)
    return step, padding_ends(padding, kernel, step, dilated), dilated, groups


def pairs(ends: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """(before, after) per axis of what `padding_ends` gives."""
    return tuple(zip(ends[::2], ends[1::2]))


def convolved(size: Sequence[Any], kernel: Sequence[Any], stride: Size, ends: Size, dilation: Size) -> list[Any]:
    """Lengths of a convolution's output."""
    return [
        (n + before + after - d * (k - 1) - 1) // s + 1
        for n, k, s, (before, after), d in zip(size, kernel, stride, pairs(ends), dilation)
    ]


def transposed(size: Sequence[Any], kernel: Sequence[Any], stride: Size, padding: Size, more: Size, dilation: Size) -> list[Any]:
    """Lengths of a transposed convolution's output."""
    return [(n - 1) * s - 2 * p + d * (k - 1) + 1 + m for n, k, s, p, m, d in zip(size, kernel, stride, padding, more, dilation)]


def pooled(size: Sequence[Any], kernel: Size, stride: Size, padding: Size, dilation: Size, ceil_mode: bool) -> list[Any]:
    """Lengths of a pool's output; with ceil_mode the last window must begin inside the input or the padding before it."""
    lengths = []
    for n, k, s, p, d in zip(size, kernel, stride, padding, dilation):
        length = (n + 2 * p - d * (k - 1) - 1 + (s - 1 if ceil_mode else 0)) // s + 1
        if ceil_mode and (length - 1) * s >= n + p:
            length = length - 1
        lengths.append(length)
    return lengths


def adaptive(output_size: Any, size: Sequence[Any]) -> Size:
    """The lengths asked for; None is the input's own."""
    axes = len(size)
    several = isinstance(output_size, Sequence)
    wanted = tuple(output_size) if several else (output_size,) * axes
    if len(wanted) != axes:
        raise ValueError(f"output_size has {len(wanted)} numbers for {axes} spatial axes; pass one number or {axes}")
    return tuple(length if each is None else each for each, length in zip(wanted, size))


def memory_format(x: torch.Tensor, axes: int) -> torch.memory_format:
    """How the output lies in memory: with channels last where only that is how x lies, else contiguous."""
    last = {(4, 2): torch.channels_last, (5, 3): torch.channels_last_3d}.get((x.dim(), axes))
    if last is None or x.is_contiguous():
        return torch.contiguous_format
    return last if x.is_contiguous(memory_format=last) else torch.contiguous_format
