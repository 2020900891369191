"""torch.nn.Sequential, in which a batch norm that trains does the rectifier behind it too.

By themselves the two go through memory five times more: the rectifier reads and writes the batch, its gradient reads both and writes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as modules_of_pytorch

from kernels.torch.nn import BatchNorm1d, BatchNorm2d, BatchNorm3d

NORMS = BatchNorm1d, BatchNorm2d, BatchNorm3d
# private names of PyTorch, without which every module is called by itself
HOOKS = "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"
_hooked_globally: Any = getattr(modules_of_pytorch, "_has_any_global_hook", lambda: True)
REPLACED = "forward", "_call_impl", "_compiled_call_impl"  # what a module may have of its own in its class's place


def _plain(module: nn.Module) -> bool:
    """Whether a call of a module is its class's forward, which no hook sees."""
    if type(module).__call__ is not nn.Module.__call__ or any(module.__dict__.get(name) for name in REPLACED):
        return False
    return not any(getattr(module, hooks, True) for hooks in HOOKS)


def _rectifies(module: nn.Module, follower: nn.Module | None) -> bool:
    """Whether a module is a batch norm of ours that can do what follows it."""
    if type(follower) is not nn.ReLU or not isinstance(module, NORMS) or not module.training:
        return False
    if type(module).forward is not BatchNorm2d.forward:
        return False  # a subclass that computes its own way; ours have one forward
    return not _hooked_globally() and _plain(module) and _plain(follower)


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
            x = module._rectified(x) if done else module(x)
        return x
