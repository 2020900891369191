"""Arrays -> problem -> plan -> array: plans, what can do a problem, and what every public function calls."""

from __future__ import annotations

import functools
import marshal
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from kernels.dispatch import tuning
from kernels.dispatch.choices import REMEMBERED
from kernels.dispatch.descriptor import Descriptor
from kernels.dispatch.gradient_plan import gradient_plan
from kernels.dispatch.measure import measure
from kernels.dispatch.plan import Plan
from kernels.dispatch.preparation import REMEMBERED_BYTES
from kernels.dispatch.preparation import forget as forget_problems
from kernels.methods import load, registry
from kernels.problem.accuracy import default_accuracy
from kernels.problem.arrays import PLAIN, intake
from kernels.problem.errors import ProblemError, shown
from kernels.problem.operands import Operands
from kernels.problem.options import real, thread_count
from kernels.problem.request import request_of
from kernels.problem.request_gradient import GRADIENTS
from kernels.runtime.bounded_cache import Recent
from kernels.runtime.machine import machine

Array = np.ndarray


def takes_input(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, to which x may be passed under PyTorch's name for it, input."""

    @functools.wraps(function)
    def renamed(*args: Any, **options: Any) -> Any:
        if "input" in options:
            if args or "x" in options:
                raise TypeError(f"{function.__name__}() got x and input, two names of one argument; pass one")
            options["x"] = options.pop("input")
        return function(*args, **options)

    return renamed


_descriptors: Recent[Descriptor] = Recent(REMEMBERED, REMEMBERED_BYTES)


def call(
    op: str, x: Any, operands: tuple[Any, ...], names: tuple[str, ...], numbers: tuple[Any, ...], implementation: str,
    threads: int | None, out: Array | None,
) -> Any:  # fmt: skip
    """A plan made and called: what operation `op` does to x with its operands (in the order of `Operands`, or none) and its other
    arguments, which have names."""
    key = key_of(op, x, operands, (implementation, threads, numbers))
    descriptor = None if key is None else _descriptors.get(key)
    if descriptor is not None:
        given = Operands._make(operands) if operands else Operands()
        if out is not None:
            apart(op, out, given._asdict())
        if given.weight is not None and given.weight.ndim == 3:
            given = given._replace(weight=given.weight[:, :, None])  # a 1-D kernel's height
        return descriptor.compute(descriptor.prepared.pack(given), x, out)
    x = intake(op, "x", x)
    request = request_of(op, x.shape, x.dtype, (), {**dict(zip(Operands._fields, operands)), **dict(zip(names, numbers))})
    apart(op, out, request.given)
    descriptor = Descriptor(request.problem, request.signature, implementation, threads, packs=True)
    if key is not None and request.unpacked:
        _descriptors.put(key, descriptor, descriptor.prepared.workspace_bytes)
    return descriptor.compute(descriptor.prepared.pack(request.operands), x, out)


def forget() -> None:
    """Drop what is remembered of recent calls."""
    _descriptors.forget()
    forget_problems()


def key_of(op: str, x: Any, operands: tuple[Any, ...], numbers: tuple[Any, ...]) -> Hashable:
    """What calls have in common that differ in the values of their arrays only; None where that cannot be told at a glance."""
    if type(x) is not np.ndarray:
        return None
    arrays: list[Any] = [op, x.shape, x.dtype, machine(), tuning.generation(), default_accuracy()]
    for operand in operands:
        if operand is None:
            arrays.append(None)
        elif type(operand) is np.ndarray and operand.flags.num & PLAIN == PLAIN:
            arrays += operand.shape, operand.dtype
        else:
            return None
    try:  # bytes tell 1 from 1.0 and from True, which are equal; format 2 does not depend on what else refers to a value
        return *arrays, marshal.dumps(numbers, 2)
    except ValueError:
        return None


def apart(op: str, out: Any, given: Mapping[str, Array | None]) -> None:
    """Raises ProblemError if `out` overlaps one of the named operands."""
    for name, operand in given.items() if isinstance(out, np.ndarray) else ():
        if operand is not None and np.may_share_memory(out, operand):
            raise ProblemError(f"{op}: out overlaps {name} in memory; pass a separate array")


def plan(op: str, x_shape: Sequence[int], *args: Any, dtype: Any = "float32", implementation: str = "auto", effort: str = "estimate",
         budget: float = 0.5, threads: int | None = None, **options: Any) -> Plan:  # fmt: skip
    """Prepare a call of the operation named `op` for inputs of `x_shape` and `dtype`; the other arguments are the operation's own.

    The plan owns copies of weight and bias, packed. Call it with x, and with `out=` for a result without allocation.

    "auto" takes what was measured fastest for this problem, threads and machine where that is known, else the lowest estimate.
    effort="measure" finds it out: it times the candidates that meet the error bound, and their main variants, on made-up arrays for about
    `budget` seconds (preparing them comes on top, compiling once a machine) and keeps the winner in `kernels.tuning.path()`. A named
    implementation is taken as it is; "name:variant", as `explain()` lists them, is one of its variants.

    Gradients have plans too: plan("conv2d_input", input_size, weight, …) is called with grad_output, plan("conv2d_weight", input_size,
    weight_size, …) with the input and grad_output; where the functions of `kernels.grad` take grad_output, its shape or None stands.

    Raises ProblemError for arguments that make no problem and RefusedError if the named implementation cannot do it.

    >>> pool = plan("max_pool1d", (1, 1, 4), 2, implementation="naive")
    >>> pool(np.array([[[1.0, 3.0, 2.0, 5.0]]]))
    array([[[3., 5.]]], dtype=float32)
    """
    seconds = measuring(op, effort, budget)
    if isinstance(op, str) and op in GRADIENTS:
        gradient = GRADIENTS[op](op, x_shape, input_dtype(op, dtype), *args, **options)
        if seconds and implementation == "auto":
            measure(gradient.request.problem, thread_count(op, threads), seconds)
        return gradient_plan(gradient, implementation, threads)
    request = request_of(op, x_shape, input_dtype(op, dtype), args, options)
    if seconds and implementation == "auto":
        measure(request.problem, thread_count(op, threads), seconds)
    return Plan(Descriptor(request.problem, request.signature, implementation, threads), request.operands.copy())


def measuring(op: str, effort: str, budget: float) -> float:
    """Seconds to measure a problem for, 0 where estimates decide. Raises ProblemError for what is neither."""
    if not isinstance(effort, str) or effort not in ("estimate", "measure"):
        raise ProblemError(f'{op}: effort is {shown(effort)}, must be "estimate" or "measure"')
    seconds = real(op, "budget (seconds)", budget, above=0.0)
    return seconds if effort == "measure" else 0.0


def implementations(op: str, x_shape: Sequence[int], *args: Any, dtype: Any = "float32", **options: Any) -> dict[str, str | None]:
    """For each implementation of `op`: None if it can do the problem, else the sentence it refuses with.

    >>> implementations("conv1d", (1, 2, 100), np.ones((2, 2, 9), np.float32))["depthwise"]
    'it takes one input channel per group, this has 2; direct does it'
    """
    load()
    if isinstance(op, str) and op in GRADIENTS:
        return registry.refusals(GRADIENTS[op](op, x_shape, input_dtype(op, dtype), *args, **options).request.problem)
    return registry.refusals(request_of(op, x_shape, input_dtype(op, dtype), args, options).problem)


def input_dtype(op: str, dtype: Any) -> np.dtype:
    """The dtype that x will have."""
    try:
        if dtype is None:  # which NumPy takes for float64
            raise TypeError("there is none")
        return intake(op, "x", np.empty(0, dtype)).dtype
    except ProblemError:  # a dtype that NumPy knows: the sentence says what to convert it to
        raise
    except (TypeError, ValueError) as error:
        raise ProblemError(f"{op}: dtype {shown(dtype)} is not computed ({error}); use one that NumPy knows, e.g. 'float32'") from None
