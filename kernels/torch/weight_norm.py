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

from kernels.torch.eligibility import undisturbed

_Parametrized = getattr(parametrizations, "_WeightNorm", None)


def _stamp(sources: list[torch.Tensor]) -> Any:
    """What changes with the values of tensors; None where nothing tells."""
    if torch.is_grad_enabled() and any(source.requires_grad for source in sources):
        return None
    if torch.compiler.is_compiling() or not undisturbed(*sources) or any(source.is_inference() for source in sources):
        return None
    return [(id(source), source._version, source.data_ptr()) for source in sources]


class _Held:
    """A computed weight and what it was computed of; copies of the module compute their own."""

    def __init__(self, stamp: Any = None, weight: Any = None) -> None:
        self.stamp, self.weight = stamp, weight

    def __deepcopy__(self, memo: Any) -> _Held:
        return _Held()

    def __reduce__(self) -> Any:
        return _Held, ()


def weight_of(module: nn.Module) -> Any:
    """`module.weight`, the same tensor as before where it is normed and nothing changed."""
    parametrized = module._modules.get("parametrizations")
    if parametrized is None or torch.compiler.is_compiling():
        return module.weight
    steps: Any = parametrized.weight if "weight" in parametrized else None  # type: ignore[operator]
    if steps is None or len(steps) != 1 or _Parametrized is None or type(steps[0]) is not _Parametrized:
        return module.weight
    stamp = _stamp([steps.original0, steps.original1])
    held = module.__dict__.get("_weight_held")
    if held is None or stamp is None or held.stamp != stamp:
        held = _Held(stamp, module.weight)
        if stamp is not None:
            module.__dict__["_weight_held"] = held
    return held.weight


class KeptWeightNorm(WeightNorm):
    """The older hook that computes nothing where nothing changed."""

    def __call__(self, module: nn.Module, inputs: Any) -> None:
        """Set the module's weight unless it is the right one already."""
        stamp = _stamp([getattr(module, f"{self.name}_g"), getattr(module, f"{self.name}_v")])
        held = module.__dict__.get("_weight_held")
        if held is None or stamp is None or held.stamp != stamp or getattr(module, self.name) is not held.weight:
            super().__call__(module, inputs)
            module.__dict__["_weight_held"] = _Held(stamp, getattr(module, self.name))


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
