"""Layers read for a signal of any length: for one length that is long enough, from which all others follow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np

from kernels.network.layers import Defaults, Stage, read
from kernels.problem.arrays import result_dtypes
from kernels.problem.errors import ProblemError, RefusedError

# lengths that layers are read for, until one is long enough: multiples of many strides, so that branches of any stride meet
NOMINAL = 240, 5040, 110880, 1441440, 7207200


T = TypeVar("T")


def for_any_length(read: Callable[[int], T]) -> T:
    """What `read` makes of the first of these lengths that it takes; its error where it takes none."""
    for nominal in NOMINAL[:-1]:
        try:
            return read(nominal)
        except (ProblemError, RefusedError):  # a model's nodes that a short signal does not fill are refused
            pass
    return read(NOMINAL[-1])


class Reading(NamedTuple):
    """The stages of layers, the dtype in which all compute, and the one that is returned."""

    stages: tuple[Stage, ...]
    computed: np.dtype
    returned: np.dtype


def read_along(layers: Any, shape: tuple[int | None, ...], implementation: str, dtype: np.dtype, like: tuple[int, int] = (0, 1)) -> Reading:
    """Layers read for inputs of a shape whose length along time is None. like: (rest, step), for a length that leaves this rest when it is
    divided by the step, as the length in question does: what "same" pads depends on that."""

    def stages(dtype: np.dtype) -> tuple[Stage, ...]:
        rest, step = like

        def of(nominal: int) -> tuple[Stage, ...]:
            length = -(-nominal // step) * step + rest
            return read(layers, tuple(length if each is None else each for each in shape), dtype, Defaults(implementation, "largest"))

        return for_any_length(of)

    found = stages(dtype)
    computed = np.dtype(np.result_type(*(result_dtypes([stage.dtype])[0] for stage in found)) if found else result_dtypes([dtype])[0])
    if computed != result_dtypes([dtype])[0]:  # one dtype for all, as in a sequence
        found, dtype = stages(computed), computed
    return Reading(found, computed, np.dtype(found[-1].dtype if found else dtype))
