"""Options as users write them become a canonical problem and its operands: the only place that normalises.

Positional order is that of torch.nn.functional, so its calls can be pasted.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import numbers
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kernels.arrays import canonical, intake, result_dtypes, too_large
from kernels.errors import ProblemError
from kernels.implementation import Operands
from kernels.machine import memory
from kernels.problem import Conv, Pairs, Pool, Problem, Size, dilated, same_padding

Array = np.ndarray
Ints = int | Sequence[int]


@dataclasses.dataclass(frozen=True)
class Signature:
    """How the user sees the arrays: shapes without the axes that canonical form adds, dtype returned, spatial axes, order of axes."""

    x_shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    dtype: np.dtype
    spatial: int
    channels_last: bool = False


@dataclasses.dataclass(frozen=True)
class Request:
    """A call in canonical form: the problem, its operands, and how the user sees the arrays."""

    problem: Problem
    operands: Operands
    signature: Signature
    given: dict[str, Array] = dataclasses.field(default_factory=dict)  # the operands as the user's memory holds them, by name


def _whole(value: Any) -> int:
    """A whole number as users write it. Raises TypeError for anything else; True and False count as none."""
    if isinstance(value, bool):
        raise TypeError
    return operator.index(value)


def _per_axis(op: str, name: str, value: Any, axes: int) -> Size:
    """One integer per axis from an int, a sequence of `axes` ints or a sequence of one."""
    several = (isinstance(value, Sequence) and not isinstance(value, bytes)) or (isinstance(value, np.ndarray) and value.ndim == 1)
    try:
        values = tuple(map(_whole, value)) if several else (_whole(value),)
    except TypeError:
        raise ProblemError(f"{op}: {name} is {value!r}, must be a whole number or {axes} of them") from None
    if len(values) not in (1, axes):
        raise ProblemError(f"{op}: {name} has {len(values)} numbers for {axes} spatial axes; pass one number or {axes}")
    return values * axes if len(values) == 1 else values


def _flag(op: str, name: str, value: Any) -> bool:
    """True or False, or 1 or 0 as ONNX writes them; anything else is a mistake that its truth would hide."""
    if not isinstance(value, bool | np.bool | int) or value not in (0, 1):
        raise ProblemError(f"{op}: {name} is {value!r}, must be True or False")
    return bool(value)


def _shape(op: str, x_shape: Any) -> tuple[int, ...]:
    """The lengths of x's axes, of which none needs to exist yet."""
    try:
        return tuple(map(_whole, x_shape))
    except TypeError:
        raise ProblemError(f"{op}: x_shape is {x_shape!r}, must be a sequence of whole numbers") from None


def _padding(op: str, padding: Any, size: Size, kernel: Size, stride: Size, dilation: Size) -> Pairs:
    """(before, after) per axis from every form of padding that is accepted."""
    axes = len(size)
    if isinstance(padding, np.ndarray):
        padding = padding.tolist()
    if isinstance(padding, str):
        if padding == "valid":
            return ((0, 0),) * axes
        if padding in ("same", "same_lower"):
            return tuple(same_padding(n, k, s, d, lower=padding == "same_lower") for n, k, s, d in zip(size, kernel, stride, dilation))
        raise ProblemError(f'{op}: padding is {padding!r}, must be "valid", "same", "same_lower", a number or (before, after) pairs')
    if isinstance(padding, Sequence) and padding and all(isinstance(pair, Sequence) and not isinstance(pair, str) for pair in padding):
        if len(padding) != axes or any(len(pair) != 2 for pair in padding):
            raise ProblemError(f"{op}: padding is {padding!r}; pass {axes} (before, after) pairs, one per spatial axis")
        return tuple((_per_axis(op, "padding", pair, 2)[0], _per_axis(op, "padding", pair, 2)[1]) for pair in padding)
    if isinstance(padding, Sequence) and len(padding) == 2 * axes:
        raise ProblemError(
            f"{op}: padding {padding!r} is a flat list of {2 * axes} numbers, which PyTorch and ONNX read in different orders; "
            f"pass {axes} (before, after) pairs"
        )
    return tuple((p, p) for p in _per_axis(op, "padding", padding, axes))


def _layout(op: str, layout: str) -> bool:
    """Whether channels come last."""
    if not isinstance(layout, str) or layout not in ("channels_first", "channels_last"):
        raise ProblemError(f'{op}: layout is {layout!r}, must be "channels_first" or "channels_last"')
    return layout == "channels_last"


def _split_shape(op: str, x_shape: Sequence[int], axes: int, channels_last: bool) -> tuple[tuple[int, ...], int, int, Size]:
    """(batch axes as the user wrote them: (n,) or (), n, channels, spatial size) of an input shape."""
    shape = tuple(x_shape)
    if len(shape) not in (axes + 1, axes + 2):
        order = "(N, *spatial, C)" if channels_last else "(N, C, *spatial)"
        raise ProblemError(
            f"{op}: x has shape {shape}, {len(shape)} axes; must have {axes + 2} in the order {order}, or {axes + 1} without the batch N"
        )
    batch = shape[:-axes - 1]
    rest = shape[len(batch) :]
    channels, size = (rest[-1], rest[:-1]) if channels_last else (rest[0], rest[1:])
    return batch, batch[0] if batch else 1, channels, size


def _flat(values: tuple[Any, ...], filler: Any) -> tuple[Any, ...]:
    """Canonical spatial values: a 1-D operation gets a height."""
    return (filler, *values) if len(values) == 1 else values


def _activation(op: str, activation: Any) -> tuple[str, float] | None:
    slopes = {"leaky_relu": 0.01, "elu": 1.0}
    if activation is None:
        return None
    if isinstance(activation, str):
        return activation, slopes.get(activation, 0.0)
    if isinstance(activation, Sequence) and len(activation) == 2 and isinstance(activation[0], str) and activation[0] in slopes:
        name, slope = activation
        if not isinstance(slope, numbers.Real) or not math.isfinite(slope):
            raise ProblemError(f"{op}: activation {name!r} has slope {slope!r}, must be a finite number")
        return name, float(slope)
    raise ProblemError(f'{op}: activation is {activation!r}, must be None, a name, or ("leaky_relu", slope)')


def _fused_pool(op: str, pool: Any, axes: int) -> tuple[str, Size, Size] | None:
    if pool is None:
        return None
    if not isinstance(pool, Sequence) or len(pool) not in (2, 3) or not isinstance(pool[0], str) or pool[0] not in ("max", "avg"):
        raise ProblemError(f'{op}: pool is {pool!r}, must be ("max" or "avg", kernel_size) or with a stride as third')
    kernel = _per_axis(op, "pool kernel_size", pool[1], axes)
    stride = kernel if len(pool) == 2 or pool[2] is None else _per_axis(op, "pool stride", pool[2], axes)
    return pool[0], _flat(kernel, 1), _flat(stride, 1)


def _user_shape(batch: tuple[int, ...], problem: Problem, axes: int, channels_last: bool) -> tuple[int, ...]:
    channels, size = problem.out_shape[1], problem.out_shape[-axes:]
    return (*batch, *size, channels) if channels_last else (*batch, channels, *size)


def _per_channel(op: str, name: str, value: Any, c_out: int, dtype: np.dtype) -> Array | None:
    if value is None:
        return None
    array = intake(op, name, value)
    if array.shape != (c_out,):
        raise ProblemError(f"{op}: {name} has shape {array.shape}, must be ({c_out},): one number per output channel")
    return canonical(array, dtype, (c_out,))


def _conv(
    op: str, x_shape: Sequence[int], x_dtype: np.dtype, weight: Any, bias: Any = None, stride: Ints = 1, padding: Any = 0,
    dilation: Ints = 1, groups: int = 1, *, flip: bool = False, activation: Any = None, pool: Any = None, scale: Any = None,
    shift: Any = None, layout: str = "channels_first",
) -> Request:  # fmt: skip
    axes, last = int(op[-2]), _layout(op, layout)
    batch, n, c_in, size = _split_shape(op, x_shape, axes, last)
    weight = intake(op, "weight", weight)
    if weight.ndim != axes + 2:
        order = "(*kernel, C_in/groups, C_out)" if last else "(C_out, C_in/groups, *kernel)"
        raise ProblemError(f"{op}: weight has shape {weight.shape}, {weight.ndim} axes; must have {axes + 2} in the order {order}")
    if last:
        weight = np.moveaxis(weight, (-1, -2), (0, 1))
    groups = _per_axis(op, "groups", groups, 1)[0]
    c_out, per_group, kernel = weight.shape[0], weight.shape[1], weight.shape[2:]
    if groups >= 1 and c_in != per_group * groups:
        raise ProblemError(
            f"{op}: x has {c_in} channels but weight wants {per_group} per group x groups={groups} = {per_group * groups}; "
            f"pass weight with {c_in}/{groups} input channels"
        )
    stride, dilation = _per_axis(op, "stride", stride, axes), _per_axis(op, "dilation", dilation, axes)
    if _flag(op, "flip", flip):
        weight = weight[(..., *(slice(None, None, -1),) * axes)]
    others = {"bias": bias, "scale": scale, "shift": shift}
    given = {"weight": weight, **{name: intake(op, name, value) for name, value in others.items() if value is not None}}
    computed, returned = result_dtypes([x_dtype, *(array.dtype for array in given.values())])
    scaled = scale is not None or shift is not None
    _positive(op, kernel, stride, dilation)
    problem = Conv(
        op, n, c_in, _flat(size, 1), _flat(kernel, 1), _flat(stride, 1),
        _flat(_padding(op, padding, size, kernel, stride, dilation), (0, 0)), _flat(dilation, 1), computed.name,
        c_out=c_out, groups=groups, bias=bias is not None, scale=scaled,
        activation=_activation(op, activation), pool=_fused_pool(op, pool, axes),
    )  # fmt: skip
    _sized(problem)
    operands = Operands(
        canonical(weight, computed, problem.weight_shape),
        _per_channel(op, "bias", bias, c_out, computed),
        _per_channel(op, "scale", np.ones(c_out) if scaled and scale is None else scale, c_out, computed),
        _per_channel(op, "shift", np.zeros(c_out) if scaled and shift is None else shift, c_out, computed),
    )
    signature = Signature(tuple(x_shape), _user_shape(batch, problem, axes, last), returned, axes, last)
    return Request(problem, operands, signature, given)


def _sized(problem: Problem) -> None:
    """Refuse what memory cannot hold. No method keeps the whole padded input, but what it keeps, and every offset in it, is no larger."""
    needed = problem.compulsory_bytes - problem.in_bytes + problem.padded_bytes
    if needed > memory():
        shapes = f"input {problem.x_shape} with padding {problem.padding}, weights and output {problem.out_shape}"
        raise too_large(problem.op, f"{shapes} of {problem.dtype}", needed)


def _positive(op: str, kernel: Size, stride: Size, dilation: Size) -> None:
    """What padding="same" divides by must not be zero; the problem checks the rest."""
    for name, values in (("kernel", kernel), ("stride", stride), ("dilation", dilation)):
        if min(values) < 1:
            raise ProblemError(f"{op}: {name} is {values}, every number must be at least 1")


def _pool(
    op: str, x_shape: Sequence[int], x_dtype: np.dtype, kernel_size: Ints, stride: Any = None, padding: Any = 0, dilation: Ints = 1,
    ceil_mode: bool = False, return_indices: bool = False, count_include_pad: bool = True, divisor_override: int | None = None, *,
    layout: str = "channels_first",
) -> Request:  # fmt: skip
    axes, last = int(op[-2]), _layout(op, layout)
    batch, n, channels, size = _split_shape(op, x_shape, axes, last)
    kernel, dilation = _per_axis(op, "kernel_size", kernel_size, axes), _per_axis(op, "dilation", dilation, axes)
    unset = stride is None or (isinstance(stride, tuple | list) and not stride)
    stride = kernel if unset else _per_axis(op, "stride", stride, axes)
    _positive(op, kernel, stride, dilation)
    pairs = _padding(op, padding, size, kernel, stride, dilation)
    if not isinstance(padding, str) and not (isinstance(padding, Sequence) and padding and isinstance(padding[0], Sequence)):
        for (p, _), k, d in zip(pairs, kernel, dilation):
            if p > dilated(k, d) // 2:
                raise ProblemError(
                    f"{op}: padding {p} is more than half of the dilated kernel {dilated(k, d)}; use at most {dilated(k, d) // 2}, "
                    "or (before, after) pairs if it is meant"
                )
    computed, returned = result_dtypes([x_dtype])
    problem = Pool(
        op, n, channels, _flat(size, 1), _flat(kernel, 1), _flat(stride, 1), _flat(pairs, (0, 0)), _flat(dilation, 1), computed.name,
        ceil_mode=_flag(op, "ceil_mode", ceil_mode), count_include_pad=_flag(op, "count_include_pad", count_include_pad),
        return_indices=_flag(op, "return_indices", return_indices),
        divisor_override=None if divisor_override is None else _per_axis(op, "divisor_override", divisor_override, 1)[0],
    )  # fmt: skip
    _sized(problem)
    return Request(problem, Operands(), Signature(tuple(x_shape), _user_shape(batch, problem, axes, last), returned, axes, last))


def _max_pool(
    op: str, x_shape: Sequence[int], x_dtype: np.dtype, kernel_size: Ints, stride: Any = None, padding: Any = 0, dilation: Ints = 1,
    ceil_mode: bool = False, return_indices: bool = False, *, layout: str = "channels_first",
) -> Request:  # fmt: skip
    return _pool(op, x_shape, x_dtype, kernel_size, stride, padding, dilation, ceil_mode, return_indices, layout=layout)


def _avg_pool(
    op: str, x_shape: Sequence[int], x_dtype: np.dtype, kernel_size: Ints, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None, *, dilation: Ints = 1, layout: str = "channels_first",
) -> Request:  # fmt: skip
    return _pool(
        op, x_shape, x_dtype, kernel_size, stride, padding, dilation, ceil_mode, False, count_include_pad, divisor_override, layout=layout
    )  # fmt: skip


def _global_pool(op: str, x_shape: Sequence[int], x_dtype: np.dtype, *, layout: str = "channels_first") -> Request:
    axes = len(x_shape) - 2
    if axes not in (1, 2):
        raise ProblemError(f"{op}: x has {len(x_shape)} axes; must have 3 or 4: batch, channels and 1 or 2 spatial axes")
    size = x_shape[1:-1] if _layout(op, layout) else x_shape[2:]
    kind = "avg" if "avg" in op else "max"
    return _pool(f"{kind}_pool{axes}d", x_shape, x_dtype, tuple(size), layout=layout)


_OPERATIONS: dict[str, Callable[..., Request]] = {
    **{f"conv{d}d": functools.partial(_conv, f"conv{d}d") for d in (1, 2)},
    **{f"max_pool{d}d": functools.partial(_max_pool, f"max_pool{d}d") for d in (1, 2)},
    **{f"avg_pool{d}d": functools.partial(_avg_pool, f"avg_pool{d}d") for d in (1, 2)},
    **{name: functools.partial(_global_pool, name) for name in ("global_avg_pool", "global_max_pool")},
}


def request(op: str, x_shape: Sequence[int], x_dtype: np.dtype, args: tuple[Any, ...], options: dict[str, Any]) -> Request:
    """The canonical form of operation `op` on an input of this shape and dtype, with the operation's own arguments."""
    if not isinstance(op, str) or op not in _OPERATIONS:
        raise ProblemError(f"operation {op!r} does not exist; use one of {', '.join(_OPERATIONS)}")
    return _OPERATIONS[op](_shape(op, x_shape), x_dtype, *args, **options)
