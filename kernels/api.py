"""Arrays -> problem -> plan -> array: plans, what can do a problem, and what every public function calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    apart(op, out, asked.given)
    return Plan(asked.problem, asked.operands, asked.signature, implementation, threads)(x, out)


def apart(op: str, out: Any, given: Mapping[str, Array]) -> None:
    """Raises ProblemError if `out` overlaps one of the named operands."""
    for name, operand in given.items() if isinstance(out, np.ndarray) else ():
        if np.may_share_memory(out, operand):
            raise ProblemError(f"{op}: out overlaps {name} in memory; pass a separate array")


def plan(op: str, x_shape: Sequence[int], *args: Any, dtype: Any = "float32", implementation: str = "auto", effort: str = "estimate",
         threads: int | None = None, **options: Any) -> Plan:  # fmt: skip
    """Prepare a call of the operation named `op` for inputs of `x_shape` and `dtype`; the other arguments are the operation's own.

    The plan owns copies of weight and bias, packed. Call it with x, and with `out=` for a result without allocation. Raises ProblemError
    for arguments that make no problem and RefusedError if the named implementation cannot do it.

    >>> pool = plan("max_pool1d", (1, 1, 4), 2, implementation="naive")
    >>> pool(np.array([[[1.0, 3.0, 2.0, 5.0]]]))
    array([[[3., 5.]]], dtype=float32)
    """
    if not isinstance(effort, str) or effort != "estimate":
        raise ProblemError(f'{op}: effort is {effort!r}, must be "estimate"')
    asked = request(op, x_shape, _dtype(op, dtype), args, options)
    owned = Operands(**{name: None if value is None else value.copy() for name, value in vars(asked.operands).items()})
    return Plan(asked.problem, owned, asked.signature, implementation, threads)


def implementations(op: str, x_shape: Sequence[int], *args: Any, dtype: Any = "float32", **options: Any) -> dict[str, str | None]:
    """For each implementation of `op`: None if it can do the problem, else the sentence it refuses with.

    >>> implementations("conv1d", (1, 2, 100), np.ones((2, 2, 9), np.float32))["depthwise"]
    'it takes one input channel per group, this has 2; direct does it'
    """
    load()
    return registry.able(request(op, x_shape, _dtype(op, dtype), args, options).problem)


def _dtype(op: str, dtype: Any) -> np.dtype:
    """The dtype that x will have."""
    try:
        if dtype is None:  # which NumPy takes for float64
            raise TypeError("there is none")
        return intake(op, "x", np.empty(0, dtype)).dtype
    except (TypeError, ValueError) as error:
        raise ProblemError(f"{op}: dtype {dtype!r} is not computed ({error}); use one that NumPy knows, e.g. 'float32'") from None
