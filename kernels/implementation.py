"""The record that describes one implementation: one method for one operation, and what it hands back when it is prepared."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from kernels.problem import Conv, Pool, Problem

Array = np.ndarray


@dataclasses.dataclass(frozen=True)
class Operands:
    """What a problem is computed with besides its input, canonical and contiguous: weight (c_out, c_in/groups, kh, kw); bias, scale and
    shift (c_out,)."""

    weight: Array | None = None
    bias: Array | None = None
    scale: Array | None = None
    shift: Array | None = None


@dataclasses.dataclass(frozen=True)
class Prepared:
    """`run(x, out)` computes a canonical, contiguous x into out (pools with indices: `run(x, out, indices)`) and may be called from
    several Python threads at once. `workspace_bytes` is the scratch space that one call uses; `note` says what was decided."""

    run: Callable[..., None]
    workspace_bytes: int = 0
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Implementation:
    """One method for one operation.

    name: what users write. operation: "conv" or "pool". refuse(problem): None, or the sentence why not. prepare(problem, operands,
    threads): packs weights, compiles, sizes scratch. error_bound(problem): largest error expected, as a share of the largest output
    (before an activation that caps it). fuses(problem): whether prepare does the whole epilogue; if not, it is handed the bare
    convolution and the plan does the rest. Each gets a Conv or a Pool, as the operation says.
    """

    name: str
    operation: str
    refuse: Callable[[Any], str | None]
    prepare: Callable[[Any, Operands, int], Prepared]
    error_bound: Callable[[Any], float]
    fuses: Callable[[Any], bool] = lambda problem: False


def operation(problem: Problem) -> str:
    """"conv" or "pool"."""
    return "conv" if isinstance(problem, Conv) else "pool"


def rounding_bound(problem: Problem) -> float:
    """Error of summing in the problem's own precision, as a share of the largest output.

    Rounding errors of a sum of K products grow like sqrt(K) times the unit roundoff (Higham and Mary, "A new approach to probabilistic
    rounding error analysis", SIAM J. Sci. Comput. 41(5), 2019, theorem 2.4); the factor 4 covers the largest of many outputs. Inputs
    built so that every output cancels to nearly nothing can exceed any such share.
    """
    eps = float(np.finfo(problem.dtype).eps)
    if isinstance(problem, Pool):
        return 0.0 if problem.kind == "max" else 4 * eps * problem.taps**0.5
    return 4 * eps * (problem.summands + 1) ** 0.5
