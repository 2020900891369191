"""Our operations as operators of PyTorch, `torch.ops.spectroconv.conv1d` and so on, with shapes for tracing and gradients.

Registered one by one through `torch.library.Library`: a call through `torch.library.custom_op` takes 14 us without gradients and 54 with
them, through this 5 in inference mode, 12 without gradients and 44 with (PyTorch 2.13, Xeon, 2026-11). Tensors that ours do not compute
go to PyTorch's own operator; so do those of other devices.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch

from kernels.problem.errors import ProblemError, RefusedError
from kernels.torch import compute, gradients, theirs
from kernels.torch.arguments import memory_format, pooled
from kernels.torch.eligibility import refusal, undisturbed

Tensor = torch.Tensor

NAMESPACE = "spectroconv"


@dataclasses.dataclass(frozen=True)
class Family:
    """The operators of one kind, of one to three axes.

    ours(op, *arguments, note) and theirs(op, *arguments) compute; shape(*arguments) is the output's; remember and backward(op) are as
    torch.library.register_autograd takes them; operands counts the tensors that come first.
    """

    name: str
    schema: str
    operands: int
    ours: Callable[..., Any]
    theirs: Callable[..., Any]
    shape: Callable[..., list[Any]]
    remember: Callable[..., None]
    backward: Callable[[str], Callable[..., Any]]
    suffix: str = ""

    def op(self, axes: int) -> str:
        """The operation's name for so many axes."""
        return f"{self.name}{axes}d"


_CONV = "(Tensor x, Tensor weight, Tensor? bias, SymInt[] stride, SymInt[] padding, SymInt[] dilation, SymInt groups) -> Tensor"
_TRANSPOSE = (
    "(Tensor x, Tensor weight, Tensor? bias, SymInt[] stride, SymInt[] padding, SymInt[] output_padding, SymInt groups, "
    "SymInt[] dilation) -> Tensor"
)
_MAX = "(Tensor x, SymInt[] kernel_size, SymInt[] stride, SymInt[] padding, SymInt[] dilation, bool ceil_mode) -> "
_AVG = (
    "(Tensor x, SymInt[] kernel_size, SymInt[] stride, SymInt[] padding, bool ceil_mode, bool count_include_pad, "
    "SymInt? divisor_override) -> Tensor"
)
_ADAPTIVE = "(Tensor x, SymInt[] output_size) -> "


def _max_shape(x: Tensor, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: bool) -> list[Any]:
    axes = len(kernel)
    return [*x.shape[: x.dim() - axes], *pooled(x.shape[-axes:], kernel, stride, padding, dilation, ceil)]


def _avg_shape(x: Tensor, kernel: Any, stride: Any, padding: Any, ceil: bool, counted: bool, divisor: Any) -> list[Any]:
    return _max_shape(x, kernel, stride, padding, (1,) * len(kernel), ceil)


def _adaptive_shape(x: Tensor, output_size: Any) -> list[Any]:
    return [*x.shape[: x.dim() - len(output_size)], *output_size]


def _every(backward: Callable[..., Any]) -> Callable[[str], Callable[..., Any]]:
    return lambda op: backward


WITH_INDICES = "_with_indices"

FAMILIES = (
    Family(
        "conv", _CONV, 3, compute.conv, theirs.conv, lambda x, weight, bias, stride, ends, dilation, groups: compute.conv_shape(
            x, weight, stride, ends, dilation), gradients.remember_conv, _every(gradients.backward_conv),
    ),
    Family(
        "conv_transpose", _TRANSPOSE, 3, compute.conv_transpose, theirs.conv_transpose,
        lambda x, weight, bias, *arguments: compute.conv_transpose_shape(x, weight, *arguments), gradients.remember_conv,
        _every(gradients.backward_conv_transpose),
    ),
    Family("max_pool", _MAX + "Tensor", 1, compute.max_pool, theirs.max_pool, _max_shape, gradients.remember_pool,
           gradients.backward_max_alone),
    Family("max_pool", _MAX + "(Tensor, Tensor)", 1, compute.max_pool_with_indices, theirs.max_pool_with_indices, _max_shape,
           gradients.remember_max, _every(gradients.backward_max), WITH_INDICES),
    Family("avg_pool", _AVG, 1, compute.avg_pool, theirs.avg_pool, _avg_shape, gradients.remember_pool, _every(gradients.backward_avg)),
    Family("adaptive_avg_pool", _ADAPTIVE + "Tensor", 1, compute.adaptive_avg_pool, theirs.adaptive_pool, _adaptive_shape,
           gradients.remember_pool, _every(gradients.backward_adaptive_avg)),
    Family("adaptive_max_pool", _ADAPTIVE + "Tensor", 1, compute.adaptive_max_pool, theirs.adaptive_pool, _adaptive_shape,
           gradients.remember_pool, gradients.backward_max_alone),
    Family("adaptive_max_pool", _ADAPTIVE + "(Tensor, Tensor)", 1, compute.adaptive_max_pool_with_indices,
           theirs.adaptive_max_pool_with_indices, _adaptive_shape, gradients.remember_max, _every(gradients.backward_max), WITH_INDICES),
)  # fmt: skip

library = torch.library.Library(NAMESPACE, "FRAGMENT")

Compute = Callable[..., Any]


@dataclasses.dataclass(frozen=True)
class Operator:
    """One registered operator: through PyTorch's dispatcher, at once, and at once with gradients."""

    name: str
    axes: int
    dispatched: Any
    at_once: Compute
    differentiable: Any


def _ours_or_theirs(family: Family, op: str) -> Compute:
    def cpu(*arguments: Any, note: compute.Note | None = None) -> Any:
        reason = refusal(*arguments[: family.operands])
        if reason is None:
            try:
                return family.ours(op, *arguments, note=note)
            except (ProblemError, RefusedError, ZeroDivisionError) as error:  # a stride of 0
                reason = str(error)
        if note:
            note.method, note.reason = None, reason
        return family.theirs(op, *arguments)

    return cpu


def _fake(family: Family, axes: int) -> Compute:
    def fake(*arguments: Any) -> Any:
        x = arguments[0]
        shape, format = family.shape(*arguments), memory_format(x, axes)
        y = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=format)
        if not family.suffix:
            return y
        return y, torch.empty(shape, dtype=torch.int64, device=x.device, memory_format=format)

    return fake


def _function(name: str, operands: int, dispatched: Any, at_once: Compute, remember: Any, backward: Any) -> Any:
    """The operator with gradients for calls that skip the dispatcher's, which takes 30 us more and knows no torch.func.grad."""

    def forward(*arguments: Any) -> Any:
        return (at_once if undisturbed(*arguments[:operands]) else dispatched)(*arguments)

    return type(
        f"{name}_at_once",
        (torch.autograd.Function,),
        {
            "generate_vmap_rule": True,
            "forward": staticmethod(forward),
            "setup_context": staticmethod(remember),
            "backward": staticmethod(lambda ctx, *grads: backward(ctx, *grads)),
        },
    )


def _register(family: Family, axes: int) -> Operator:
    op = family.op(axes)
    name = op + family.suffix
    library.define(name + family.schema)
    at_once, backward = _ours_or_theirs(family, op), family.backward(op)
    library.impl(name, at_once, "CPU")
    library.impl(name, lambda *arguments: family.theirs(op, *arguments), "CompositeExplicitAutograd")
    torch.library.register_fake(f"{NAMESPACE}::{name}", _fake(family, axes), lib=library)
    torch.library.register_autograd(f"{NAMESPACE}::{name}", backward, setup_context=family.remember, lib=library)
    dispatched = getattr(getattr(torch.ops, NAMESPACE), name).default
    function = _function(name, family.operands, dispatched, at_once, family.remember, backward)
    return Operator(name, axes, dispatched, at_once, function)


def _count_flops() -> None:
    """Tell PyTorch's flop counter what a convolution counts."""
    from torch.utils.flop_counter import conv_flop_count, register_flop_formula

    for axes in (1, 2, 3):
        for name, transposed in (("conv", False), ("conv_transpose", True)):

            def count(x: Any, weight: Any, *_: Any, out_shape: Any, transposed: bool = transposed, **__: Any) -> int:
                return int(conv_flop_count(list(x), list(weight), list(out_shape), transposed=transposed))

            register_flop_formula(getattr(getattr(torch.ops, NAMESPACE), f"{name}{axes}d"))(count)


OPERATORS = {operator.name: operator for family in FAMILIES for axes in (1, 2, 3) for operator in [_register(family, axes)]}
_count_flops()
