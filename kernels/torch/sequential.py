"""torch.nn.Sequential, in which a batch norm or a convolution that trains does the rectifier behind it too.

By themselves the two go through memory five times more: the rectifier reads and writes the batch, its gradient reads both and writes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as modules_of_pytorch

from kernels.torch.nn import BatchNorm1d, BatchNorm2d, BatchNorm3d, Conv1d, Conv2d, Conv3d

NORMS = BatchNorm1d, BatchNorm2d, BatchNorm3d
CONVOLUTIONS = Conv1d, Conv2d, Conv3d
OWN = "forward", "_conv_forward"  # which all of either kind have from one class; a user's subclass may have others
# private names of PyTorch, without which every module is called by itself
HOOKS = "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"
_hooked_globally: Any = getattr(modules_of_pytorch, "_has_any_global_hook", lambda: True)
# as PyTorch has them, before anybody puts others there
CALLS = nn.Module.__call__, getattr(nn.Module, "_call_impl", None), nn.ReLU.forward
REPLACED = "forward", "_conv_forward", "_call_impl", "_compiled_call_impl"  # what a module may have of its own in its class's place


def _plain(module: nn.Module) -> bool:
    """Whether a call of a module is its class's forward, which no hook sees."""
    kind = type(module)
    if (kind.__call__, getattr(kind, "_call_impl", None), nn.ReLU.forward) != CALLS or any(map(module.__dict__.get, REPLACED)):
        return False
    return not any(getattr(module, hooks, True) for hooks in HOOKS)


def _computes(module: nn.Module, kinds: tuple[type, ...]) -> bool:
    """Whether a module is one of these of ours, and computes as they do."""
    own = type(module)
    return isinstance(module, kinds) and all(getattr(own, name, None) is getattr(kinds[0], name, None) for name in OWN)


def _together(module: nn.Module, follower: nn.Module | None) -> Callable[[torch.Tensor], torch.Tensor] | None:
    """What computes a batch norm or a convolution of ours and the rectifier behind it; None where each is called by itself."""
    if type(follower) is not nn.ReLU:
        return None
    norm = _computes(module, NORMS) and module.training
    if not norm and not (_computes(module, CONVOLUTIONS) and torch.is_grad_enabled()):
        return None
    together: Any = module._rectified
    return together if not _hooked_globally() and _plain(module) and _plain(follower) else None


class Sequential(nn.Sequential):
    """torch.nn.Sequential of modules some of which are ours."""

    def forward(self, input: Any) -> Any:
        """What the modules make of input, one after the other."""
        if not isinstance(input, torch.Tensor) or torch.compiler.is_compiling() or torch.jit.is_tracing():
            return super().forward(input)
        modules = list(self)
        x, done = input, False
        for module, follower in zip(modules, [*modules[1:], None]):
            if done:
                done = False
                continue
            together = _together(module, follower)
            done = together is not None
            x = together(x) if together else module(x)
        return x
