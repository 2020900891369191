"""Our gradients and steps, as the suite times them: functions that are handed everything anew, as weights change from step to step."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np

import kernels
from benchmarks.contenders import training_calls
from benchmarks.contenders.base import Prepared
from benchmarks.inputs.tensors import Tensors, aligned
from benchmarks.records.results import CHOOSERS
from benchmarks.workloads.training_passes import INPUT, STEP, Training
from kernels.dispatch.choices import choice_for

BOUND = 1e-4  # of the largest number of each part of a step: what "auto" keeps


def refuse(workload: Training, name: str, options: dict[str, Any]) -> str | None:
    """Why the implementation called `name` does not do the pass, or None."""
    if workload.part == STEP:
        return None if find_spec("torch") else "a step is one of PyTorch's, with our functions; PyTorch is not installed"
    able = kernels.implementations(_op(workload), workload.x_shape, _second(workload, None), **options)
    if name in CHOOSERS:
        return None if None in able.values() else "no implementation takes this problem"
    if name not in able:
        return f"{name} is no implementation of {_op(workload)}; there are {', '.join(able)}"
    return able[name]


def prepare(workload: Training, name: str, effort: str, given: Tensors, threads: int, options: dict[str, Any]) -> Prepared:
    """The pass, ready to be timed."""
    if workload.part == STEP:
        return _step(workload, given, threads)
    chosen = "auto" if name in CHOOSERS else name
    plan = kernels.plan(
        _op(workload), workload.x_shape, _second(workload, given), **options, implementation=chosen, threads=threads, dtype="float32",
        effort=effort,
    )  # fmt: skip
    out, grad, x, weight = aligned(workload.out_shape), given.grad, given.x, given.weight
    function = getattr(kernels.grad, _op(workload))
    took = plan.implementation
    if effort == "measure":
        run: Any = (lambda: plan(grad, out=out)) if workload.part == INPUT else (lambda: plan(x, grad, out=out))
    else:
        rest = {**options, "implementation": chosen, "threads": threads, "out": out}
        if workload.part == INPUT:
            took = choice_for(plan.problem, chosen, threads, packs=True).name
            run = lambda: function(workload.x_shape, weight, grad, **rest)  # noqa: E731
        else:
            run = lambda: function(x, workload.weight_shape, grad, **rest)  # noqa: E731
    return Prepared(
        run=run, answer=np.asarray, problem=str(plan.problem), error_bound=float(plan.error_bound),
        workspace_bytes=int(plan.workspace_bytes), remark=f"chose {took}" if name in CHOOSERS else "",
    )  # fmt: skip


def problem_text(workload: Training, options: dict[str, Any]) -> str:
    """The library's text of the pass."""
    if workload.part == STEP:
        return workload.describe()
    return str(kernels.plan(_op(workload), workload.x_shape, _second(workload, None), **options, dtype="float32").problem)


def _op(workload: Training) -> str:
    return f"{workload.op}_{workload.part}"


def _second(workload: Training, given: Tensors | None) -> Any:
    """What the operation takes after the shape of x: weights, or their shape."""
    if workload.part != INPUT:
        return workload.weight_shape
    return np.zeros(workload.weight_shape or (), np.float32) if given is None else given.weight


def _step(workload: Training, given: Tensors, threads: int) -> Prepared:
    import torch

    import kernels.torch as functions
    from benchmarks.contenders.torch_cpu import call_layer

    torch.set_num_threads(threads)
    arrays = given.x, given.weight, given.bias, given.grad
    x, weight, bias, grad = (None if array is None else torch.tensor(array) for array in arrays)
    run = training_calls.backward(workload, lambda w, b: call_layer(workload, w, b, workload.dims, functions), x, weight, bias, grad)
    return Prepared(run=run, answer=lambda found: training_calls.joined(workload, found), error_bound=BOUND)
