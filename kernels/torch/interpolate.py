"""torch.nn.functional.interpolate as one operator, so that it comes through torch.compile whole.

PyTorch's own tracing takes resizing apart into index arithmetic and gathers, from which nobody can tell any more that it was one. The
backend puts this operator in its place beforehand; alone it is computed by PyTorch, gradients included.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import fx
from torch.nn import functional

from kernels.torch.operators import library

Tensor = torch.Tensor
aten = torch.ops.aten

MODES = {"nearest": (3, 4, 5), "linear": (3,), "bilinear": (4,), "bicubic": (4,), "trilinear": (5,)}  # with the ranks that each is for

library.define("interpolate(Tensor x, SymInt[] size, float[]? scales, str mode, bool align_corners) -> Tensor")
library.define(
    "interpolate_backward(Tensor grad, SymInt[] shape, SymInt[] size, float[]? scales, str mode, bool align_corners) -> Tensor"
)


def _operator(mode: str, rank: int, backward: bool) -> Any:
    name = {"nearest": f"upsample_nearest{rank - 2}d", "linear": "upsample_linear1d", "bilinear": "upsample_bilinear2d",
            "bicubic": "upsample_bicubic2d", "trilinear": "upsample_trilinear3d"}[mode]  # fmt: skip
    return getattr(aten, name + "_backward" * backward).default


def _corners(mode: str, align_corners: bool) -> tuple[bool, ...]:
    return () if mode == "nearest" else (align_corners,)


def _compute(x: Tensor, size: Sequence[int], scales: Sequence[float] | None, mode: str, align_corners: bool) -> Tensor:
    given = [None] * len(size) if scales is None else scales
    return _operator(mode, x.dim(), False)(x, size, *_corners(mode, align_corners), *given).contiguous()


def _fake(x: Tensor, size: Sequence[int], scales: Sequence[float] | None, mode: str, align_corners: bool) -> Tensor:
    return x.new_empty([*x.shape[:2], *size])


def _compute_backward(
    grad: Tensor, shape: Sequence[int], size: Sequence[int], scales: Sequence[float] | None, mode: str, align_corners: bool
) -> Tensor:
    given = [None] * len(size) if scales is None else scales
    found: Tensor = _operator(mode, len(shape), True)(grad, size, shape, *_corners(mode, align_corners), *given)
    return found.contiguous()


def _remember(ctx: Any, inputs: Any, output: Tensor) -> None:
    x, *ctx.arguments = inputs
    ctx.shape = x.shape


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return torch.ops.spectroconv.interpolate_backward(grad, ctx.shape, *ctx.arguments), None, None, None, None


def _remember_backward(ctx: Any, inputs: Any, output: Tensor) -> None:
    _, _, *ctx.arguments = inputs


def _backward_of_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """Resizing is linear: what leads back from its gradient is the resizing itself."""
    return torch.ops.spectroconv.interpolate(grad, *ctx.arguments), None, None, None, None, None


_FAKES = {"interpolate": _fake, "interpolate_backward": lambda grad, shape, *numbers: grad.new_empty(shape)}
_GRADIENTS = {"interpolate": (_backward, _remember), "interpolate_backward": (_backward_of_backward, _remember_backward)}
library.impl("interpolate", _compute, "CompositeExplicitAutograd")
library.impl("interpolate_backward", _compute_backward, "CompositeExplicitAutograd")
for _name, (_function, _setup) in _GRADIENTS.items():
    torch.library.register_fake(f"spectroconv::{_name}", _FAKES[_name], lib=library)
    torch.library.register_autograd(f"spectroconv::{_name}", _function, setup_context=_setup, lib=library)


def keep_whole(module: fx.GraphModule) -> None:
    """Put our operator in the place of calls of functional.interpolate that it does the same as."""
    for node in module.graph.nodes:
        if node.op == "call_function" and node.target is functional.interpolate:
            node.target = interpolate
    module.recompile()


def interpolate(
    input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None, antialias: bool = False,
) -> Tensor:  # fmt: skip
    """torch.nn.functional.interpolate; by our operator where that does it."""
    axes = input.dim() - 2
    plain = input.dim() in MODES.get(mode, ()) and not antialias and not recompute_scale_factor and input.is_cpu
    if not plain or input.dtype not in (torch.float32, torch.float64) or (size is None) == (scale_factor is None):
        return functional.interpolate(input, size, scale_factor, mode, align_corners, recompute_scale_factor, antialias)
    if size is None:
        given = scale_factor if isinstance(scale_factor, Sequence) else [scale_factor]
        if any(by != int(by) for by in given) and any(isinstance(n, torch.SymInt) for n in input.shape):
            return functional.interpolate(input, None, scale_factor, mode, align_corners)  # lengths round as floats do, symbols do not
        scales = [float(each) for each in scale_factor] if isinstance(scale_factor, Sequence) else [float(scale_factor)] * axes
        lengths = [n * int(by) if by == int(by) else int(n * by) for n, by in zip(input.shape[2:], scales)]
        return torch.ops.spectroconv.interpolate(input, lengths, scales, mode, bool(align_corners))
    lengths = list(size) if isinstance(size, Sequence) else [size] * axes
    return torch.ops.spectroconv.interpolate(input, lengths, None, mode, bool(align_corners))
