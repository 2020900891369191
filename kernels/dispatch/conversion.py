"""The user's arrays as a plan runs them, and its results as the user sees them."""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.primitives.prepared import Run
from kernels.problem.arrays import OWNS, PLAIN, TAKES, canonical, intake, last, plain
from kernels.problem.conv import Conv, Problem
from kernels.problem.errors import ProblemError
from kernels.problem.options import Signature

Array = np.ndarray


class Conversion:
    """Of arrays of the shapes of one signature, for one problem."""

    def __init__(self, problem: Problem, signature: Signature) -> None:
        self._op, self._signature, self._dtype = problem.op, signature, np.dtype(problem.dtype)
        self._indices = not isinstance(problem, Conv) and problem.return_indices
        # inputs of this shape and the computed dtype need no conversion; None where every call converts something
        self._plain = None if self._indices or signature.dtype != self._dtype else signature.x_shape
        self._x_shape, self._out_shape = problem.x_shape, problem.out_shape  # of what runs
        if signature.channels_last:
            self._x_shape, self._out_shape = last(problem.x_shape), last(problem.out_shape)
        self._reshaped = signature.x_shape != self._x_shape
        self._result = signature.out_shape

    def compute(self, run: Run, x: Any, out: Any) -> Any:
        """What `run` makes of x as the user has it; pools with indices give (values, indices)."""
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
        op, signature = self._op, self._signature
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
        """Whether `out` can take the result for x as it is. Where not, `check_out` says why, or that nothing is wrong."""
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
        y = y.reshape(self._signature.out_shape).astype(dtype or self._signature.dtype, copy=False)
        if out is None:
            return y
        out[...] = y
        return out


def check_out(op: str, out: Any, signature: Signature, x: Array) -> None:
    """Raise ProblemError unless `out` can take the result for x."""
    if not isinstance(out, np.ndarray):
        raise ProblemError(f"{op}: out is a {type(out).__name__}, must be a NumPy array")
    if out.shape != signature.out_shape or out.dtype != signature.dtype:
        want = f"shape {signature.out_shape} and dtype {signature.dtype}"
        raise ProblemError(f"{op}: out has shape {out.shape} and dtype {out.dtype}, must have {want}")
    if not out.flags.writeable:
        raise ProblemError(f"{op}: out is read-only; pass an array that can be written")
    if not out.flags.c_contiguous and _overlaps_itself(out):
        raise ProblemError(f"{op}: out has strides {out.strides}, with which its own numbers may overlap; pass a separate array")
    if np.may_share_memory(out, x):
        raise ProblemError(f"{op}: out overlaps x in memory; pass a separate array")


def _overlaps_itself(array: Array) -> bool:
    """Whether an array's numbers may share memory with each other, as those of broadcast arrays and of overlapping windows do."""
    reach = array.itemsize
    for stride, length in sorted((abs(stride), length) for stride, length in zip(array.strides, array.shape) if length > 1):
        if stride < reach:
            return True
        reach += stride * (length - 1)
    return False
