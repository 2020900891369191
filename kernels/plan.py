"""A plan: one problem, one implementation, operands packed, code compiled, scratch sized. Calling it only computes."""

from __future__ import annotations

import functools
import importlib
import math
from typing import Any

import numpy as np

from kernels.arrays import canonical, frozen, intake, too_large
from kernels.errors import ProblemError
from kernels.implementation import Operands, Prepared
from kernels.machine import cores, memory
from kernels.policy import Choice, choose
from kernels.problem import Conv, Problem, pool_problem
from kernels.request import Signature
from kernels.scratch import Scratch

Array = np.ndarray


def load() -> None:
    """Import the implementations, which register themselves; done at the first plan because Numba alone takes 0.4 s to import."""
    importlib.import_module("kernels.lowerings")


@functools.lru_cache(maxsize=512)
def _remembered(problem: Problem, name: str) -> Choice:
    return choose(problem, name)


def thread_count(op: str, threads: int | None) -> int:
    """Threads for one call: all that Numba was given, or at most `threads`. Raises ProblemError below 1."""
    if threads is None:
        return cores()
    if isinstance(threads, bool) or not isinstance(threads, int | np.integer) or threads < 1:
        raise ProblemError(f"{op}: threads is {threads!r}, must be a whole number of at least 1, or None for every core")
    return min(int(threads), cores())


def _prepare(problem: Problem, operands: Operands, choice: Choice, threads: int) -> Prepared:
    """The implementation's own preparation, followed by whatever of the epilogue it does not fuse."""
    implementation = choice.implementation
    if not isinstance(problem, Conv) or problem == problem.bare() or implementation.fuses(problem):
        return implementation.prepare(problem, operands, threads)
    from kernels import epilogue  # brings Numba, see `load`

    bare = implementation.prepare(problem.bare(), Operands(operands.weight, operands.bias), threads)
    follow = epilogue.prepare(problem, operands, threads)
    if not problem.pool:

        def elementwise(x: Array, out: Array) -> None:
            bare.run(x, out)
            follow(out)

        return Prepared(elementwise, bare.workspace_bytes, bare.note)
    pooling = pool_problem(problem)
    pool = _prepare(pooling, Operands(), _remembered(pooling, "auto"), threads)
    before_pool = math.prod(problem.conv_shape) * problem.itemsize
    scratch = Scratch(before_pool)

    def composed(x: Array, out: Array) -> None:
        with scratch.take() as buffer:
            y = buffer.view(problem.dtype).reshape(problem.conv_shape)
            bare.run(x, y)
            follow(y)
            pool.run(frozen(y), out)

    return Prepared(composed, bare.workspace_bytes + pool.workspace_bytes + before_pool, bare.note)


def _prepare_last(problem: Problem, operands: Operands, choice: Choice, threads: int) -> Prepared:
    """The same for channels last: by the implementation itself where it knows how, else turned over before and after."""
    from kernels import relayout  # brings Numba, see `load`

    implementation = choice.implementation
    if implementation.prepare_last and isinstance(problem, Conv) and (problem == problem.bare() or implementation.fuses(problem)):
        return implementation.prepare_last(problem, operands, threads)
    return relayout.channels_last(_prepare(problem, operands, choice, threads), problem, threads)


class Plan:
    """`plan(x)` computes; see `kernels.plan`. Holds copies of the operands, so later changes to the caller's arrays do not reach it."""

    def __init__(
        self, problem: Problem, operands: Operands, signature: Signature, implementation: str = "auto", threads: int | None = None
    ) -> None:
        load()
        if not isinstance(implementation, str):
            raise ProblemError(f"{problem.op}: implementation is {implementation!r}, must be a name")
        self.problem = problem
        self.threads = thread_count(problem.op, threads)
        self._choice = _remembered(problem, implementation)
        self._signature = signature
        self._dtype = np.dtype(problem.dtype)
        indices = not isinstance(problem, Conv) and problem.return_indices
        # inputs of this shape and the computed dtype need no conversion; None where every call converts something
        self._plain = None if indices or signature.dtype != self._dtype else signature.x_shape
        self._shapes = problem.x_shape, problem.out_shape  # of what runs
        prepare = _prepare
        if signature.channels_last:
            from kernels import relayout  # brings Numba, see `load`

            self._shapes = relayout.last(problem.x_shape), relayout.last(problem.out_shape)
            prepare = _prepare_last
        self._prepared = Prepared(lambda *arrays: None) if problem.n == 0 else prepare(problem, operands, self._choice, self.threads)
        needed = problem.compulsory_bytes + self.workspace_bytes
        if needed > memory():
            raise too_large(problem.op, f"input, output and the scratch space of {self.implementation!r} for {problem}", needed)

    @property
    def implementation(self) -> str:
        """Name of the implementation that was taken."""
        return self._choice.implementation.name

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Shape of the result, as the user sees it."""
        return self._signature.out_shape

    @property
    def workspace_bytes(self) -> int:
        """Scratch bytes that one call uses besides input and output."""
        return self._prepared.workspace_bytes

    @property
    def error_bound(self) -> float:
        """Largest error to expect, as a share of the largest output (before an activation that caps it, as relu6 does)."""
        return self._choice.implementation.error_bound(self.problem)

    def explain(self) -> str:
        """What was decided and why, one line an implementation."""
        lines = [str(self.problem), f"{self.implementation}: taken, {self.threads} threads, workspace {self.workspace_bytes:,} bytes"]
        if self._prepared.note:
            lines.append(f"  {self._prepared.note}")
        for name, sentence in self._choice.refusals.items():
            estimate = self._choice.estimates.get(name)
            if name == self.implementation:
                continue
            why = sentence or ("able, never taken unless named" if estimate is None else f"able, estimated {1e3 * estimate:.3g} ms")
            lines.append(f"{name}: {why}")
        if self.implementation in self._choice.estimates:
            lines[1] += f", estimated {1e3 * self._choice.estimates[self.implementation]:.3g} ms"
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<Plan {self.implementation}: {self.problem}>"

    def __call__(self, x: Any, out: Any = None) -> Any:
        """The result for an x of the planned shape; into `out` if given. Pools with indices return (values, indices)."""
        if type(x) is np.ndarray and x.shape == self._plain and x.dtype is self._dtype and x.flags.carray:  # nothing to convert
            if out is not None:
                check_out(self.problem.op, out, self._signature, x)
            if out is None or out.flags.carray:
                y = np.empty(self._signature.out_shape, self._dtype) if out is None else out
                self._prepared.run(frozen(x.reshape(self._shapes[0])), y.reshape(self._shapes[1]))
                return y
        op, signature = self.problem.op, self._signature
        x = intake(op, "x", x)
        if x.shape != signature.x_shape:
            raise ProblemError(f"{op}: x has shape {x.shape}, the plan was made for {signature.x_shape}; make a plan for this shape")
        if out is not None:
            check_out(op, out, signature, x)
        x = frozen(canonical(x, self._dtype, self._shapes[0]))
        direct = out is not None and out.dtype == x.dtype and out.flags.c_contiguous and out.flags.aligned
        y = out.reshape(self._shapes[1]) if direct else np.empty(self._shapes[1], x.dtype)
        if not isinstance(self.problem, Conv) and self.problem.return_indices:
            indices = np.empty(self._shapes[1], np.int64)
            self._prepared.run(x, y, indices)
            return self._present(y, out, direct), self._present(indices, None, False, np.dtype(np.int64))
        self._prepared.run(x, y)
        return self._present(y, out, direct)

    @np.errstate(over="ignore")  # float16 overflows to infinity, as its own arithmetic does
    def _present(self, y: Array, out: Array | None, direct: bool, dtype: np.dtype | None = None) -> Array:
        """Canonical result to what the user sees."""
        if direct and out is not None:
            return out
        y = y.reshape(self._signature.out_shape).astype(dtype or self._signature.dtype, copy=False)
        if out is None:
            return y
        out[...] = y
        return out


def check_out(op: str, out: Any, signature: Signature, x: Array) -> None:
    """Raises ProblemError unless `out` can take a result of this signature while x is read."""
    if not isinstance(out, np.ndarray):
        raise ProblemError(f"{op}: out is a {type(out).__name__}, must be a NumPy array")
    if out.shape != signature.out_shape or out.dtype != signature.dtype:
        want = f"shape {signature.out_shape} and dtype {signature.dtype}"
        raise ProblemError(f"{op}: out has shape {out.shape} and dtype {out.dtype}, must have {want}")
    if not out.flags.writeable:
        raise ProblemError(f"{op}: out is read-only; pass an array that can be written")
    if np.may_share_memory(out, x):
        raise ProblemError(f"{op}: out overlaps x in memory; pass a separate array")
