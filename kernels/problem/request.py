"""A call of an operation by its name becomes a canonical problem and its operands: with `options` the only place that normalises.

Positional order is that of torch.nn.functional, so its calls can be pasted.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kernels.problem.accuracy import accuracy_of
from kernels.problem.errors import ProblemError, meant, shown
from kernels.problem.options import Ints, Request, Signature, shape
from kernels.problem.request_conv import conv, conv_transpose
from kernels.problem.request_pool import adaptive_avg_pool, adaptive_max_pool, avg_pool, global_pool, max_pool

__all__ = ["Ints", "Request", "Signature", "request_of"]

_FAMILIES: dict[str, Callable[..., Request]] = {
    "conv": conv, "conv_transpose": conv_transpose, "max_pool": max_pool, "avg_pool": avg_pool, "adaptive_avg_pool": adaptive_avg_pool,
    "adaptive_max_pool": adaptive_max_pool,
}  # fmt: skip
OPERATIONS: dict[str, Callable[..., Request]] = {
    **{f"{family}{d}d": functools.partial(make, f"{family}{d}d") for family, make in _FAMILIES.items() for d in (1, 2, 3)},
    **{name: functools.partial(global_pool, name) for name in ("global_avg_pool", "global_max_pool")},
}


def request_of(op: str, x_shape: Sequence[int], x_dtype: np.dtype, args: tuple[Any, ...], options: dict[str, Any]) -> Request:
    """The canonical form of operation `op` on an input of this shape and dtype, with the operation's own arguments."""
    if not isinstance(op, str) or op not in OPERATIONS:
        raise ProblemError(f"operation {shown(op)} does not exist; use one of {', '.join(OPERATIONS)}{meant(op, OPERATIONS)}")
    if "pool" in op:  # which is as accurate as any output can be by every method
        accuracy_of(op, options.get("accuracy"))
        options = {name: value for name, value in options.items() if name != "accuracy"}
    return OPERATIONS[op](shape(op, x_shape), x_dtype, *args, **options)
