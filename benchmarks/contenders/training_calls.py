"""A pass of training as calls of PyTorch's autograd, whoever's functions the layer is made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.workloads.training_passes import INPUT, RATE, STEP, Training

Layer = Callable[[Any], Any]


def backward(workload: Training, layer: Callable[[Any, Any], Layer], x: Any, weight: Any, bias: Any, grad: Any) -> Callable[[], Any]:
    """One pass; layer(weight, bias) gives what computes the layer from its input. Of a gradient alone the layer has been computed before,
    with what its backward reads."""
    import torch

    if workload.part == STEP:
        return _step(layer, x, weight, bias, grad)
    wanted = (x if workload.part == INPUT else weight).requires_grad_()
    with torch.enable_grad():
        y = layer(weight, bias)(x)
    return lambda: torch.autograd.grad(y, wanted, grad, retain_graph=True)


def _step(layer: Callable[[Any, Any], Layer], x: Any, weight: Any, bias: Any, grad: Any) -> Callable[[], Any]:
    import torch

    moved = [weight] if bias is None else [weight, bias]
    wanted = [each.requires_grad_() for each in (x, *moved)]
    forward = layer(weight, bias)

    def run() -> Any:
        with torch.enable_grad():
            y = forward(x)
        found = torch.autograd.grad(y, wanted, grad)
        with torch.no_grad():
            for each, change in zip(moved, found[1:]):
                each.sub_(change, alpha=RATE)
        return y.detach(), *found

    return run


def joined(workload: Training, found: Any) -> np.ndarray:
    """The parts of an answer as the workload has them."""
    parts = [part.numpy().reshape(shape) for part, shape in zip(found, workload.parts, strict=True)]
    return parts[0] if len(parts) == 1 else np.concatenate([part.ravel() for part in parts])
