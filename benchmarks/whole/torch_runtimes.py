"""Who runs a PyTorch module: torch.compile with our backend, PyTorch as it is, torch.compile with its default, Inductor."""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.contenders.torch_cpu import as_without_ours
from benchmarks.whole.runtimes import TURNS, Array, Part, Running

OURS, EAGER, COMPILED = "spectroconv", "pytorch", "torch.compile"


def made(factory: str) -> tuple[Any, tuple[Any, ...]]:
    """(module, its inputs) of `package.module:factory`, which gives a module, or a tuple of a module and its inputs. Raises ValueError for
    a name that is none and for what gives no module, ImportError for a package that is not there."""
    import torch

    where, colon, name = factory.partition(":")
    if not colon or not name:
        raise ValueError(f"--torch {factory}: must be package.module:factory, for instance benchmarks.whole.modules:unet")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # as `python -m` has it
    make = getattr(importlib.import_module(where), name, None)
    if not callable(make):
        raise ValueError(f"--torch {factory}: {where} has no function {name}")
    found = make()
    module, *inputs = found if isinstance(found, tuple) else (found,)
    if len(inputs) == 1 and isinstance(inputs[0], tuple | list):
        inputs = list(inputs[0])
    if not isinstance(module, torch.nn.Module):
        raise ValueError(f"--torch {factory}: it gave a {type(module).__name__}, must give a torch.nn.Module or (module, inputs)")
    return module.eval(), tuple(inputs)


def noise(shape: Sequence[int]) -> Any:
    """A made-up input, scaled as audio is."""
    import torch

    return torch.from_numpy(np.random.default_rng(0).standard_normal(tuple(shape), dtype=np.float32) * np.float32(0.1))


def makers(module: Any, inputs: Sequence[Any], threads: int) -> dict[str, Callable[[], Running]]:
    """The runtimes by name, each prepared when it is called."""
    import torch

    torch.set_num_threads(threads)
    torch._dynamo.reset()

    def running(call: Any, timeline: Callable[[Callable[[], Any]], list[Part]], **more: Any) -> Running:
        def once() -> Any:
            with torch.no_grad():
                return call(*inputs)

        return Running(lambda: _arrays(once()), lambda: timeline(once), once, **more)

    def ours() -> Running:
        import kernels.torch

        return running(torch.compile(module, backend=kernels.torch.spectroconv), lambda call: _steps(call, threads))

    def theirs(call: Any) -> Running:
        return running(call, profiled_parts, before=as_without_ours)

    return {OURS: ours, EAGER: lambda: theirs(module), COMPILED: lambda: theirs(torch.compile(module))}


def _arrays(found: Any) -> Mapping[str, Array]:
    """The tensors of a result, in whatever it holds them, by number."""
    from torch.utils._pytree import tree_leaves

    return {str(i): np.asarray(each.detach()) for i, each in enumerate(tree_leaves(found)) if hasattr(each, "detach")}


def _steps(call: Callable[[], Any], threads: int) -> list[Part]:
    """The steps of the regions that the newest graph was cut into."""
    from kernels.network.explanation import explain
    from kernels.torch.compiler import RECENT

    call()
    found: list[Part] = []
    for region in RECENT[-1].regions:
        program = region.program
        if program is None:
            found.append((f"PyTorch, {region.reason}", 0.0))
            continue
        given = {name: np.full(shape, 0.1, dtype) for name, shape, dtype in program.steps.signature}
        taken = np.median(program.steps.timeline(given, TURNS), axis=0)
        lines = explain(program.steps, threads).splitlines()[1:]
        found += [(" ".join(line.split()), float(seconds)) for line, seconds in zip(lines, taken)]
    return found


def profiled_parts(call: Callable[[], Any]) -> list[Part]:
    """PyTorch's own profile, by operator, of as many calls as take a second."""
    from torch.profiler import ProfilerActivity, profile

    started = time.perf_counter()
    call()
    turns = max(1, min(TURNS, int(1 / (time.perf_counter() - started))))
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        for _ in range(turns):
            call()
    return [(f"{each.key} x{each.count // turns}", each.self_cpu_time_total * 1e-6 / turns) for each in profiled.key_averages()]
