"""Single options as users write them, made canonical: numbers per axis, padding, layout, what follows a convolution."""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import math
import numbers
import operator
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from kernels.problem.arrays import canonical, intake, plain, too_large
from kernels.problem.conv import Problem, same_padding
from kernels.problem.errors import ProblemError, meant, shown
from kernels.problem.operands import Operands
from kernels.problem.pool import AdaptivePool
from kernels.problem.window import Pairs, Size
from kernels.runtime.machine import cores, memory

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

    @property
    def unpacked(self) -> bool:
        """Whether every operand has its canonical values in its canonical order as the user's memory holds it."""
        return all(
            (array is None) == (name not in self.given) and (array is None or _same(array, self.given[name]))
            for name, array in self.operands._asdict().items()
        )


def _same(array: Array, given: Array) -> bool:
    """Whether both are the same numbers in the same order in the same memory, but for a 1-D kernel's height."""
    shapes = given.shape, (*given.shape[:2], 1, *given.shape[2:])
    return array.ctypes.data == given.ctypes.data and array.dtype == given.dtype and array.shape in shapes and plain(given)


def _whole(value: Any) -> int:
    """A whole number as users write it. Raises TypeError for anything else; True and False count as none."""
    if isinstance(value, bool):
        raise TypeError
    return operator.index(value)


def several(value: Any) -> bool:
    """Whether these are numbers for some axes, not one number for all."""
    return value.ndim == 1 if isinstance(value, np.ndarray) else listed(value) and not isinstance(value, bytes)


def listed(value: Any) -> bool:
    """Whether this is a sequence; of the usual ones told without asking abstract classes, which takes ten times as long."""
    return type(value) in (tuple, list) or (type(value) is not int and isinstance(value, Sequence))


def per_axis(op: str, name: str, value: Any, axes: int) -> Size:
    """One integer per axis from an int, a sequence of `axes` ints or a sequence of one."""
    try:
        values = tuple(map(_whole, value)) if several(value) else (_whole(value),)
    except TypeError:
        raise ProblemError(f"{op}: {name} is {shown(value)}, must be a whole number or {axes} of them") from None
    if len(values) not in (1, axes):
        raise ProblemError(f"{op}: {name} has {len(values)} numbers for {axes} spatial axes; pass one number or {axes}")
    return values * axes if len(values) == 1 else values


def real(op: str, name: str, value: Any, *, above: float = -math.inf) -> float:
    """A finite number, above the one that is given, as users write it. Raises ProblemError for anything else, True and False too."""
    found = math.nan
    if isinstance(value, numbers.Real | np.floating | np.integer) and not isinstance(value, bool | np.bool):
        with contextlib.suppress(OverflowError):
            found = float(value)
    if not math.isfinite(found) or found <= above:
        raise ProblemError(f"{op}: {name} is {shown(value)}, must be a finite number{'' if above == -math.inf else f' above {above:g}'}")
    return found


def flag(op: str, name: str, value: Any) -> bool:
    """True or False, or 1 or 0 as ONNX writes them; anything else is a mistake that its truth would hide."""
    if not isinstance(value, bool | np.bool | int) or value not in (0, 1):
        raise ProblemError(f"{op}: {name} is {shown(value)}, must be True or False")
    return bool(value)


def shape(op: str, x_shape: Any) -> tuple[int, ...]:
    """The lengths of x's axes, of which none needs to exist yet."""
    try:
        return tuple(map(_whole, x_shape))
    except TypeError:
        raise ProblemError(f"{op}: x_shape is {shown(x_shape)}, must be a sequence of whole numbers") from None


LAYOUTS = "channels_first", "channels_last"
ORDERS = {f"n{axes}c": "channels_last" for axes in ("", "w", "l", "t", "hw", "dhw")}  # other libraries' words, as `meant` reads them
ORDERS |= {f"nc{axes}": "channels_first" for axes in ("", "w", "l", "t", "hw", "dhw", "contiguousformat")}
PADDINGS = {"sameupper": "same", "half": "same", "notset": "valid", "explicit": "valid", "none": "valid"}


def _meant_by(padding: str, kernel: Size, dilation: Size) -> str:
    """What another library's word for padding is here, for the end of a message."""
    reach = tuple((k - 1) * d for k, d in zip(kernel, dilation))
    both, ahead = tuple((r, r) for r in reach), (*((0, 0) for _ in reach[1:]), (reach[-1], 0))
    if padding.lower() in ("full", "causal"):
        full = padding.lower() == "full"
        return f'; "{padding}" is padding={both if full else ahead}, (kernel - 1) * dilation on {"both sides" if full else "the left"}'
    return meant(padding, ("valid", "same", "same_lower"), PADDINGS)


def padding_pairs(op: str, padding: Any, size: Size, kernel: Size, stride: Size, dilation: Size) -> Pairs:
    """(before, after) per axis from every form of padding that is accepted."""
    axes = len(size)
    if isinstance(padding, np.ndarray):
        padding = padding.tolist()
    if isinstance(padding, str):
        if padding == "valid":
            return ((0, 0),) * axes
        if padding in ("same", "same_lower"):
            return tuple(same_padding(n, k, s, d, lower=padding == "same_lower") for n, k, s, d in zip(size, kernel, stride, dilation))
        hint = _meant_by(padding, kernel, dilation)
        remedy = f'must be "valid", "same", "same_lower", a number or (before, after) pairs{hint}'
        raise ProblemError(f"{op}: padding is {shown(padding)}, {remedy}")
    if listed(padding) and padding and all(several(pair) and not isinstance(pair, str) for pair in padding):
        if len(padding) != axes or any(len(pair) != 2 for pair in padding):
            raise ProblemError(f"{op}: padding is {shown(padding)}; pass {axes} (before, after) pairs, one per spatial axis")
        return tuple((per_axis(op, "padding", pair, 2)[0], per_axis(op, "padding", pair, 2)[1]) for pair in padding)
    if listed(padding) and len(padding) == 2 * axes:
        raise ProblemError(
            f"{op}: padding {shown(padding)} is a flat list of {2 * axes} numbers, which PyTorch and ONNX read in different orders; "
            f"pass {axes} (before, after) pairs"
        )
    return tuple((p, p) for p in per_axis(op, "padding", padding, axes))


def is_channels_last(op: str, layout: str) -> bool:
    """Whether channels come last."""
    if not isinstance(layout, str) or layout not in ("channels_first", "channels_last"):
        raise ProblemError(f'{op}: layout is {shown(layout)}, must be "channels_first" or "channels_last"{meant(layout, LAYOUTS, ORDERS)}')
    return layout == "channels_last"


def split_shape(op: str, x_shape: Sequence[int], axes: int, channels_last: bool) -> tuple[tuple[int, ...], int, int, Size]:
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


def flat(values: tuple[Any, ...], filler: Any) -> tuple[Any, ...]:
    """Canonical spatial values: a 1-D operation gets a height."""
    return (filler, *values) if len(values) == 1 else values


SLOPES = {"leaky_relu": 0.01, "elu": 1.0}  # of activations that have one


def activation_pair(op: str, activation: Any) -> tuple[str, float] | None:
    """(name, slope) of an activation, None of none."""
    if activation is None:
        return None
    if isinstance(activation, str):
        return activation, SLOPES.get(activation, 0.0)
    if isinstance(activation, Sequence) and len(activation) == 2 and isinstance(activation[0], str) and activation[0] in SLOPES:
        name, slope = activation
        return name, real(op, f"the slope of activation {name!r}", slope)
    raise ProblemError(f'{op}: activation is {shown(activation)}, must be None, a name, or ("leaky_relu", slope)')


def pool_triple(op: str, pool: Any, axes: int) -> tuple[str, Size, Size] | None:
    """(kind, kernel, stride) of a pool that follows, None of none."""
    if pool is None:
        return None
    if not isinstance(pool, Sequence) or len(pool) not in (2, 3) or not isinstance(pool[0], str) or pool[0] not in ("max", "avg"):
        raise ProblemError(f'{op}: pool is {shown(pool)}, must be ("max" or "avg", kernel_size) or with a stride as third')
    kernel = per_axis(op, "pool kernel_size", pool[1], axes)
    stride = kernel if len(pool) == 2 or pool[2] is None else per_axis(op, "pool stride", pool[2], axes)
    return pool[0], flat(kernel, 1), flat(stride, 1)


def user_shape(batch: tuple[int, ...], problem: Problem, axes: int, channels_last: bool) -> tuple[int, ...]:
    """The shape of the result without the axes that canonical form adds."""
    channels, size = problem.out_shape[1], problem.out_shape[-axes:]
    return (*batch, *size, channels) if channels_last else (*batch, channels, *size)


def per_channel(op: str, name: str, value: Any, c_out: int, dtype: np.dtype) -> Array | None:
    """One number per output channel, or None."""
    if value is None:
        return None
    array = intake(op, name, value)
    if array.shape != (c_out,):
        raise ProblemError(f"{op}: {name} has shape {array.shape}, must be ({c_out},): one number per output channel")
    return canonical(array, dtype, (c_out,))


_any_size = contextvars.ContextVar("any_size", default=False)


@contextlib.contextmanager
def any_size() -> Iterator[None]:
    """Inside, what memory cannot hold is a problem too: for shapes that are only looked at."""
    token = _any_size.set(True)
    try:
        yield
    finally:
        _any_size.reset(token)


def check_size(problem: Problem) -> None:
    """Refuse what memory cannot hold. No method keeps the whole padded input, but what it keeps, and every offset in it, is no larger."""
    needed = problem.compulsory_bytes - problem.in_bytes + problem.padded_bytes
    if needed > memory() and not _any_size.get():
        padding = "" if isinstance(problem, AdaptivePool) else f" with padding {problem.padding}"
        shapes = f"input {problem.x_shape}{padding}, weights and output {problem.out_shape}"
        raise too_large(problem.op, f"{shapes} of {problem.dtype}", needed)


def check_positive(op: str, kernel: Size, stride: Size, dilation: Size) -> None:
    """What padding="same" divides by must not be zero; the problem checks the rest."""
    for name, values in (("kernel", kernel), ("stride", stride), ("dilation", dilation)):
        if min(values) < 1:
            raise ProblemError(f"{op}: {name} is {values}, every number must be at least 1")


def thread_count(op: str, threads: int | None) -> int:
    """Threads for one call: all that Numba was given, or at most `threads`. Raises ProblemError below 1."""
    if threads is None:
        return cores()
    if isinstance(threads, bool) or not isinstance(threads, int | np.integer) or threads < 1:
        raise ProblemError(f"{op}: threads is {shown(threads)}, must be a whole number of at least 1, or None for every core")
    return min(int(threads), cores())
