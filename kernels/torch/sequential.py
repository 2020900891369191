"""torch.nn.Sequential, in which a batch norm that trains does the rectifier behind it too.

By themselves the two go through memory five times more: the rectifier reads and writes the batch, its gradient reads both and writes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import _has_any_global_hook

from kernels.torch.nn import BatchNorm1d, BatchNorm2d, BatchNorm3d

NORMS = BatchNorm1d, BatchNorm2d, BatchNorm3d
HOOKS = "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"


def _unseen(*modules: nn.Module) -> bool:
    """Whether no hook sees what goes into or comes out of these modules."""
    return not _has_any_global_hook() and not any(getattr(module, hooks) for module in modules for hooks in HOOKS)


def _rectifies(module: nn.Module, follower: nn.Module | None) -> bool:
    """Whether a module is a batch norm of ours that can do what follows it."""
    if type(follower) is not nn.ReLU or not isinstance(module, NORMS) or not module.training:
        return False
    return _unseen(module, follower)


class Sequential(nn.Sequential):
    """torch.nn.Sequential of modules some of which are ours."""

    def forward(self, input: Any) -> Any:
        """What the modules make of input, one after the other."""
        if not isinstance(input, torch.Tensor) or torch.compiler.is_compiling():
            return super().forward(input)
        modules = list(self)
        x, done = input, False
        for module, follower in zip(modules, [*modules[1:], None]):
            if done:
                done = False
                continue
            done = _rectifies(module, follower)
            x = module(x, rectify=True) if done else module(x)
        return x
