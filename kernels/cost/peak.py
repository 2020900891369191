"""The multiply-add peak: SUMS independent sums in registers, `k` times each, nothing read and one number written."""

from __future__ import annotations

import ctypes
from typing import Any

from numba.core import types
from numba.extending import intrinsic

from kernels.runtime.ir import VectorBuilder
from kernels.runtime.jit import address, njit

SUMS = 12  # at 4 cycles a multiply-add and 2 a cycle, 8 keep the units busy; 12 and two factors still fit 16 registers


@intrinsic(prefer_literal=True)
def peak_of(typing_context: Any, lanes_: Any, itemsize_: Any, k: Any, y: Any) -> Any:
    """See `peak` for the arguments."""
    lanes, itemsize = lanes_.literal_value, itemsize_.literal_value

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        _, _, k, y = values
        w = VectorBuilder(builder, lanes, itemsize)
        shrink, grow = w.constant(0.999), w.constant(0.001)  # sums tend to 1: no denormals, no infinities
        c = [w.variable(w.constant(0.1 * i)) for i in range(SUMS)]
        with w.loop(k):
            for each in c:
                w.set(each, w.fma(w.get(each), shrink, grow))
        total = w.get(c[0])
        for each in c[1:]:
            total = w.add(total, w.get(each))
        builder.store(w.across(total, w.add), w.pointer(y))
        return context.get_dummy_value()

    return types.void(lanes_, itemsize_, types.int64, types.int64), codegen


@njit
def _peak(lanes, itemsize, k, y):
    peak_of(lanes, itemsize, k, y)


def peak(lanes: int, itemsize: int) -> Any:
    """A function (k, address of a number): SUMS * k multiply-adds of `lanes` lanes; holds no lock."""
    compiled = ctypes.CFUNCTYPE(None, *(ctypes.c_int64,) * 4)(address(_peak, (lanes, itemsize), (types.int64,) * 2))
    return lambda k, y: compiled(lanes, itemsize, k, y)
