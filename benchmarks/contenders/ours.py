"""Our own implementations, one contender per registered name, and "auto", which lets the library choose.

They are found by asking the library, so a new implementation appears here by being registered.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import kernels
from benchmarks.contenders.base import Contender, Prepared
from benchmarks.networks import Network
from benchmarks.tensors import Tensors, aligned
from benchmarks.workloads import Workload
from kernels import api

# Loops in plain Python run at some 1e6 to 1e7 operations a second, plain compiled loops at 1e9: a pilot of a tenth of a second each.
PILOT_FLOPS = {"naive": 200_000, "jit": 50_000_000}
TRANSFORMED = ("fft", "auto")  # their time is not in proportion to the flops of the definition, and never minutes


class Ours(Contender):
    """A plan made by one named implementation."""

    modules = ("kernels",)
    inside_timer = "One call of a prepared plan into an allocated output; weights packed, kernels compiled, scratch sized before."

    def __init__(self, name: str) -> None:
        self.name = name

    def available(self) -> str | None:
        return None  # the suite cannot be started without the library

    def version(self) -> str | None:
        return str(kernels.__version__)

    def pilot(self, workload: Workload) -> Workload | None:
        if self.name in TRANSFORMED:
            return None
        flops = PILOT_FLOPS.get(self.name)
        if flops is None:
            return super().pilot(workload)
        return workload.cut(flops) if workload.flops > flops else None

    def refuse(self, workload: Workload) -> str | None:
        if isinstance(workload, Network):
            return None if self.name == "auto" else 'of a network every layer takes what suits it; "auto" runs it'
        if not hasattr(kernels, workload.op):
            return f"kernels has no operation {workload.op}"
        weight = None if workload.weight_shape is None else np.zeros(workload.weight_shape, np.float32)
        bias = np.zeros(workload.c_out, np.float32) if workload.bias else None
        able = api.implementations(workload.op, workload.x_shape, *_arguments(workload, weight, bias), **_options(workload))
        if self.name == "auto":
            return None if None in able.values() else "no implementation takes this problem"
        if self.name not in able:
            return f"{self.name} is no implementation of {workload.op}; there are {', '.join(able)}"
        sentence = able[self.name]
        return None if sentence is None else str(sentence)

    def prepare(self, workload: Workload, given: Tensors, threads: int) -> Prepared:
        if isinstance(workload, Network):
            network = kernels.sequence(workload.layers, workload.x_shape, threads=threads)
            x, out = given.x, aligned(workload.out_shape)
            return Prepared(
                run=lambda: network(x, out=out), answer=np.asarray, error_bound=network.error_bound,
                workspace_bytes=network.workspace_bytes,
            )  # fmt: skip
        plan = api.plan(
            workload.op, workload.x_shape, *_arguments(workload, given.weight, given.bias), **_options(workload),
            implementation=self.name, threads=threads, dtype="float32",
        )  # fmt: skip
        out = aligned(workload.out_shape)  # full of NaN, so that whatever is left unwritten shows
        x = given.x
        return Prepared(
            run=lambda: plan(x, out=out), answer=np.asarray, problem=str(plan.problem), error_bound=float(plan.error_bound),
            workspace_bytes=int(plan.workspace_bytes), remark=f"chose {plan.implementation}" if self.name == "auto" else "",
        )  # fmt: skip


def _arguments(workload: Workload, weight: Any, bias: Any) -> tuple[Any, ...]:
    if workload.is_global:
        return ()
    return (weight, bias) if workload.is_conv else ((workload.kh, workload.kw)[-workload.dims :],)


def _options(workload: Workload) -> dict[str, Any]:
    if workload.is_global:
        return {}
    options: dict[str, Any] = {"stride": workload.stride[-workload.dims :]}
    if workload.is_conv:
        padding, dilation = list(workload.padding[-workload.dims :]), workload.dilation[-workload.dims :]
        options |= {"padding": padding, "dilation": dilation, "groups": workload.groups}
    return options


def problem_text(workload: Workload) -> str:
    """The library's text of the workload's problem, which every row carries; a line of the suite for what the library does not have."""
    if not hasattr(kernels, workload.op):
        return workload.describe()
    weight = None if workload.weight_shape is None else np.zeros(workload.weight_shape, np.float32)
    bias = np.zeros(workload.c_out, np.float32) if workload.bias else None
    # naive packs nothing and compiles nothing, so its plan costs no more than the problem itself.
    plan = api.plan(workload.op, workload.x_shape, *_arguments(workload, weight, bias), **_options(workload), implementation="naive")
    return str(plan.problem)


def contenders() -> tuple[Ours, ...]:
    """Every implementation of convolution and pooling that the library names, then "auto"."""
    conv = api.implementations("conv2d", (1, 1, 4, 4), np.zeros((1, 1, 3, 3), np.float32))
    pool = api.implementations("max_pool2d", (1, 1, 4, 4), 2)
    return tuple(Ours(name) for name in (*dict.fromkeys((*conv, *pool)), "auto"))
