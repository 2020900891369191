"""The primitive descriptor: all of a plan that does not depend on the operands' values, made once for recent problems."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from kernels import methods
from kernels.dispatch.choices import choice_for
from kernels.dispatch.conversion import Conversion
from kernels.dispatch.preparation import prepare
from kernels.primitives.prepared import Prepared, without_operands
from kernels.problem.arrays import too_large
from kernels.problem.conv import Problem
from kernels.problem.options import Signature, thread_count
from kernels.runtime.machine import memory

Array = np.ndarray


def _zeros(x: Array, *outs: Array) -> None:
    """What is made of no images: outputs without elements, but weights' gradients of zero."""
    for out in outs:
        out.fill(0)


class Descriptor:
    """A plan before it has operands: what was chosen, everything prepared, and how the user sees the arrays.

    Nothing in it changes, so copies are the object itself; a pickle holds what it was made from, as addresses hold in one process only.
    """

    def __init__(
        self, problem: Problem, signature: Signature, implementation: str = "auto", threads: int | None = None, *, packs: bool = False
    ) -> None:
        methods.load()
        self.problem, self.signature = problem, signature
        self._made_of = problem, signature, implementation, threads
        self._packs = packs
        self.threads = thread_count(problem.op, threads)
        self.choice = choice_for(problem, implementation, self.threads, packs=packs)
        nothing = Prepared(without_operands(_zeros))
        self.prepared = nothing if problem.n == 0 else prepare(
            problem, self.choice, self.threads, last=signature.channels_last, packs=packs
        )
        self.compute = Conversion(problem, signature).compute
        needed = problem.compulsory_bytes + self.prepared.workspace_bytes
        if needed > memory():
            name = self.choice.implementation.name
            raise too_large(problem.op, f"input, output and the scratch space of {name!r} for {problem}", needed)

    def __copy__(self) -> Descriptor:
        return self

    def __deepcopy__(self, memo: Any) -> Descriptor:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial(Descriptor, packs=self._packs), self._made_of
