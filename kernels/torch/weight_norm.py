"""Weight norm at inference: the weight is computed once, and anew when what it is computed of changes.

Both of PyTorch's ways: `torch.nn.utils.parametrizations.weight_norm`, which computes on every look at `.weight`, and the older
`torch.nn.utils.weight_norm`, which does it before every call. Salimans and Kingma, arXiv 1602.07868.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrizations
from torch.nn.utils.weight_norm import WeightNorm

from kernels.torch.derived import derived

_Parametrized = getattr(parametrizations, "_WeightNorm", None)


def weight_of(module: nn.Module) -> Any:
    """`module.weight`, the same tensor as before where it is normed and nothing changed."""
    parametrized = module._modules.get("parametrizations")
    if parametrized is None or torch.compiler.is_compiling():
        return module.weight
    steps: Any = parametrized.weight if "weight" in parametrized else None  # type: ignore[operator]
    if steps is None or len(steps) != 1 or _Parametrized is None or type(steps[0]) is not _Parametrized:
        return module.weight
    return derived(module, "_weight_held", [steps.original0, steps.original1], lambda: module.weight)


class KeptWeightNorm(WeightNorm):
    """The older hook that computes nothing where nothing changed."""

    def __call__(self, module: nn.Module, inputs: Any) -> None:
        """Set the module's weight unless it is the right one already."""
        sources = [getattr(module, f"{self.name}_g"), getattr(module, f"{self.name}_v")]
        weight = derived(module, f"_{self.name}_held", sources, lambda: self.compute_weight(module))
        if getattr(module, self.name) is not weight:
            setattr(module, self.name, weight)


def keep_hooks(module: nn.Module) -> bool:
    """Give a module's older weight-norm hook to ours; whether it has one."""
    found = False
    for number, hook in list(module._forward_pre_hooks.items()):
        if type(hook) is WeightNorm:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # that the older way is old, which its user knows
                module._forward_pre_hooks[number] = KeptWeightNorm(hook.name, hook.dim)
            found = True
    return found
