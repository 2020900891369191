"""The name under which torch.compile finds us, without what compiling needs: `kernels.torch.compiler` comes with the first graph.

Installed, the package names the backend in the entry-point group torch_dynamo_backends, and no import of ours is needed. From a source
tree nobody would find it there, so importing kernels.torch registers it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from typing import Any

NAME = "spectroconv"


def spectroconv(module: Any, example_inputs: Sequence[Any], **options: Any) -> Callable[..., Any]:
    """The backend of torch.compile: regions of convolutions, pools, products and what lies between are ours, the rest PyTorch's."""
    if options:
        raise TypeError(f"backend {NAME} takes no options, not {', '.join(options)}")
    from kernels.torch.compiler import compiled  # brings sympy and torch.fx, 0.4 s

    return compiled(module, example_inputs)


def explain() -> str:
    """What became of the graphs that torch.compile handed over lately, the newest last: regions, what is left to PyTorch, and why."""
    from kernels.torch.compiler import RECENT

    return "\n\n".join(map(str, RECENT))


def register() -> None:
    """Make the name known where no installed package does."""
    if entry_points(group="torch_dynamo_backends", name=NAME):
        return
    from torch._dynamo.backends.registry import list_backends, register_backend  # 1.5 s

    if NAME not in list_backends(None):  # type: ignore[arg-type]
        register_backend(spectroconv, NAME)
