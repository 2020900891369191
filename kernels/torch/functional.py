"""torch.nn.functional's convolutions and pools, computed by ours.

Same names, arguments, shapes and gradients, tensors in and out. float32 and float64 tensors on the CPU are ours; any other tensor, and a
request that ours refuse, goes to PyTorch's own operator, which also says what is wrong with one that makes no sense.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import handle_torch_function, has_torch_function

from kernels.runtime.bounded_cache import Recent
from kernels.torch import arguments as read
from kernels.torch.compute import Bound, Note, kept, threads
from kernels.torch.eligibility import autocast, differentiated, forward_mode, refusal, undisturbed
from kernels.torch.operators import OPERATORS, WITH_INDICES

Tensor = torch.Tensor


def _run(name: str, tensors: tuple[Tensor | None, ...], numbers: tuple[Any, ...], note: Note | None) -> Any:
    """Our operator by the shortest way that PyTorch's state allows."""
    operator = OPERATORS[name]
    if torch.compiler.is_compiling():
        return operator.dispatched(*tensors, *numbers)
    if torch._C._functorch.peek_interpreter_stack() is not None:  # torch.func.grad, vmap and their kind
        return operator.differentiable.apply(*tensors, *numbers)
    if not undisturbed(*tensors):
        return operator.dispatched(*tensors, *numbers)
    if differentiated(*tensors):
        if note:
            note.method, note.reason = "with gradients", None
        return operator.differentiable.apply(*tensors, *numbers)
    return operator.at_once(*tensors, *numbers, note=note)


def _again(input: Tensor, weight: Tensor, bias: Tensor | None, key: Any) -> Bound | None:
    """What was kept of the same call on the same weights."""
    try:
        found = kept(weight, bias)
        return found.calls.get(key) if found else None
    except (RuntimeError, TypeError):  # an inference tensor, a list among the numbers
        return None


def _at_once(input: Tensor, weight: Tensor | None = None, bias: Tensor | None = None) -> bool:
    """Whether the call is an inference on contiguous tensors that nobody traces."""
    if not isinstance(input, Tensor):
        return False
    quiet = not torch.compiler.is_compiling() and undisturbed(input, weight, bias)
    return quiet and not differentiated(input, weight, bias) and input.is_contiguous()


def _overridden(op: str, tensors: tuple[Any, ...], *arguments: Any) -> Any:
    """A call that a subclass of tensors, a mode of PyTorch's or torch.fx's tracing takes in its hands."""
    return handle_torch_function(globals()[op], tensors, *arguments)


def _theirs(op: str, note: Note | None, reason: str | None, *arguments: Any) -> Any:
    if note:
        note.method, note.reason = None, reason
    return getattr(functional, op)(*arguments)


def convolve(
    op: str, input: Tensor, weight: Tensor, bias: Tensor | None, stride: Any, padding: Any, dilation: Any, groups: int,
    note: Note | None = None,
) -> Tensor:  # fmt: skip
    """conv1d, conv2d or conv3d."""
    given = stride, padding, dilation, groups
    return _convolve(op, input, weight, bias, given, lambda: read.of_conv(int(op[-2]), weight.shape[2:], *given), note)


def convolve_transposed(
    op: str, input: Tensor, weight: Tensor, bias: Tensor | None, stride: Any, padding: Any, output_padding: Any, groups: int, dilation: Any,
    note: Note | None = None,
) -> Tensor:  # fmt: skip
    """conv_transpose1d, 2d or 3d."""

    def numbers() -> tuple[Any, ...]:
        step, cropped, more, dilated = (read.per_axis(each, int(op[-2])) for each in (stride, padding, output_padding, dilation))
        return step, cropped, more, groups, dilated

    return _convolve(op, input, weight, bias, (stride, padding, output_padding, groups, dilation), numbers, note)


def _convolve(
    op: str, input: Tensor, weight: Tensor, bias: Tensor | None, given: tuple[Any, ...], numbers: Callable[[], tuple[Any, ...]],
    note: Note | None,
) -> Tensor:  # fmt: skip
    """One convolution, from its numbers as they are given and as the operator takes them."""
    if has_torch_function((input, weight, bias)) and not torch.compiler.is_compiling():
        return _overridden(op, (input, weight, bias), input, weight, bias, *given)
    if at_once := _at_once(input, weight, bias):
        key = op, input.shape, input.dtype, threads(), *given
        if bound := _again(input, weight, bias, key):
            if note:
                note.method, note.reason = bound.method, None
            return bound(input)
    reason = refusal(input, weight, bias) or autocast() or forward_mode()
    if reason is None:
        try:
            canonical = numbers()
        except (TypeError, ValueError) as error:
            reason = str(error)
        else:
            if not at_once:
                return _run(op, (input, weight, bias), canonical, note)
            note = note or Note()
            note.keeps, note.bound = True, None
            y = _run(op, (input, weight, bias), canonical, note)
            found = kept(weight, bias) if note.bound else None
            if found:
                with contextlib.suppress(TypeError):  # a list among the numbers
                    found.calls[key] = note.bound
            return y
    return _theirs(op, note, reason, input, weight, bias, *given)


_pools: Recent[Bound] = Recent(512, 512)  # by how they were called


def pool(op: str, input: Tensor, kernel_size: Any, stride: Any, *more: Any, note: Note | None = None) -> Any:
    """max_pool1d to avg_pool3d; `more` is what follows stride in torch.nn.functional."""

    def numbers() -> tuple[Any, ...]:
        axes = int(op[-2])
        kernel = read.per_axis(kernel_size, axes)
        step = kernel if stride is None or stride == [] else read.per_axis(stride, axes)
        if "max" in op:
            return kernel, step, read.per_axis(more[0], axes), read.per_axis(more[1], axes), more[2]
        return kernel, step, read.per_axis(more[0], axes), *more[1:]

    given = kernel_size, stride, *(more[:-1] if op == "avg_pool1d" else more)  # PyTorch's takes no divisor
    return _pool(op, input, given, numbers, "max" in op and more[3], note)


def pool_adaptively(op: str, input: Tensor, output_size: Any, return_indices: bool = False, note: Note | None = None) -> Any:
    """adaptive_avg_pool1d to adaptive_max_pool3d."""
    given = (output_size, return_indices) if "max" in op else (output_size,)
    return _pool(op, input, given, lambda: (read.adaptive(output_size, input.shape[-int(op[-2]) :]),), return_indices, note)


def _pool(
    op: str, input: Tensor, given: tuple[Any, ...], numbers: Callable[[], tuple[Any, ...]], return_indices: bool, note: Note | None
) -> Any:
    """One pool, from its numbers as they are given and as the operator takes them."""
    if has_torch_function((input,)) and not torch.compiler.is_compiling():
        return _overridden(op, (input,), input, *given)
    if at_once := _at_once(input):
        key = op, input.shape, input.dtype, threads(), *given
        try:
            bound = _pools.get(key)
        except TypeError:  # a list among the numbers
            at_once, bound = False, None
        if bound:
            if note:
                note.method, note.reason = bound.method, None
            return bound(input)
    reason = refusal(input) or forward_mode()
    if reason is None:
        try:
            canonical = numbers()
        except (TypeError, ValueError) as error:
            reason = str(error)
        else:
            # positions, which the gradient reads; that of plain maxima finds them again
            if "max" in op and (return_indices or ("adaptive" in op and differentiated(input))):
                found = _run(op + WITH_INDICES, (input,), canonical, note)
                return found if return_indices else found[0]
            if not at_once:
                return _run(op, (input,), canonical, note)
            note = note or Note()
            note.bound = None
            y = _run(op, (input,), canonical, note)
            if note.bound:
                _pools.put(key, note.bound, 1)
            return y
    return _theirs(op, note, reason, input, *given)


def conv1d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Tensor:
    """torch.nn.functional.conv1d of input (N, C_in, L) or (C_in, L) and weight (C_out, C_in/groups, KW)."""
    return convolve("conv1d", input, weight, bias, stride, padding, dilation, groups)


def conv2d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Tensor:
    """torch.nn.functional.conv2d of input (N, C_in, H, W) or (C_in, H, W) and weight (C_out, C_in/groups, KH, KW)."""
    return convolve("conv2d", input, weight, bias, stride, padding, dilation, groups)


def conv3d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Tensor:
    """torch.nn.functional.conv3d of input (N, C_in, D, H, W) or (C_in, D, H, W) and weight (C_out, C_in/groups, KD, KH, KW)."""
    return convolve("conv3d", input, weight, bias, stride, padding, dilation, groups)


def conv_transpose1d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0, groups: int = 1,
    dilation: Any = 1,
) -> Tensor:  # fmt: skip
    """torch.nn.functional.conv_transpose1d of input (N, C_in, L) or (C_in, L) and weight (C_in, C_out/groups, KW)."""
    return convolve_transposed("conv_transpose1d", input, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose2d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0, groups: int = 1,
    dilation: Any = 1,
) -> Tensor:  # fmt: skip
    """torch.nn.functional.conv_transpose2d of input (N, C_in, H, W) or (C_in, H, W) and weight (C_in, C_out/groups, KH, KW)."""
    return convolve_transposed("conv_transpose2d", input, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose3d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0, groups: int = 1,
    dilation: Any = 1,
) -> Tensor:  # fmt: skip
    """torch.nn.functional.conv_transpose3d of input (N, C_in, D, H, W) or (C_in, D, H, W) and weight (C_in, C_out/groups, KD, KH, KW)."""
    return convolve_transposed("conv_transpose3d", input, weight, bias, stride, padding, output_padding, groups, dilation)


def max_pool1d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:  # fmt: skip
    """torch.nn.functional.max_pool1d of input (N, C, L) or (C, L)."""
    return pool("max_pool1d", input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool2d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:  # fmt: skip
    """torch.nn.functional.max_pool2d of input (N, C, H, W) or (C, H, W)."""
    return pool("max_pool2d", input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool3d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:  # fmt: skip
    """torch.nn.functional.max_pool3d of input (N, C, D, H, W) or (C, D, H, W)."""
    return pool("max_pool3d", input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def avg_pool1d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False, count_include_pad: bool = True
) -> Tensor:
    """torch.nn.functional.avg_pool1d of input (N, C, L) or (C, L)."""
    return pool("avg_pool1d", input, kernel_size, stride, padding, ceil_mode, count_include_pad, None)


def avg_pool2d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False, count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:  # fmt: skip
    """torch.nn.functional.avg_pool2d of input (N, C, H, W) or (C, H, W)."""
    return pool("avg_pool2d", input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def avg_pool3d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False, count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:  # fmt: skip
    """torch.nn.functional.avg_pool3d of input (N, C, D, H, W) or (C, D, H, W)."""
    return pool("avg_pool3d", input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def adaptive_avg_pool1d(input: Tensor, output_size: Any) -> Tensor:
    """torch.nn.functional.adaptive_avg_pool1d of input (N, C, L) or (C, L)."""
    return pool_adaptively("adaptive_avg_pool1d", input, output_size)


def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """torch.nn.functional.adaptive_avg_pool2d of input (N, C, H, W) or (C, H, W)."""
    return pool_adaptively("adaptive_avg_pool2d", input, output_size)


def adaptive_avg_pool3d(input: Tensor, output_size: Any) -> Tensor:
    """torch.nn.functional.adaptive_avg_pool3d of input (N, C, D, H, W) or (C, D, H, W)."""
    return pool_adaptively("adaptive_avg_pool3d", input, output_size)


def adaptive_max_pool1d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """torch.nn.functional.adaptive_max_pool1d of input (N, C, L) or (C, L)."""
    return pool_adaptively("adaptive_max_pool1d", input, output_size, return_indices)


def adaptive_max_pool2d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """torch.nn.functional.adaptive_max_pool2d of input (N, C, H, W) or (C, H, W)."""
    return pool_adaptively("adaptive_max_pool2d", input, output_size, return_indices)


def adaptive_max_pool3d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """torch.nn.functional.adaptive_max_pool3d of input (N, C, D, H, W) or (C, D, H, W)."""
    return pool_adaptively("adaptive_max_pool3d", input, output_size, return_indices)
