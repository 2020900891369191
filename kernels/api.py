"""Arrays -> problem -> plan -> array: plans, what can do a problem, and what every public function calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kernels import registry
from kernels.arrays import intake
from kernels.errors import ProblemError
from kernels.implementation import Operands
from kernels.plan import Plan, load
from kernels.request import request

Array = np.ndarray


def call(
    op: str, x: Any, args: tuple[Any, ...], implementation: str, threads: int | None, out: Array | None, options: dict[str, Any]
) -> Any:
    """A plan made and called: what operation `op` does to x with its other arguments."""
    x = intake(op, "x", x)
    asked = request(op, x.shape, x.dtype, args, options)
    if isinstance(out, np.ndarray):
        for name, operand in vars(asked.operands).items():
            if operand is not None and np.may_share_memory(out, operand):
                raise ProblemError(f"{op}: out overlaps {name} in memory; pass a separate array")
    return Plan(asked.problem, asked.operands, asked.signature, implementation, threads)(x, out)


def plan(op: str, x_shape: Sequence[int], *args: Any, dtype: Any = "float32", implementation: str = "auto", effort: str = "estimate",
         threads: int | None = None, **options: Any) -> Plan:  # fmt: skip
    """Prepare a call of the operation named `op` for inputs of `x_shape` and `dtype`; the other arguments are the operation's own.

    The plan owns copies of weight and bias, packed. Call it with x, and with `out=` for a result without allocation. Raises ProblemError
    for arguments that make no problem and RefusedError if the named implementation cannot do it.
    """
    if effort != "estimate":
        raise ProblemError(f'{op}: effort is {effort!r}, must be "estimate"')
    try:
        x_dtype = np.dtype(dtype)
    except TypeError as error:
        raise ProblemError(f"{op}: dtype {dtype!r} is not a NumPy dtype ({error})") from None
    intake(op, "dtype", np.empty(0, x_dtype))
    asked = request(op, x_shape, x_dtype, args, options)
    owned = Operands(**{name: None if value is None else value.copy() for name, value in vars(asked.operands).items()})
    return Plan(asked.problem, owned, asked.signature, implementation, threads)


def implementations(op: str, x_shape: Sequence[int], *args: Any, dtype: Any = "float32", **options: Any) -> dict[str, str | None]:
    """For each implementation of `op`: None if it can do the problem, else the sentence it refuses with."""
    load()
    return registry.able(request(op, x_shape, np.dtype(dtype), args, options).problem)
