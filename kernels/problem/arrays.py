"""What users hand over becomes a NumPy array of a dtype that is computed, or a clear error."""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.problem.errors import ProblemError
from kernels.runtime.machine import memory


def intake(op: str, name: str, value: Any) -> np.ndarray:
    """`value` as an array of floats, integers or bools; accepts what NumPy or DLPack takes. Raises ProblemError for anything else."""
    if type(value) is np.ndarray:
        array = value
    else:
        try:
            array = np.from_dlpack(value) if hasattr(value, "__dlpack__") and not hasattr(value, "__array__") else np.asarray(value)
        except Exception as error:
            remedy = "pass what numpy.asarray takes: a rectangular list of numbers, tensor.detach().float()"
            raise ProblemError(f"{op}: {name} cannot be read as an array ({error}); {remedy}") from error
        if np.ma.is_masked(value):  # its masked elements hold any number
            raise ProblemError(f"{op}: {name} has masked elements; pass {name}.filled(0) or another value for them")
    if array.dtype.kind not in "fiub" or array.dtype.itemsize > 8:
        raise ProblemError(f"{op}: {name} has dtype {array.dtype}, which is not computed; convert it to float32 or float64")
    return array


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
