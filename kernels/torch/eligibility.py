"""Which tensors our operators compute, and whether anybody wants to see a call before it is computed."""

from __future__ import annotations

import threading
from typing import Any

import torch
from torch.autograd import forward_ad

DTYPES = (torch.float32, torch.float64)


def refusal(x: torch.Tensor, *others: torch.Tensor | None) -> str | None:
    """Why these tensors go to PyTorch's own operator; None where ours computes them."""
    if not isinstance(x, torch.Tensor):
        return f"x is a {type(x).__name__}, not a tensor"
    if x.layout is not torch.strided or not x.is_cpu:
        return f"x is a {x.layout} tensor on {x.device}; ours compute dense tensors on the CPU"
    if x.dtype not in DTYPES:
        return f"x is {x.dtype}; ours compute float32 and float64"
    for name, other in zip(("weight", "bias"), others):
        if other is None:
            continue
        if not isinstance(other, torch.Tensor):
            return f"{name} is a {type(other).__name__}, not a tensor"
        if other.layout is not torch.strided or other.device != x.device or other.dtype != x.dtype:
            return f"{name} is a {other.layout} {other.dtype} tensor on {other.device}; it must be as x is, {x.dtype} on {x.device}"
    return None


def autocast() -> str | None:
    """Why a call that `torch.autocast` would compute in another dtype goes to PyTorch's own operator."""
    return "autocast is on, it asks for another dtype than the tensors have" if torch.is_autocast_enabled("cpu") else None


def forward_mode() -> str | None:
    """Why a call that forward-mode derivatives are carried through goes to PyTorch's own operator."""
    carried = forward_ad._current_level >= 0 and not torch.compiler.is_compiling()
    return "forward-mode derivatives are asked for, which ours do not carry" if carried else None


def _of_new_thread() -> tuple[set[tuple[int, int]], set[int]]:
    """(states of the dispatcher, keys of plain tensors) in a thread that PyTorch has not been told anything; none where it does not say."""
    states: set[tuple[int, int]] = set()
    keys: set[int] = set()

    def look() -> None:
        states.add((_include().raw_repr(), _exclude().raw_repr()))
        keys.add(_keys(torch.empty(1)).raw_repr())

    def both() -> None:
        look()
        with torch.inference_mode():
            look()

    thread = threading.Thread(target=both)
    thread.start()
    thread.join()
    return states, keys


# private names, without which every call goes through the dispatcher
_include: Any = getattr(torch._C, "_dispatch_tls_local_include_set", None)
_exclude: Any = getattr(torch._C, "_dispatch_tls_local_exclude_set", None)
_keys: Any = getattr(torch._C, "_dispatch_keys", None)
_modes: Any = getattr(torch._C, "_len_torch_function_stack", None)
_STATES, _PLAIN = _of_new_thread() if None not in (_include, _exclude, _keys, _modes) else (set(), set())


def undisturbed(*tensors: torch.Tensor | None) -> bool:
    """Whether a call on these may skip PyTorch's dispatcher, which takes 5 to 10 us: nobody traces, transforms or fakes, every tensor is
    a plain one, and there are no forward-mode derivatives."""
    if not _STATES or (_include().raw_repr(), _exclude().raw_repr()) not in _STATES or _modes() or forward_ad._current_level >= 0:
        return False
    return all(tensor is None or _keys(tensor).raw_repr() in _PLAIN for tensor in tensors)


def differentiated(*tensors: torch.Tensor | None) -> bool:
    """Whether somebody may ask for gradients of a call on these."""
    return torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors)
