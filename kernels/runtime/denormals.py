"""Numbers below the normal range, which x86 takes 150 cycles each for: zero while the library computes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from llvmlite import ir
from numba.core import cgutils

from kernels.runtime.ir import I32

# MXCSR bits: FTZ (15) and DAZ (6); results and inputs below the normal range become zero instead of taking a 150-cycle assist
_FLUSH = 0x8040


def _x86(builder: Any) -> bool:
    return "x86" in builder.module.triple or "amd64" in builder.module.triple


@contextlib.contextmanager
def without_denormals(builder: Any, keep: ir.Value) -> Iterator[None]:
    """What is emitted inside runs with this thread's denormals flushed to zero, unless the bit `keep` is set; its state is as before after.
    Nothing where the CPU is not x86."""
    if not _x86(builder):
        yield
        return
    before, inside = (cgutils.alloca_once(builder, I32) for _ in range(2))
    kind = ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer()])

    def state(instruction: str, slot: ir.Value) -> None:
        function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.sse.{instruction}")
        builder.call(function, [builder.bitcast(slot, ir.IntType(8).as_pointer())])

    state("stmxcsr", before)
    found = builder.load(before)
    builder.store(builder.select(keep, found, builder.or_(found, ir.Constant(I32, _FLUSH))), inside)
    state("ldmxcsr", inside)
    yield
    state("ldmxcsr", before)
