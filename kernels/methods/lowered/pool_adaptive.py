"""Adaptive pooling by methods that slide one window: refused, because where all windows are alike the problem is an ordinary pool."""

from __future__ import annotations

from kernels.methods import registry
from kernels.methods.contract import Implementation, rounding_bound
from kernels.primitives.prepared import Prepared
from kernels.problem.errors import RefusedError
from kernels.problem.pool import AdaptivePool


def refuse(problem: AdaptivePool) -> str:
    """Windows that differ in length or step."""
    return f"it slides windows of one length and step, {problem.size} into {problem.out_size} makes several; jit does it"


def prepare(problem: AdaptivePool, threads: int) -> Prepared:
    """Nothing can be prepared."""
    raise RefusedError(refuse(problem))


def lowered(name: str) -> Implementation:
    """The method of that name, for adaptive pools."""
    return Implementation(name, "adaptive_pool", refuse, prepare, rounding_bound)


registry.lower("pool", "adaptive_pool", lowered)
