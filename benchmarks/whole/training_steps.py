"""Who trains a PyTorch module: `kernels.torch.accelerate`'s copy of it, PyTorch as it is, PyTorch with channels last.

A step computes the module in training mode and the mean of squares of its outputs, goes back to all weights and moves them (SGD with
momentum). What is compared, before any step, is the loss and the gradient of all weights as one vector: those of a bias that a batch norm
takes out again are rounding alone. The reference is the same step in float64 by PyTorch's own operators.

A rectifier whose input lies within rounding of zero passes a gradient or does not, and of near equals one is the maximum: where millions
are in a row some turn, in PyTorch's float32 too, and gradients before them move by far more than rounding. So gradients are compared twice:
the module's, within what turning does, and those of a copy with smooth activations and averages in their place, within rounding. Where that
copy still has edges (a forward's own functions, dilated maxima), they are compared once, and the command says why (`edges`).
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
# operators of ATen whose gradient jumps
EDGES = frozenset({
    "abs", "adaptive_max_pool2d", "adaptive_max_pool3d", "amax", "amin", "aminmax", "clamp", "clamp_max", "clamp_min", "fmax", "fmin",
    "fractional_max_pool2d", "fractional_max_pool3d", "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "kthvalue", "leaky_relu", "max",
    "max_pool2d_with_indices", "max_pool3d_with_indices", "maximum", "median", "min", "minimum", "_prelu_kernel", "relu",
    "rrelu_with_noise", "softshrink", "sort", "threshold", "topk",
})  # fmt: skip


def compared(module: Any, inputs: Sequence[Any]) -> tuple[dict[str, Any], list[str]]:
    """The modules whose gradients are compared, itself and its smooth copy if that has no edges; and the operators with edges it has."""
    copied = smooth(module)
    left = edges(copied, inputs)
    return {"gradient": module} | ({} if left else {"gradient of the smooth copy": copied}), left


def makers(modules: Mapping[str, Any], inputs: Sequence[Any], threads: int) -> dict[str, Callable[[], Running]]:
    """The ways by name, each prepared when it is called."""
    import torch

    torch.set_num_threads(threads)

    def ours() -> Running:
        import kernels.torch

        return _running(kernels.torch.accelerate, modules, inputs)

    def theirs() -> Running:
        return _running(copy.deepcopy, modules, inputs, before=as_without_ours)

    def channels_last() -> Running:
        kept = {"memory_format": torch.channels_last}
        turned = [each.contiguous(**kept) if each.ndim == 4 else each for each in inputs]
        return _running(lambda module: copy.deepcopy(module).to(**kept), modules, turned, before=as_without_ours)

    found = {OURS: ours, EAGER: theirs}
    return found | ({CHANNELS_LAST: channels_last} if any(each.ndim == 4 for each in inputs) else {})


def in_float64(modules: Mapping[str, Any], inputs: Sequence[Any]) -> Mapping[str, Array]:
    """The reference: loss and gradient by PyTorch in float64."""
    doubled = [each.double() if each.is_floating_point() else each for each in inputs]
    return _running(lambda module: copy.deepcopy(module).double(), modules, doubled).run()


def wrong(errors: Mapping[str, float]) -> bool:
    """Whether any error of a step is more than rounding and rectifiers explain; not a number is."""
    return not all(error <= BOUNDS[name] for name, error in errors.items())


def smooth(module: Any) -> Any:
    """A copy with SiLU in the place of modules that are activations with edges, and averages in that of maxima."""
    from torch import nn

    activations = nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.RReLU, nn.Threshold, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.SELU
    averages = {getattr(nn, f"MaxPool{axes}d"): getattr(nn, f"AvgPool{axes}d") for axes in (1, 2, 3)}
    adaptive = {getattr(nn, f"AdaptiveMaxPool{axes}d"): getattr(nn, f"AdaptiveAvgPool{axes}d") for axes in (1, 2, 3)}

    def replaced(each: Any) -> Any:
        kind = type(each)
        if kind in activations:
            return nn.SiLU()
        if kind in adaptive and not each.return_indices:
            return adaptive[kind](each.output_size)
        if kind in averages and not each.return_indices and set(np.ravel(each.dilation)) == {1}:
            return averages[kind](each.kernel_size, each.stride, each.padding, each.ceil_mode)
        return each

    copied = replaced(copy.deepcopy(module))
    for parent in list(copied.modules()):
        for name, child in parent._modules.items():  # with one that stands in several places at each of them
            if child is not None:
                parent._modules[name] = replaced(child)
    return copied


def edges(module: Any, inputs: Sequence[Any]) -> list[str]:
    """The operators with edges that a call of a module in training comes by."""
    from torch.utils._python_dispatch import TorchDispatchMode

    found = set()

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            name = func.overloadpacket.__name__.rstrip("_")
            alpha, _, within = (*args[1:], *(1,) * (4 - len(args)))[:3] if name == "elu" else (1, 1, 1)
            if name in EDGES or alpha * within != 1:
                found.add(name)
            return func(*args, **(kwargs or {}))

    watched = copy.deepcopy(module).train()
    with Watch():
        watched(*inputs)
    return sorted(found)


def _running(
    prepared: Callable[[Any], Any], modules: Mapping[str, Any], inputs: Sequence[Any], before: Callable[[], None] = lambda: None
) -> Running:  # fmt: skip
    import torch
    from torch.utils._pytree import tree_leaves

    trained = prepared(modules["gradient"]).train()
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
        for name, each in ((name, prepared(module)) for name, module in modules.items()):
            loss = float(back(each.train()).detach())
            found |= {"loss": np.array([loss])} if name == "gradient" else {}
            gradients = [weight.grad.numpy().ravel() for weight in each.parameters() if weight.grad is not None]
            found[name] = np.concatenate(gradients)
        return found

    return Running(answer, lambda: profiled_parts(step), step, before)
