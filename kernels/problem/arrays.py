"""What users hand over becomes a NumPy array of a dtype that is computed, or a clear error."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from kernels.problem.errors import PrecisionWarning, ProblemError
from kernels.runtime.machine import memory


def intake(op: str, name: str, value: Any) -> np.ndarray:
    """`value` as an array of floats, integers or bools; accepts what NumPy or DLPack takes. Raises ProblemError for anything else."""
    if type(value) is np.ndarray:
        array = value
    else:
        try:
            array = np.from_dlpack(value) if hasattr(value, "__dlpack__") and not hasattr(value, "__array__") else np.asarray(value)
        except Exception as error:
            detached = _without_gradients(op, name, value)
            if detached is None:
                remedy = "pass what numpy.asarray takes: a rectangular list of numbers, tensor.detach().float()"
                raise ProblemError(f"{op}: {name} cannot be read as an array ({error}); {remedy}") from error
            array = detached
        if np.ma.is_masked(value):  # its masked elements hold any number
            raise ProblemError(f"{op}: {name} has masked elements; pass {name}.filled(0) or another value for them")
    if array.dtype.kind not in "fiub" or array.dtype.itemsize > 8:
        raise ProblemError(f"{op}: {name} has dtype {array.dtype}, which is not computed; convert it to float32 or float64")
    return array


def _without_gradients(op: str, name: str, value: Any) -> np.ndarray | None:
    """What a PyTorch tensor that requires gradients holds, where none are recorded; None for anything else. Raises ProblemError where
    gradients would be lost."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(value, torch.Tensor) or not value.requires_grad:
        return None
    if torch.is_grad_enabled():
        differentiates = op.startswith(("conv", "max_pool", "avg_pool", "adaptive"))
        ours = f"kernels.torch.{op} differentiates" if differentiates else "kernels.torch has layers that differentiate"
        why = "cannot be read as an array: it requires grad, which a NumPy result would lose"
        raise ProblemError(f"{op}: {name} {why}; {ours}, or pass {name}.detach(), or call it within torch.no_grad()")
    try:
        return np.asarray(value.detach())
    except Exception:  # on another device, of another dtype: the first error says so
        return None


def too_large(op: str, what: str, nbytes: int) -> ProblemError:
    """The error for what memory cannot hold all at once, to be raised before any of it is allocated."""
    there = f"{nbytes >> 30:,} GiB, this machine has {memory() >> 30:,} GiB"
    return ProblemError(f"{op}: {what} would take {there}; split the batch or the signal")


def computed_dtype(dtype: np.dtype) -> np.dtype:
    """The dtype a value is computed in: float16, bool and integers of up to 32 bits become float32, 64-bit integers float64."""
    return np.dtype(np.float64 if dtype.itemsize == 8 else np.float32)


def result_dtypes(arrays: list[np.dtype]) -> tuple[np.dtype, np.dtype]:
    """(dtype computed in, dtype returned) for operands of these dtypes: the widest counts; all float16 are returned as float16."""
    computed = np.result_type(*map(computed_dtype, arrays))
    half = all(dtype.kind == "f" and dtype.itemsize == 2 for dtype in arrays)
    return computed, np.dtype(np.float16) if half else computed


def warn_if_widened(op: str, x_dtype: np.dtype, computed: np.dtype, others: Mapping[str, np.dtype]) -> None:
    """Warn whoever calls the library that operands make a float32 or float16 input compute in float64: where PyTorch would raise."""
    if computed.itemsize <= 4 or x_dtype.kind != "f" or x_dtype.itemsize > 4:
        return
    wide = [name for name, dtype in others.items() if computed_dtype(dtype).itemsize > 4]
    if not wide:
        return
    words = " and ".join(f"{name} is {others[name]}" for name in wide)
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and str(frame.f_globals.get("__name__", "")).partition(".")[0] == "kernels":
        level, frame = level + 1, frame.f_back
    text = f"{op}: x is {x_dtype} and {words}, so all is computed in float64, at half the speed or less; pass {wide[0]}.astype(np.float32)"
    warnings.warn(text, PrecisionWarning, stacklevel=level)


def frozen(array: np.ndarray) -> np.ndarray:
    """A read-only view: what methods get as x, so that none can write to it and compiled code meets one type whatever the user passes."""
    view = array.view()
    view.flags.writeable = False
    return view


PLAIN = 0x101  # NPY_ARRAY_C_CONTIGUOUS | NPY_ARRAY_ALIGNED; one look at the flags where their names take one each
TAKES = PLAIN | 0x400  # and NPY_ARRAY_WRITEABLE
OWNS = 0x4  # NPY_ARRAY_OWNDATA


def plain(array: np.ndarray) -> bool:
    """Whether the numbers lie contiguous and aligned."""
    return array.flags.num & PLAIN == PLAIN


def canonical(array: np.ndarray, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """`array` in native byte order, contiguous and aligned, in `shape` (same number of elements); a copy only where needed."""
    return np.require(array, dtype, ["C", "A"]).reshape(shape)


def last(shape: tuple[int, ...]) -> tuple[int, ...]:
    """(n, c, *size) with its channels last."""
    return (shape[0], *shape[2:], shape[1])
