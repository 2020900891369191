"""Which workloads there are and which of them somebody means: by preset, by id, by glob."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from functools import cache

from benchmarks.workloads import training_passes
from benchmarks.workloads.catalogue import catalogue, long_filters
from benchmarks.workloads.layer import Workload
from benchmarks.workloads.networks import networks

# One of each kind that behaves differently: first layer, 3x3 on a large map, wide, long 1-D, dilated, dilated depthwise 1-D, 1x1, pool.
QUICK = (
    "vggish.conv1", "cnn14.b2c2", "musicnn.timbral67", "crepe.conv1", "beattcn.d256c1", "convtasnet.dw64", "yamnet.pw8", "choi.fcn5.pool1",
)  # fmt: skip
PRESETS = ("quick", "core", "full")


@cache
def everything() -> tuple[Workload, ...]:
    """The catalogue, then the long filters, then whole networks."""
    return (*catalogue(), *long_filters(), *networks())


def by_id(name: str) -> Workload:
    return next(workload for workload in everything() if workload.id == name)


def preset(name: str) -> tuple[Workload, ...]:
    """The workloads of a preset; `full` has also those whose operation nobody can run yet, so that they show as refused."""
    if name == "quick":
        return tuple(by_id(each) for each in QUICK)
    if name == "core":
        return tuple(workload for workload in catalogue() if workload.core)
    if name == "full":
        return (*catalogue(), *long_filters())
    raise ValueError(f"no preset {name!r}; there are {', '.join(PRESETS)}")


def matching(names: Sequence[str], globs: Iterable[str], what: str, shown: int = 12) -> list[str]:
    """The names that one of the globs fits, in their own order; a glob that fits none is an error that says what there is."""
    globs = list(globs)
    for glob in globs:
        if not any(fnmatchcase(name, glob) for name in names):
            rest = f", and {len(names) - shown} more (`python -m benchmarks list` shows all)" if len(names) > shown else ""
            raise ValueError(f"no {what} fits {glob!r}; there are {', '.join(names[:shown])}{rest}")
    return [name for name in names if any(fnmatchcase(name, glob) for glob in globs)]


def select(preset_name: str, globs: Sequence[str] = (), own: Sequence[Workload] = ()) -> tuple[Workload, ...]:
    """The preset's workloads, or the user's own; globs choose from all there are instead, whatever the preset, or from the user's own;
    passes of training by their names, as in 'crepe.*.backward_weight'."""
    chosen = tuple(own) or preset(preset_name)
    if not globs:
        return chosen
    every = tuple(own) or everything()
    expanded = training_passes.expand(every, tuple(training_passes.PASSES))
    passes = tuple(workload for workload in expanded if isinstance(workload, training_passes.Training))
    wanted: set[str] = set()
    for kind, some in ((False, every), (True, passes)):  # a glob that says nothing of passes means layers
        if mine := [glob for glob in globs if training_passes.names_one(glob) == kind]:
            wanted |= set(matching([workload.id for workload in some], mine, "workload"))
    return tuple(workload for workload in (*every, *passes) if workload.id in wanted)
