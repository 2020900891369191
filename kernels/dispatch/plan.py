"""A plan: one problem, one implementation, operands packed, code compiled, scratch sized. Calling it only computes."""

from __future__ import annotations

from typing import Any

from kernels.dispatch.descriptor import Descriptor
from kernels.dispatch.explanation import explain
from kernels.primitives.prepared import Run
from kernels.problem.conv import Problem
from kernels.problem.operands import Operands


class Plan:
    """`plan(x)` computes; see `kernels.plan`. It has packed the operands, so later changes to the caller's arrays do not reach it.

    Nothing in a plan changes: copies are the plan itself. A pickle holds the problem, the options and the weights as they were given, and
    is planned anew where it is read, on any machine.
    """

    def __init__(self, descriptor: Descriptor, operands: Operands) -> None:
        self._descriptor, self._operands = descriptor, operands
        self._run = descriptor.prepared.pack(operands)

    def __copy__(self) -> Plan:
        return self

    def __deepcopy__(self, memo: Any) -> Plan:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._descriptor, self._operands)

    def __call__(self, x: Any, out: Any = None) -> Any:
        """The result for an x of the planned shape; into `out` if given. Pools with indices return (values, indices)."""
        return self._descriptor.compute(self._run, x, out)

    @property
    def problem(self) -> Problem:
        """The layer in canonical form."""
        return self._descriptor.problem

    @property
    def threads(self) -> int:
        """Threads that a call may use."""
        return self._descriptor.threads

    @property
    def implementation(self) -> str:
        """Name of the implementation that was taken."""
        return self._descriptor.choice.implementation.name

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Shape of the result, as the user sees it."""
        return self._descriptor.signature.out_shape

    @property
    def workspace_bytes(self) -> int:
        """Scratch bytes that one call uses besides input and output."""
        return self._descriptor.prepared.workspace_bytes

    @property
    def run(self) -> Run:
        """`run(x, out)` computes canonical arrays (`problem.x_shape` and `problem.out_shape`) and checks nothing."""
        return self._run

    @property
    def seconds(self) -> float | None:
        """What the choice expects of a call: as measured, or as estimated for one core; None where the implementation was named."""
        return self._descriptor.choice.seconds

    @property
    def error_bound(self) -> float:
        """Largest error to expect, as a share of the largest sum of |x| |w| over a window, before an activation; of each output's own such
        sum with accuracy="each". Where products do not cancel it is a share of the output too."""
        return self._descriptor.choice.implementation.error_bound(self.problem)

    def explain(self) -> str:
        """What was decided and why, one line an implementation: estimates against refusals, and against reality where that was measured.

        Estimates are of one core; times are those of one call on the plan's threads, when they were measured.
        """
        return explain(self._descriptor)

    def __repr__(self) -> str:
        return f"<Plan {self.implementation}: {self.problem}>"
