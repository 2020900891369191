"""Our own implementations, one contender per registered name, "auto", which lets the library choose, and "measured", where it times first.

They are found by asking the library, so a new implementation appears here by being registered.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

import kernels
from benchmarks.contenders import ours_training
from benchmarks.contenders.base import Contender, Prepared
from benchmarks.inputs.tensors import Tensors, aligned
from benchmarks.records.results import CHOOSERS
from benchmarks.workloads.layer import Workload
from benchmarks.workloads.networks import Network
from benchmarks.workloads.training_passes import INPUT, STEP, WEIGHT, Training
from kernels.api import call as api
from kernels.dispatch import tuning

# Loops in plain Python run at some 1e6 to 1e7 operations a second, plain compiled loops at 1e9: a pilot of a tenth of a second each.
PILOT_FLOPS = {"naive": 200_000, "jit": 50_000_000}
PRECISION = {"direct_bfloat16": {"precision": "bfloat16"}}  # of methods that round, which run only where they are named
TRANSFORMED = ("fft", *CHOOSERS)  # their time is not in proportion to the flops of the definition, and never minutes

# "auto" decides by its built-in estimates here, as it does for whoever begins, not by what this machine's user once measured or calibrated
os.environ.setdefault("KERNELS_TUNING", "off")


class Ours(Contender):
    """A plan made by one named implementation."""

    peer, modules = False, ("kernels",)
    inside_timer = (
        "One call of a prepared plan into an allocated output; weights packed, kernels compiled, scratch sized before. Gradients are "
        "function calls of kernels.grad that pack weights anew, steps kernels.torch's functions under PyTorch's autograd."
    )

    def __init__(self, name: str) -> None:
        self.name, self.asked_only = name, name == "measured" or name in PRECISION
        self.trains = (INPUT, WEIGHT, STEP) if name == "auto" else (INPUT, WEIGHT)  # a step takes what suits each pass
        self.trains = () if name in PRECISION else self.trains
        self.effort = "measure" if name == "measured" else "estimate"

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
            return None if self.name in CHOOSERS else 'of a network every layer takes what suits it; "auto" runs it'
        if not hasattr(kernels, workload.op):
            return f"kernels has no operation {workload.op}"
        if isinstance(workload, Training):
            return ours_training.refuse(workload, self.name, _options(workload))
        weight = None if workload.weight_shape is None else np.zeros(workload.weight_shape, np.float32)
        bias = np.zeros(workload.c_out, np.float32) if workload.bias else None
        able = api.implementations(workload.op, workload.x_shape, *_arguments(workload, weight, bias), **self.options(workload))
        if self.name in CHOOSERS:
            return None if None in able.values() else "no implementation takes this problem"
        if self.name not in able:
            return f"{self.name} is no implementation of {workload.op}; there are {', '.join(able)}"
        sentence = able[self.name]
        return None if sentence is None else str(sentence)

    def options(self, workload: Workload) -> dict[str, Any]:
        """What a call is told, the precision that the implementation needs included."""
        allows = workload.is_conv and not workload.is_transposed
        return _options(workload) | (PRECISION.get(self.name, {}) if allows else {})

    def prepare(self, workload: Workload, given: Tensors, threads: int) -> Prepared:
        if isinstance(workload, Network):
            network = kernels.sequence(workload.layers, workload.x_shape, threads=threads, effort=self.effort)
            _forget()
            x, out = given.x, aligned(workload.out_shape)
            return Prepared(
                run=lambda: network(x, out=out), answer=np.asarray, error_bound=network.error_bound,
                workspace_bytes=network.workspace_bytes,
            )  # fmt: skip
        if isinstance(workload, Training):
            return ours_training.prepare(workload, self.name, self.effort, given, threads, _options(workload))
        plan = api.plan(
            workload.op, workload.x_shape, *_arguments(workload, given.weight, given.bias), **self.options(workload),
            implementation="auto" if self.name in CHOOSERS else self.name, threads=threads, dtype="float32", effort=self.effort,
        )  # fmt: skip
        _forget()
        out = aligned(workload.out_shape)  # full of NaN, so that whatever is left unwritten shows
        x = given.x
        return Prepared(
            run=lambda: plan(x, out=out), answer=np.asarray, problem=str(plan.problem), error_bound=float(plan.error_bound),
            workspace_bytes=int(plan.workspace_bytes), remark=f"chose {plan.implementation}" if self.name in CHOOSERS else "",
        )  # fmt: skip


def _forget() -> None:
    """ "auto" shall not profit from what "measured" found out, unless the user named a file for it."""
    if tuning.path() is None:
        tuning.forget()


def _arguments(workload: Workload, weight: Any, bias: Any) -> tuple[Any, ...]:
    if workload.is_global:
        return ()
    return (weight, bias) if workload.is_conv else ((workload.kh, workload.kw)[-workload.dims :],)


def _options(workload: Workload) -> dict[str, Any]:
    if workload.is_global:
        return {}
    dims = workload.dims
    options: dict[str, Any] = {"stride": workload.stride[-dims:], "dilation": workload.dilation[-dims:]}
    options["padding"] = [(before, max(after, 0)) for before, after in workload.padding[-dims:]]
    if workload.is_conv:
        options["groups"] = workload.groups
    else:
        options["ceil_mode"] = workload.ceil_mode
    if workload.is_transposed:
        options["output_padding"] = workload.output_padding[-dims:]
    if workload.op.startswith("avg"):
        options["count_include_pad"] = workload.count_include_pad
    return options


def problem_text(workload: Workload) -> str:
    """The library's text of the workload's problem, which every row carries; a line of the suite for what the library does not have."""
    if not hasattr(kernels, workload.op):
        return workload.describe()
    if isinstance(workload, Training):
        return ours_training.problem_text(workload, _options(workload))
    weight = None if workload.weight_shape is None else np.zeros(workload.weight_shape, np.float32)
    bias = np.zeros(workload.c_out, np.float32) if workload.bias else None
    # naive packs nothing and compiles nothing, so its plan costs no more than the problem itself.
    plan = api.plan(workload.op, workload.x_shape, *_arguments(workload, weight, bias), **_options(workload), implementation="naive")
    return str(plan.problem)


def contenders() -> tuple[Ours, ...]:
    """Every implementation of convolution and pooling that the library names, then "auto" and "measured"."""
    conv = api.implementations("conv2d", (1, 1, 4, 4), np.zeros((1, 1, 3, 3), np.float32))
    pool = api.implementations("max_pool2d", (1, 1, 4, 4), 2)
    return tuple(Ours(name) for name in (*dict.fromkeys((*conv, *pool)), *CHOOSERS))
