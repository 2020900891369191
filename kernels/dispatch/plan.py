"""A plan: one problem, one implementation, operands packed, code compiled, scratch sized. Calling it only computes.

What does not depend on the operands' values is an `Outline`, which is made once for recent problems; a plan is an outline with operands.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import numpy as np

from kernels import methods
from kernels.cost.classes import Classes, class_of
from kernels.dispatch import tuning
from kernels.dispatch.heuristic import Choice, choose
from kernels.methods import registry
from kernels.methods.contract import Implementation
from kernels.primitives.prepared import Prepared, Run, without_operands
from kernels.problem.arrays import OWNS, PLAIN, TAKES, canonical, intake, plain, too_large
from kernels.problem.conv import Conv, ConvWeight, Problem, pool_problem
from kernels.problem.errors import ProblemError
from kernels.problem.operands import Operands
from kernels.problem.options import Signature
from kernels.runtime.bounded_cache import Recent
from kernels.runtime.machine import Machine, cores, machine, memory
from kernels.runtime.scratch import Scratch

Array = np.ndarray

REMEMBERED, REMEMBERED_BYTES = 512, 256 << 20  # problems, and their scratch space


@functools.cache
def load() -> None:
    """Import the implementations, which register themselves; done at the first plan because Numba alone takes 0.4 s to import."""
    from numba.core import config

    if config.DISABLE_JIT:  # compiled code is all there is: micro-kernels have no meaning to Python
        raise ProblemError("NUMBA_DISABLE_JIT is set, and nothing here runs uncompiled; unset it")
    methods.load()


@functools.lru_cache(maxsize=8 * REMEMBERED)
def _choice(problem: Problem, name: str, threads: int, packs: bool, generation: int, _: Machine) -> Choice:
    measured = tuning.recall(problem, threads) if name == "auto" and not packs else None
    if name != "auto" or measured is not None:
        return choose(problem, name, threads, measured, packs=packs)
    key = class_of(problem), threads, packs, generation, machine()
    found = _classes.get(key)
    if found is None or registry.refusal(problem, found[1].implementation):
        choice = choose(problem, name, threads, packs=packs)
        _classes.put(key, problem, choice)
        return choice
    other, choice = found
    larger = math.prod(problem.out_shape) / max(math.prod(other.out_shape), 1)
    return dataclasses.replace(choice, estimates={method: seconds * larger for method, seconds in choice.estimates.items()})


_classes: Classes[Choice] = Classes()


def choice_for(problem: Problem, name: str, threads: int, *, packs: bool = False) -> Choice:
    """What is taken for a problem now, remembered; packs: for calls that pack the operands anew."""
    packs = packs and isinstance(problem, Conv) and not isinstance(problem, ConvWeight)
    if not isinstance(name, str):
        raise ProblemError(f"{problem.op}: implementation is {name!r}, must be a name")
    return _choice(problem, name, threads, packs, tuning.generation(), machine())


_prepared: Recent[Prepared] = Recent(REMEMBERED, REMEMBERED_BYTES)


def forget() -> None:
    """Drop what is remembered of recent problems."""
    _choice.cache_clear()
    _classes.forget()
    _prepared.forget()


def prepare(problem: Problem, choice: Choice, threads: int, *, last: bool = False, packs: bool = False) -> Prepared:
    """What the implementation prepares for the whole problem, remembered; last: for arrays with channels last; packs: for calls that bring
    operands of their own."""
    method = choice.implementation
    once = None if last or not packs else method.prepare_unpacked
    key = problem, choice.name, threads, last, once is None, machine()  # most methods have one preparation for plans and calls
    found = _prepared.get(key)
    if found is None:
        if once:
            method = dataclasses.replace(method, prepare=once)
        found = _with_channels_last(problem, choice, threads) if last else _composed(problem, method, threads)
        _prepared.put(key, found, found.workspace_bytes)
    return found


def _composed(problem: Problem, implementation: Implementation, threads: int) -> Prepared:
    """The implementation's own preparation, followed by whatever of the epilogue it does not fuse."""
    if not isinstance(problem, Conv) or problem == problem.bare() or implementation.fuses(problem):
        return implementation.prepare(problem, threads)
    return _pooled(problem, implementation, threads) if problem.pool else _followed(problem, implementation, threads)


def _followed(problem: Conv, implementation: Implementation, threads: int) -> Prepared:
    """The bare convolution, then scale, shift and activation in place."""
    from kernels.primitives import elementwise as epilogue  # brings Numba, see `load`

    bare = implementation.prepare(problem.bare(), threads)
    steps = epilogue.prepare(problem, threads)

    def bind(operands: Operands) -> Run:
        convolve, follow = bare.bind(Operands(operands.weight, operands.bias)), steps(operands)

        def followed(x: Array, out: Array) -> None:
            convolve(x, out)
            follow(out)

        return followed

    return Prepared(bind, bare.workspace_bytes, bare.note)


def _pooled(problem: Conv, implementation: Implementation, threads: int) -> Prepared:
    """The convolution with all but its pool, then the pool."""
    unpooled = _composed(dataclasses.replace(problem, pool=None), implementation, threads)
    pooling = pool_problem(problem)
    pool = prepare(pooling, choice_for(pooling, "auto", threads), threads)
    before_pool = math.prod(problem.conv_shape) * problem.itemsize
    scratch = Scratch(before_pool)

    def bind(operands: Operands) -> Run:
        convolve, reduce = unpooled.bind(operands), pool.bind(Operands())

        def pooled(x: Array, out: Array) -> None:
            buffer = scratch.take()
            y = buffer.view(problem.dtype).reshape(problem.conv_shape)
            convolve(x, y)
            reduce(y, out)
            scratch.give(buffer)

        return pooled

    return Prepared(bind, unpooled.workspace_bytes + pool.workspace_bytes + before_pool, unpooled.note)


def thread_count(op: str, threads: int | None) -> int:
    """Threads for one call: all that Numba was given, or at most `threads`. Raises ProblemError below 1."""
    if threads is None:
        return cores()
    if isinstance(threads, bool) or not isinstance(threads, int | np.integer) or threads < 1:
        raise ProblemError(f"{op}: threads is {threads!r}, must be a whole number of at least 1, or None for every core")
    return min(int(threads), cores())


def _with_channels_last(problem: Problem, choice: Choice, threads: int) -> Prepared:
    """The same for channels last: by the implementation itself where it knows how, else turned over before and after."""
    from kernels.primitives.channels_last import channels_last  # brings Numba, see `load`

    implementation = choice.implementation
    if implementation.prepare_last and isinstance(problem, Conv) and (problem == problem.bare() or implementation.fuses(problem)):
        return implementation.prepare_last(problem, threads)
    return channels_last(prepare(problem, choice, threads), problem, threads)


def _zeros(x: Array, *outs: Array) -> None:
    """What is made of no images: outputs without elements, but weights' gradients of zero."""
    for out in outs:
        out.fill(0)


class Outline:
    """A plan before it has operands: what was chosen, everything prepared, and how the user sees the arrays.

    Nothing in it changes, so copies are the object itself; a pickle holds what it was made from, as addresses hold in one process only.
    """

    def __init__(
        self, problem: Problem, signature: Signature, implementation: str = "auto", threads: int | None = None, *, packs: bool = False
    ) -> None:
        load()
        self.problem, self.signature = problem, signature
        self._made_of = problem, signature, implementation, threads
        self._packs = packs
        self.threads = thread_count(problem.op, threads)
        self.choice = choice_for(problem, implementation, self.threads, packs=packs)
        self._dtype = np.dtype(problem.dtype)
        self._indices = not isinstance(problem, Conv) and problem.return_indices
        # inputs of this shape and the computed dtype need no conversion; None where every call converts something
        self._plain = None if self._indices or signature.dtype != self._dtype else signature.x_shape
        nothing = Prepared(without_operands(_zeros))
        self.prepared = nothing if problem.n == 0 else prepare(
            problem, self.choice, self.threads, last=signature.channels_last, packs=packs
        )
        self._x_shape, self._out_shape = problem.x_shape, problem.out_shape  # of what runs
        if signature.channels_last:
            from kernels.primitives.channels_last import last  # brings Numba, see `load`

            self._x_shape, self._out_shape = last(problem.x_shape), last(problem.out_shape)
        self._reshaped = signature.x_shape != self._x_shape
        self._result = signature.out_shape
        needed = problem.compulsory_bytes + self.prepared.workspace_bytes
        if needed > memory():
            name = self.choice.implementation.name
            raise too_large(problem.op, f"input, output and the scratch space of {name!r} for {problem}", needed)

    def __copy__(self) -> Outline:
        return self

    def __deepcopy__(self, memo: Any) -> Outline:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial(Outline, packs=self._packs), self._made_of

    def compute(self, run: Run, x: Any, out: Any) -> Any:
        """What `run` makes of x as the user has it; see `Plan.__call__`."""
        if (
            type(x) is np.ndarray and x.shape == self._plain and x.dtype is self._dtype and (flags := x.flags.num) & PLAIN == PLAIN
            and (out is None or self._takes(out, x, flags))
        ):  # fmt: skip
            y = np.empty(self._result, self._dtype) if out is None else out
            if self._reshaped:
                run(x.reshape(self._x_shape), y.reshape(self._out_shape))
            else:
                run(x, y)
            return y
        op, signature = self.problem.op, self.signature
        x = intake(op, "x", x)
        if x.shape != signature.x_shape:
            raise ProblemError(f"{op}: x has shape {x.shape}, the plan was made for {signature.x_shape}; make a plan for this shape")
        if out is not None:
            check_out(op, out, signature, x)
        x = canonical(x, self._dtype, self._x_shape)
        direct = out is not None and out.dtype == x.dtype and plain(out)
        y = out.reshape(self._out_shape) if direct else np.empty(self._out_shape, x.dtype)
        if self._indices:
            indices = np.empty(self._out_shape, np.int64)
            run(x, y, indices)
            return self._present(y, out, direct), self._present(indices, None, False, np.dtype(np.int64))
        run(x, y)
        return self._present(y, out, direct)

    def _takes(self, out: Any, x: Array, x_flags: int) -> bool:
        """Whether `out` can take the result for x as it is. Where not, `check_out` knows why, or that nothing is wrong."""
        if type(out) is not np.ndarray or out.shape != self._result or out.dtype is not self._dtype:
            return False
        flags = out.flags.num
        if flags & TAKES != TAKES:
            return False
        # arrays that own their memory do not overlap, unless they are one; NumPy takes 0.7 us to say so
        return out is not x if flags & x_flags & OWNS else not np.may_share_memory(out, x)

    @np.errstate(over="ignore")  # float16 overflows to infinity, as its own arithmetic does
    def _present(self, y: Array, out: Array | None, direct: bool, dtype: np.dtype | None = None) -> Array:
        """Canonical result to what the user sees."""
        if direct and out is not None:
            return out
        y = y.reshape(self.signature.out_shape).astype(dtype or self.signature.dtype, copy=False)
        if out is None:
            return y
        out[...] = y
        return out


class Plan:
    """`plan(x)` computes; see `kernels.plan`. It has packed the operands, so later changes to the caller's arrays do not reach it.

    Nothing in a plan changes: copies are the plan itself. A pickle holds the problem, the options and the weights as they were given, and
    is planned anew where it is read, on any machine.
    """

    def __init__(self, outline: Outline, operands: Operands) -> None:
        self._outline, self._operands = outline, operands
        self._run = outline.prepared.bind(operands)

    def __copy__(self) -> Plan:
        return self

    def __deepcopy__(self, memo: Any) -> Plan:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._outline, self._operands)

    def __call__(self, x: Any, out: Any = None) -> Any:
        """The result for an x of the planned shape; into `out` if given. Pools with indices return (values, indices)."""
        return self._outline.compute(self._run, x, out)

    @property
    def problem(self) -> Problem:
        """The layer in canonical form."""
        return self._outline.problem

    @property
    def threads(self) -> int:
        """Threads that a call may use."""
        return self._outline.threads

    @property
    def implementation(self) -> str:
        """Name of the implementation that was taken."""
        return self._outline.choice.implementation.name

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Shape of the result, as the user sees it."""
        return self._outline.signature.out_shape

    @property
    def workspace_bytes(self) -> int:
        """Scratch bytes that one call uses besides input and output."""
        return self._outline.prepared.workspace_bytes

    @property
    def run(self) -> Run:
        """`run(x, out)` computes canonical arrays (`problem.x_shape` and `problem.out_shape`) and checks nothing."""
        return self._run

    @property
    def seconds(self) -> float | None:
        """What the choice expects of a call: as measured, or as estimated for one core; None where the implementation was named."""
        choice = self._outline.choice
        return choice.measured.seconds.get(choice.name) if choice.measured else choice.estimates.get(choice.name)

    @property
    def error_bound(self) -> float:
        """Largest error to expect, as a share of the largest sum of |x| |w| over a window, before an activation; of each output's own such
        sum with accuracy="each". Where products do not cancel it is a share of the output too."""
        return self._outline.choice.implementation.error_bound(self.problem)

    def explain(self) -> str:
        """What was decided and why, one line an implementation: estimates against refusals, and against reality where that was measured.

        Estimates are of one core; times are those of one call on the plan's threads, when they were measured.
        """
        choice, prepared = self._outline.choice, self._outline.prepared
        measured = choice.measured.seconds if choice.measured else {}

        def figures(name: str, *words: str) -> str:
            known = [f"estimated {1e3 * choice.estimates[name]:.3g} ms of one core"] if name in choice.estimates else []
            known += [f"measured {1e3 * measured[name]:.3g} ms"] if name in measured else []
            return f"{name}: {', '.join([*words, *known])}"

        taken = "taken, measured fastest" if measured else "taken"
        taken += " with another epilogue" if choice.measured and choice.measured.related else ""
        used = f"{self.threads} thread{'s' * (self.threads > 1)}, workspace {self.workspace_bytes:,} bytes"
        lines = [str(self.problem), figures(choice.name, taken, used)]
        if prepared.note:
            lines.append(f"  {prepared.note}")
        for name, sentence in choice.refusals.items():
            if sentence:
                lines.append(f"{name}: {sentence}")
            elif name != choice.name:
                lines.append(figures(name, "able" if name in choice.estimates else "able, never taken unless named"))
            variants = (other for other in measured if other.startswith(f"{name}:") and other != choice.name)
            lines += [figures(other, "able") for other in variants]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<Plan {self.implementation}: {self.problem}>"


def check_out(op: str, out: Any, signature: Signature, x: Array) -> None:
    """Raise ProblemError unless `out` can take the result for x."""
    if not isinstance(out, np.ndarray):
        raise ProblemError(f"{op}: out is a {type(out).__name__}, must be a NumPy array")
    if out.shape != signature.out_shape or out.dtype != signature.dtype:
        want = f"shape {signature.out_shape} and dtype {signature.dtype}"
        raise ProblemError(f"{op}: out has shape {out.shape} and dtype {out.dtype}, must have {want}")
    if not out.flags.writeable:
        raise ProblemError(f"{op}: out is read-only; pass an array that can be written")
    if np.may_share_memory(out, x):
        raise ProblemError(f"{op}: out overlaps x in memory; pass a separate array")
