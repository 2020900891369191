"""PyTorch compiled: torch.compile with Inductor and freezing, which folds weights into the code and packs them for oneDNN."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

from benchmarks.contenders.base import Prepared
from benchmarks.contenders.torch_cpu import Torch, as_without_ours
from benchmarks.inputs.tensors import Tensors
from benchmarks.workloads.layer import Workload

COMPILERS = ("g++", "clang++", "c++", "cl")


class TorchCompiled(Torch):
    """The calls of `torch`, traced into one graph with constant weights and compiled for this shape."""

    name = "torch_compiled"
    trains = ()  # gradients are PyTorch's own operators either way
    inside_timer = (
        "One call of the compiled function, guards and the output's allocation included. Weights frozen into it, their packing and all "
        "compiling (C++) before; memory formats as Inductor chooses them."
    )

    def available(self) -> str | None:
        if missing := super().available():
            return missing
        if any(map(shutil.which, COMPILERS)):
            return None
        return f"torch.compile needs a C++ compiler on PATH ({', '.join(COMPILERS)})"

    def prepare(self, workload: Workload, given: Tensors, threads: int) -> Prepared:
        import torch
        import torch._dynamo

        torch.set_num_threads(threads)
        as_without_ours()
        call = self.call(workload, given)
        x = torch.tensor(given.x)
        torch._dynamo.reset()  # else the eighth shape of a process finds the limit of compilations reached and runs uncompiled
        with torch.no_grad():
            compiled = torch.compile(traced(call, x), dynamic=False, fullgraph=True, options={"freezing": True})
            compiled(x)

        def run() -> Any:
            with torch.no_grad():
                return compiled(x)

        return Prepared(run=run, answer=lambda y: y.numpy().reshape(workload.out_shape))


def traced(call: Callable[[Any], Any], x: Any) -> Any:
    """The calls as a module of one graph; its constants are buffers, as freezing wants them."""
    import torch
    from torch.fx.experimental.proxy_tensor import make_fx

    graph = make_fx(call)(x)
    for name in [name for name, value in vars(graph).items() if isinstance(value, torch.Tensor)]:
        value = getattr(graph, name)
        delattr(graph, name)
        graph.register_buffer(name, value)
    return graph.eval()
