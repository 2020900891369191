"""A module whose convolutions, pools and batch norms are ours, and what it tells of itself."""

from __future__ import annotations

import copy
import dataclasses
import functools
from typing import Any, TypeVar

import torch
from torch import nn

from kernels.torch import nn as ours
from kernels.torch.calls import calls_of
from kernels.torch.sequential import Sequential
from kernels.torch.weight_norm import keep_hooks

_KINDS = (
    "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d", "MaxPool1d", "MaxPool2d", "MaxPool3d",
    "AvgPool1d", "AvgPool2d", "AvgPool3d", "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d", "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d", "BatchNorm1d", "BatchNorm2d", "BatchNorm3d",
)  # fmt: skip
OURS: dict[type, type] = {getattr(nn, name): getattr(ours, name) for name in _KINDS}

CONTAINERS: dict[type, type] = {nn.Sequential: Sequential}  # which compute nothing themselves

Module = TypeVar("Module", bound=nn.Module)


@dataclasses.dataclass(frozen=True)
class Line:
    """What one module of an accelerated one does with one kind of input: method is ours, reason says why PyTorch does it."""

    module: str
    kind: str
    x: str
    method: str | None
    reason: str | None

    def __str__(self) -> str:
        what = self.method or f"PyTorch: {self.reason}"
        return "  ".join(filter(None, (self.module or "(itself)", self.kind, self.x, what)))


class Report(tuple[Line, ...]):
    """Lines, one for each module and kind of input; as text, one below the other."""

    def __str__(self) -> str:
        return "\n".join(map(str, self))


def report(module: nn.Module) -> Report:
    """What ours computed in a module so far and what PyTorch did, with the reason; modules that were not called yet say so."""
    lines = []
    for name, each in module.named_modules():
        base: type | None = _base(each)
        if base is None:
            continue
        kind = base.__name__
        if OURS[base] not in type(each).__mro__:
            lines.append(Line(name, kind, "", None, _left(each, base)))
            continue
        kinds = calls_of(each).kinds
        for (shape, dtype), (method, reason) in kinds.items():
            lines.append(Line(name, kind, f"{shape} {dtype}", method, reason))
        if not kinds:
            lines.append(Line(name, kind, "", "ours, not called yet", None))
    return Report(lines)


def _base(module: Any, kinds: dict[type, type] = OURS) -> type | None:
    """PyTorch's class that ours takes the place of."""
    return next((kind for kind in kinds if isinstance(module, kind)), None)


def _left(module: nn.Module, base: type) -> str:
    """Why a module was left to PyTorch."""
    if isinstance(module, nn.modules.lazy.LazyModuleMixin):
        return "it does not know its shape yet; call it once, then accelerate"
    return f"{type(module).__name__} computes its own way; only torch.nn.{base.__name__}'s forward is replaced"


def accelerate(module: Module) -> Module:
    """A copy of a module whose convolutions, pools and batch norms, weight-normed ones too, are computed by ours.

    Parameters, buffers, hooks and the keys of state_dict stay as they are, and so does what the module computes, within rounding. Weights
    that nobody trains are packed at the first call and again after they changed. `.report()` of the copy says what computes each of its
    modules and why; `kernels.torch.report(module)` is the same.
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"accelerate: module is a {type(module).__name__}, must be a torch.nn.Module")
    memo: dict[int, Any] = {id(t): t.detach().clone() for each in module.modules() for t in each.__dict__.values() if _computed(t)}
    fast = copy.deepcopy(module, memo)
    replaced = OURS | CONTAINERS
    for each in fast.modules():
        base = _base(each, replaced)
        if base is not None and not isinstance(each, replaced[base]) and _ordinary(each, base):
            each.__class__ = replaced[base] if type(each) is base else _like(_class(each), replaced[base])
            keep_hooks(each)
    fast.__dict__["report"] = functools.partial(report, fast)
    return fast


def _class(module: nn.Module) -> Any:
    return type(module)


def _computed(value: Any) -> bool:
    """A tensor that another was computed from, which cannot be copied as it is: what the older weight norm leaves behind."""
    return isinstance(value, torch.Tensor) and value.grad_fn is not None


def _ordinary(module: nn.Module, base: type) -> bool:
    """Whether a module computes what its base class does."""
    if isinstance(module, nn.modules.lazy.LazyModuleMixin):
        return False
    own = type(module)
    computes = "forward", "_conv_forward", "_output_padding", "__call__"
    return all(getattr(own, name, None) is getattr(base, name, None) for name in computes)


@functools.cache
def _like(own: Any, fast: Any) -> Any:
    """A subclass of a user's subclass that computes as ours."""

    def reduce(self: Any, protocol: int) -> Any:
        return _revive, (own, fast), self.__getstate__()

    return type(own.__name__, (fast, own), {"__module__": own.__module__, "__doc__": own.__doc__, "__reduce_ex__": reduce})


def _revive(own: type, fast: type) -> Any:
    """An empty module of such a class, for pickle and deepcopy to fill."""
    like = _like(own, fast)
    return like.__new__(like)
