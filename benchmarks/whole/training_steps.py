"""Who trains a PyTorch module: `kernels.torch.accelerate`'s copy of it, PyTorch as it is, PyTorch with channels last.

A step computes the module in training mode and the mean of squares of its outputs, goes back to all weights and moves them (SGD with
momentum). What is compared, before any step, is the loss and the gradient of all weights as one vector: those of a bias that a batch norm
takes out again are rounding alone. A rectifier whose input lies within rounding of zero passes a gradient or does not: where three million
are in a row, some do, and a gradient of the VGG here moves by 3e-3 of the largest (2e-7 with smooth activations and averages).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.contenders.torch_cpu import as_without_ours
from benchmarks.whole.runtimes import Array, Running
from benchmarks.whole.torch_runtimes import EAGER, OURS, profiled_parts

CHANNELS_LAST = "pytorch, channels last"
RATE, MOMENTUM = 1e-4, 0.9


def makers(module: Any, inputs: Sequence[Any], threads: int) -> dict[str, Callable[[], Running]]:
    """The ways by name, each prepared when it is called."""
    import torch

    torch.set_num_threads(threads)

    def ours() -> Running:
        import kernels.torch

        return _running(kernels.torch.accelerate(module), inputs)

    def theirs() -> Running:
        return _running(copy.deepcopy(module), inputs, before=as_without_ours)

    def channels_last() -> Running:
        kept = {"memory_format": torch.channels_last}
        turned = [each.contiguous(**kept) if each.ndim == 4 else each for each in inputs]
        return _running(copy.deepcopy(module).to(**kept), turned, before=as_without_ours)

    found = {OURS: ours, EAGER: theirs}
    return found | ({CHANNELS_LAST: channels_last} if any(each.ndim == 4 for each in inputs) else {})


def _running(module: Any, inputs: Sequence[Any], before: Callable[[], None] = lambda: None) -> Running:
    import torch
    from torch.utils._pytree import tree_leaves

    module.train()
    weights = list(module.parameters())
    optimiser = torch.optim.SGD(weights, RATE, MOMENTUM)

    def back() -> Any:
        optimiser.zero_grad()
        loss = sum(y.square().mean() for y in tree_leaves(module(*inputs)))
        loss.backward()
        return loss

    def step() -> None:
        back()
        optimiser.step()

    def answer() -> Mapping[str, Array]:
        before()
        loss = float(back().detach())
        gradients = [weight.grad.numpy().ravel() for weight in weights if weight.grad is not None]
        return {"loss": np.array([loss]), "gradient": np.concatenate(gradients)}

    return Running(answer, lambda: profiled_parts(step), step, before)
