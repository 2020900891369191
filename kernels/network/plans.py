"""Plans of this library's methods as steps: what "auto" takes for a problem, and its run bound to arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kernels.dispatch.descriptor import Descriptor
from kernels.dispatch.measure import measure
from kernels.dispatch.plan import Plan
from kernels.network.lowering import Lowering
from kernels.network.views import Array
from kernels.problem.conv import Problem
from kernels.problem.operands import Operands
from kernels.problem.options import Signature


def plan_of(lowering: Lowering, problem: Problem, signature: Signature, operands: Operands) -> Plan:
    """A plan of what "auto" takes, measured first where that was asked for."""
    settings = lowering.settings
    if settings.budget:
        measure(problem, settings.threads, settings.budget)
    return Plan(Descriptor(problem, signature, "auto", settings.threads), operands)


def bind_plan(plan: Plan, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> Callable[[list[Array], Array], Callable[[], Any]]:
    """Binds a plan's bare run to arrays in the shapes that it takes."""

    def bind(arrays: list[Array], scratch: Array) -> Callable[[], Any]:
        x, y, run = arrays[0].reshape(x_shape), arrays[1].reshape(y_shape), plan.run
        return lambda: run(x, y)

    return bind
