"""The multiply-add peak: SUMS independent sums in registers, `k` times each, nothing read and one number written."""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

from kernels.runtime.ir import VectorBuilder
from kernels.runtime.jit import njit
from kernels.runtime.micro_kernel import Fixed, address, emitter

SUMS = 12  # at 4 cycles a multiply-add and 2 a cycle, 8 keep the units busy; 12 and two factors still fit 16 registers


class Peak(NamedTuple):
    """What counting the peak takes."""

    lanes: Fixed
    itemsize: Fixed
    k: int  # rounds of SUMS multiply-adds
    y: int  # address of a number


@emitter
def _emit(w: VectorBuilder, p: Peak) -> None:
    """See `peak` for the arguments."""
    b = w.b
    shrink, grow = w.constant(0.999), w.constant(0.001)  # sums tend to 1: no denormals, no infinities
    c = [w.variable(w.constant(0.1 * i)) for i in range(SUMS)]
    with w.loop(p.k):
        for each in c:
            w.set(each, w.fma(w.get(each), shrink, grow))
    total = w.get(c[0])
    for each in c[1:]:
        total = w.add(total, w.get(each))
    b.store(w.across(total, w.add), w.pointer(p.y))


@njit
def _peak(p):
    _emit(p, ())


def peak(lanes: int, itemsize: int) -> Any:
    """A function (k, address of a number): SUMS * k multiply-adds of `lanes` lanes; holds no lock."""
    compiled = ctypes.CFUNCTYPE(None, *(ctypes.c_int64,) * 4)(address(_peak, Peak, lanes=lanes, itemsize=itemsize))
    return lambda k, y: compiled(lanes, itemsize, k, y)
