"""What a module remembers of its calls: which of our methods computed them, or why PyTorch did."""

from __future__ import annotations

from typing import Any

import torch

from kernels.torch.compute import Note

MOST = 16  # kinds of calls that a module remembers, the first ones


class Calls:
    """The kinds of calls a module had, by shape and dtype of the input. A copy of the module starts with none."""

    def __init__(self) -> None:
        self.kinds: dict[tuple[tuple[int, ...], str], tuple[str | None, str | None]] = {}

    def add(self, x: torch.Tensor, note: Note) -> None:
        """One more call."""
        kind = tuple(x.shape), str(x.dtype).removeprefix("torch.")
        if kind in self.kinds or len(self.kinds) < MOST:
            self.kinds[kind] = note.method, note.reason

    def __deepcopy__(self, memo: Any) -> Calls:
        return Calls()

    def __reduce__(self) -> Any:
        return Calls, ()


def noted(module: torch.nn.Module) -> Note | None:
    """A note for one call of a module; None while torch.compile or torch.export trace it."""
    return None if torch.compiler.is_compiling() else Note()


def keep(module: torch.nn.Module, x: torch.Tensor, note: Note | None) -> None:
    """Remember what a note says of a call."""
    if note is not None and (note.method or note.reason):
        calls = module.__dict__.get("_calls")
        if calls is None:
            calls = module.__dict__["_calls"] = Calls()
        calls.add(x, note)


def calls_of(module: torch.nn.Module) -> Calls:
    """What a module remembers of its calls."""
    return module.__dict__.get("_calls") or Calls()
