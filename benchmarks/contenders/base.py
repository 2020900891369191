"""What the suite asks of a contender: a name, whether it is installed, what it refuses, and a prepared call."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.inputs.tensors import Tensors
from benchmarks.workloads.layer import Workload

# Work that takes a second at 20 GFLOP/s may take minutes where no fast method exists, so what it will take is found on a shorter map.
HEAVY_FLOPS, PILOT_FLOPS = 20_000_000_000, 1_000_000_000


@dataclass(frozen=True, eq=False)
class Prepared:
    """A call ready to be timed: `run` computes the workload once and nothing else; `answer` makes its result a NumPy array, untimed."""

    run: Callable[[], Any]
    answer: Callable[[Any], npt.NDArray[np.floating]]
    problem: str = ""  # the library's text of it, where there is one
    error_bound: float | None = None
    workspace_bytes: int | None = None
    remark: str = ""  # what a reader should know about this cell, e.g. what "auto" chose


class Contender(ABC):
    """One way to compute a workload. Heavy imports happen in its methods, so that naming contenders stays cheap."""

    name: str
    inside_timer: str  # a sentence: what a timed call includes, what it does not
    peer = True  # whether reports set it against ours; False of ours and of baselines
    asked_only = False  # whether it runs only where a glob fits it: what takes long to prepare
    trains: tuple[str, ...] = ()  # the passes of training that it does
    modules: tuple[str, ...] = ()  # what it runs on: imported before anything else where beginnings are timed

    @abstractmethod
    def available(self) -> str | None:
        """None, or why it cannot run in this environment."""

    @abstractmethod
    def refuse(self, workload: Workload) -> str | None:
        """None, or the sentence why it does not do this workload."""

    @abstractmethod
    def prepare(self, workload: Workload, given: Tensors, threads: int) -> Prepared:
        """Everything that happens once: compiling, packing constant weights, opening a session, allocating the output."""

    def pilot(self, workload: Workload) -> Workload | None:
        """For what may be slow: a smaller workload of the same kind, whose time, scaled by flops, predicts this one's."""
        small = workload.shorter(PILOT_FLOPS) if workload.flops > HEAVY_FLOPS else workload
        return small if small.flops < workload.flops else None

    def version(self) -> str | None:
        """The version of what it runs on."""
        return None


def pads_differ(workload: Workload) -> bool:
    """Whether padding before and after an axis differs, which several interfaces cannot say."""
    return any(before != after for before, after in workload.padding)
