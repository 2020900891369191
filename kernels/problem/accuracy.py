"""What errors are shares of: a call's own accuracy, else the process's; and what factors may be rounded to."""

from __future__ import annotations

import functools
import os
from typing import Any

from kernels.problem.errors import ProblemError, meant, shown

ACCURACIES = ("largest", "each")
PRECISIONS = {"bfloat16": 2.0**-8}  # by what share a factor may change that is rounded to the nearest: half of its last place
_process: dict[str, str] = {}  # what `set_accuracy` was told


def set_accuracy(accuracy: str | None) -> None:
    """What calls, plans and networks of this process that name no accuracy take from now on: "largest", "each", or None for the
    environment variable KERNELS_ACCURACY, as it is now, and else "largest". Raises ProblemError for anything else. See `conv2d` for what
    they mean.

    >>> set_accuracy("each")
    >>> set_accuracy(None)
    """
    if accuracy is None:
        _process.clear()
        _of_environment.cache_clear()
    else:
        _process["accuracy"] = _known_accuracy("set_accuracy: accuracy", accuracy)


def default_accuracy() -> str:
    """The accuracy of what names none."""
    return _process.get("accuracy") or _of_environment()


@functools.cache  # to ask the environment takes 0.5 us, which every call would
def _of_environment() -> str:
    return _known_accuracy("KERNELS_ACCURACY", os.environ.get("KERNELS_ACCURACY", "").lower() or "largest")


def accuracy_of(op: str, accuracy: str | None) -> str:
    """The accuracy asked for, or the process's."""
    return default_accuracy() if accuracy is None else _known_accuracy(f"{op}: accuracy", accuracy)


def precision_of(op: str, precision: Any, computed: str) -> str | None:
    """What factors may be rounded to, None: they keep the dtype that they are `computed` in, which may be named too."""
    if precision is None or precision == computed:
        return None
    known = ("float32", "float64", *PRECISIONS)
    if not isinstance(precision, str) or precision not in known:
        raise ProblemError(f'{op}: precision is {shown(precision)}, must be "float32" or "bfloat16"{meant(precision, known)}')
    needed = precision if precision == "float64" else "float32"
    if computed != needed:
        remedy = f"pass x.astype(np.{needed})"
        raise ProblemError(f"{op}: precision={shown(precision)} is for {needed} arrays, these are computed in {computed}; {remedy}")
    return precision


def _known_accuracy(what: str, accuracy: Any) -> str:
    if not isinstance(accuracy, str) or accuracy not in ACCURACIES:
        remedy = 'must be "largest" (errors are shares of the largest output) or "each" (of their own)'
        raise ProblemError(f"{what} is {shown(accuracy)}, {remedy}{meant(accuracy, ACCURACIES)}")
    return accuracy
