"""Who trains a PyTorch module: `kernels.torch.accelerate`'s copy of it, PyTorch as it is, PyTorch with channels last.

A step computes the module in training mode and the mean of squares of its outputs, goes back to all weights and moves them (SGD with
momentum). What is compared, before any step, is the loss and the gradient of all weights as one vector: those of a bias that a batch norm
takes out again are rounding alone. The reference is the same step in float64 by PyTorch's own operators.

A rectifier whose input lies within rounding of zero passes a gradient or does not, and of near equals one is the maximum: where millions
are in a row some turn, in PyTorch's float32 too, and gradients before them move by far more than rounding: a VGG's by 2e-3 to 1e-2 of the
largest either way, and by 2e-6 where none turned. So gradients are compared twice: the module's, within what turning does, and those of a
copy with smooth activations and averages in their place, within rounding (a VGG's 3e-7, PyTorch's 4e-7).
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
REFERENCE = "float64"
RATE, MOMENTUM = 1e-4, 0.9
# errors that are let pass, as shares of the largest value
BOUNDS = {"loss": 1e-4, "gradient": 2e-2, "gradient of the smooth copy": 1e-4}


def makers(module: Any, inputs: Sequence[Any], threads: int) -> dict[str, Callable[[], Running]]:
    """The ways by name, each prepared when it is called."""
    import torch

    torch.set_num_threads(threads)

    def ours() -> Running:
        import kernels.torch

        return _running(kernels.torch.accelerate, module, inputs)

    def theirs() -> Running:
        return _running(copy.deepcopy, module, inputs, before=as_without_ours)

    def channels_last() -> Running:
        kept = {"memory_format": torch.channels_last}
        turned = [each.contiguous(**kept) if each.ndim == 4 else each for each in inputs]
        return _running(lambda module: copy.deepcopy(module).to(**kept), module, turned, before=as_without_ours)

    found = {OURS: ours, EAGER: theirs}
    return found | ({CHANNELS_LAST: channels_last} if any(each.ndim == 4 for each in inputs) else {})


def in_float64(module: Any, inputs: Sequence[Any]) -> Mapping[str, Array]:
    """The reference: loss and gradient by PyTorch in float64."""
    doubled = [each.double() if each.is_floating_point() else each for each in inputs]
    return _running(lambda module: copy.deepcopy(module).double(), module, doubled).run()


def wrong(errors: Mapping[str, float]) -> bool:
    """Whether any error of a step is more than rounding and rectifiers explain; not a number is."""
    return not all(error <= BOUNDS[name] for name, error in errors.items())


def smooth(module: Any) -> Any:
    """A copy whose modules have no edges: SiLU in the place of ReLU, averages in that of maxima."""
    from torch import nn

    averages = {nn.MaxPool1d: nn.AvgPool1d, nn.MaxPool2d: nn.AvgPool2d, nn.MaxPool3d: nn.AvgPool3d}
    copied = copy.deepcopy(module)
    for parent in copied.modules():
        for name, child in parent.named_children():
            if type(child) is nn.ReLU:
                setattr(parent, name, nn.SiLU())
            elif type(child) in averages and child.dilation == 1 and not child.return_indices:
                setattr(parent, name, averages[type(child)](child.kernel_size, child.stride, child.padding, child.ceil_mode))
    return copied


def _running(
    prepared: Callable[[Any], Any], module: Any, inputs: Sequence[Any], before: Callable[[], None] = lambda: None
) -> Running:  # fmt: skip
    import torch
    from torch.utils._pytree import tree_leaves

    trained = prepared(module).train()
    weights = list(trained.parameters())
    optimiser = torch.optim.SGD(weights, RATE, MOMENTUM)

    def back(module: Any) -> Any:
        loss = sum(y.square().mean() for y in tree_leaves(module(*inputs)))
        loss.backward()
        return loss

    def step() -> None:
        optimiser.zero_grad()
        back(trained)
        optimiser.step()

    def answer() -> Mapping[str, Array]:
        before()
        found = {}
        for name, each in (("gradient", prepared(module)), ("gradient of the smooth copy", prepared(smooth(module)))):
            loss = float(back(each.train()).detach())
            found |= {"loss": np.array([loss])} if name == "gradient" else {}
            gradients = [weight.grad.numpy().ravel() for weight in each.parameters() if weight.grad is not None]
            found[name] = np.concatenate(gradients)
        return found

    return Running(answer, lambda: profiled_parts(step), step, before)
