"""Methods get convolutions without the kernel taps that see only padding: see `problem.seen_taps`.

Done where methods are registered, so that plans, functions, gradients of inputs, streams, networks and the parts of what is lowered
share it. Gradients of weights are computed for the taps that see something.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

from kernels.methods.contract import Implementation
from kernels.primitives.prepared import Prepared, Run
from kernels.problem.conv import Conv, ConvWeight
from kernels.problem.operands import Array, Operands
from kernels.problem.seen_taps import Within, seen
from kernels.problem.window import by_x
from kernels.runtime.scratch import Scratch

OPERATIONS = "conv", "conv3d", "conv_weight", "conv_weight3d"
PREPARING = "prepare", "prepare_last", "prepare_unpacked", "prepare_adjoint", "prepare_added"
DESCRIBING = (
    "refuse", "error_bound", "fuses", "sub_problems", "estimate", "lost", "lowering_cycles", "lowering_packing", "packing",
    "packing_unpacked",
)  # fmt: skip


def _note(prepared: Prepared, problem: Conv, taps: tuple[tuple[int, int], ...]) -> str:
    kept = by_x(tuple(stop - start for start, stop in taps))
    return f"{kept} of {by_x(problem.kernel)} taps, others see only padding: {prepared.note}"


def _gradient_of(prepared: Prepared, problem: ConvWeight, taps: tuple[tuple[int, int], ...], threads: int) -> Prepared:
    """The gradient of all weights from that of these taps."""
    from kernels.methods.seen_weights import spreader  # compiles, which importing the library must not

    spread = spreader(problem, taps, threads)
    shape = (*problem.out_shape[:2], *(stop - start for start, stop in taps))
    scratch = Scratch(math.prod(shape) * problem.itemsize)

    def pack(operands: Operands) -> Run:
        add_up = prepared.pack(operands)

        def run(x: Array, out: Array) -> None:
            buffer = scratch.take()
            some = buffer.view(problem.dtype).reshape(shape)
            add_up(x, some)
            spread(some, out)
            scratch.give(buffer)

        return run

    return Prepared(pack, prepared.workspace_bytes + scratch.nbytes, _note(prepared, problem, taps))


def _weights_of(prepared: Prepared, problem: Conv, taps: tuple[tuple[int, int], ...], threads: int) -> Prepared:
    """The same for weights with all taps of the problem, of which these are taken."""
    from kernels.methods.seen_weights import copier  # compiles, which importing the library must not

    copy = copier(problem, taps, threads)

    def pack(operands: Operands) -> Run:
        assert operands.weight is not None
        return prepared.pack(operands._replace(weight=copy(operands.weight)))

    return dataclasses.replace(prepared, pack=pack, note=_note(prepared, problem, taps))


def without_unseen_taps(method: Implementation) -> Implementation:
    """The method, whose functions get what `seen` makes of a problem; the problem itself where the method refuses that, and
    for variants that are only named, which fix where sums begin."""

    def accepted(problem: Conv) -> tuple[Conv, tuple[tuple[int, int], ...]]:
        less, taps = seen(problem)
        return (problem, taps) if less is problem or method.refuse(less) else (less, taps)

    def describing(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def describe(problem: Conv, *args: Any, **options: Any) -> Any:
            return function(accepted(problem)[0], *args, **options)

        return describe

    def preparing(function: Callable[..., Prepared | None], reverse: bool) -> Callable[..., Prepared | None]:
        @functools.wraps(function)
        def prepare(problem: Conv, *args: Any, **options: Any) -> Prepared | None:
            less, taps = accepted(problem)
            fewer = less.kernel != problem.kernel
            if fewer and reverse:  # weights of the layer that this is the adjoint of
                taps = tuple((k - stop, k - start) for k, (start, stop) in zip(problem.kernel, taps))
                read = function(less, *args, within=Within.of(problem.kernel, taps), **options) if len(taps) == 2 else None
                if read:
                    return dataclasses.replace(read, note=_note(read, problem, taps))
            prepared = function(less, *args, **options)
            if prepared is None or not fewer:
                return prepared
            if isinstance(problem, ConvWeight):
                return _gradient_of(prepared, problem, taps, args[0])
            return _weights_of(prepared, problem, taps, args[0])

        return prepare

    def variants(problem: Conv, threads: int) -> dict[str, Implementation]:
        return {name: without_unseen_taps(variant) for name, variant in method.variants(accepted(problem)[0], threads).items()}

    changes: dict[str, Any] = {name: describing(function) for name in DESCRIBING if (function := getattr(method, name))}
    for name in PREPARING:
        if function := getattr(method, name):
            changes[name] = preparing(function, name == "prepare_adjoint")
    return dataclasses.replace(method, variants=variants, **changes)
