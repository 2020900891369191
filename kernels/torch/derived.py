"""What is computed of a module's tensors once, and anew when one of them is another or has changed: folded batch norms, normed weights."""

from __future__ import annotations

import operator
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch

from kernels.torch.eligibility import differentiated, undisturbed

Tensor = torch.Tensor

_VERSION, _ADDRESS = operator.attrgetter("_version"), Tensor.data_ptr


def stamp(tensors: Sequence[Tensor]) -> list[int]:
    """What changes with the values or the memory of tensors. Raises RuntimeError for inference tensors, which count no versions."""
    return [*map(_VERSION, tensors), *map(_ADDRESS, tensors)]


class Derived:
    """What was computed of tensors as they were; it does not keep them alive. Copies of the module that has it compute their own."""

    def __init__(self, sources: Sequence[Tensor] = ()) -> None:
        self._sources = [weakref.ref(source) for source in sources]  # another tensor may come to lie where one of them lay
        self._stamp = stamp(sources)
        self.value: Any = None

    def holds(self, sources: Sequence[Tensor]) -> bool:
        """Whether it was computed of these tensors as they are now."""
        same = len(sources) == len(self._sources) and all(held() is source for held, source in zip(self._sources, sources))
        return same and stamp(sources) == self._stamp

    def __deepcopy__(self, memo: Any) -> Derived:
        return Derived()

    def __reduce__(self) -> Any:
        return Derived, ()


def derived(module: torch.nn.Module, name: str, sources: Sequence[Tensor], compute: Callable[[], Any]) -> Any:
    """What `compute()` makes of these tensors, kept in the module by name; computed for the one call where somebody wants gradients, traces
    or transforms, or where tensors do not tell when they change."""
    if torch.compiler.is_compiling() or differentiated(*sources) or not undisturbed(*sources):
        return compute()
    if any(source.is_inference() for source in sources):
        return compute()
    held = module.__dict__.get(name)
    if held is None or not held.holds(sources):
        held = Derived(sources)
        with torch.inference_mode(False), torch.no_grad():  # so that calls outside of inference mode may take it too
            held.value = compute()
        module.__dict__[name] = held
    return held.value
