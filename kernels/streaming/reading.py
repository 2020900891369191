"""Lines of layers read for a signal of any length: for one length that is long enough, from which all others follow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from kernels.network.layers import JOINS, Defaults, Stage, joined, read_one
from kernels.problem.arrays import result_dtypes
from kernels.problem.errors import ProblemError, RefusedError
from kernels.streaming.lines import Line
from kernels.streaming.subgraphs import at_length, computation

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


class Stages(NamedTuple):
    """A line that was read: its stages, the places where it begins, the shapes that lie there, and the axis of time as lines have it."""

    stages: tuple[Stage, ...]
    sources: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...]
    axis: int


class Reading(NamedTuple):
    """The lines of a network, the shape of the last one's result, the dtype in which all compute, and the one that is returned."""

    lines: tuple[Stages, ...]
    out_shape: tuple[int, ...]
    computed: np.dtype
    returned: np.dtype


def read_along(
    lines: Sequence[Line], shape: tuple[int | None, ...], implementation: str, dtype: np.dtype, like: tuple[int, int] = (0, 1)
) -> Reading:  # fmt: skip
    """Lines read for inputs of a shape whose length along time is None. like: (rest, step), for a length that leaves this rest when it is
    divided by the step, as the length in question does: what "same" pads depends on that."""
    rest, step = like

    def reading(dtype: np.dtype) -> Reading:
        def of(nominal: int) -> Reading:
            length = -(-nominal // step) * step + rest
            return _read(lines, at_length(shape, length), dtype, Defaults(implementation, "largest"))

        return for_any_length(of)

    found = reading(dtype)
    return found if found.computed == result_dtypes([dtype])[0] else reading(found.computed)  # one dtype for all, as in a sequence


def _read(lines: Sequence[Line], shape: tuple[int, ...], dtype: np.dtype, defaults: Defaults) -> Reading:
    found: list[Stages] = []
    ends: list[tuple[tuple[int, ...], np.dtype]] = [(shape, dtype)]  # of every place
    for line in lines:
        begins = [ends[place] for place in line.sources]
        stages: list[Stage] = []
        x_shape, kind = begins[0]
        for where, each in line.layers:
            if each.op == "subgraph":
                stages.append(computation(each.args[0], where, begins))
            elif each.op in JOINS:
                stages.append(joined(each.op, where, x_shape, begins))
            else:
                stages += read_one(each, where, x_shape, kind, defaults)
            x_shape, kind = stages[-1].out_shape, stages[-1].dtype
        found.append(Stages(tuple(stages), line.sources, tuple(shape for shape, _ in begins), line.axis))
        ends.append((x_shape, kind))
    every = [stage.dtype for line in found for stage in line.stages] or [dtype]
    computed = np.result_type(*(result_dtypes([each])[0] for each in every))
    return Reading(tuple(found), ends[-1][0], np.dtype(computed), np.dtype(ends[-1][1]))
