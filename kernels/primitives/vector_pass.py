"""One operation on whole lines: y[i] = f(a[i], b[i], c[i]), one compiled function an operation and a precision.

Programs of such passes (`vector_program`) work on lines that stay in the first-level cache, so that a chain of operations reads and writes
memory once, whatever it is made of, and nothing is compiled for a new chain.
"""

from __future__ import annotations

import struct
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from kernels.primitives.vector_math import ARITY, EMITTERS
from kernels.runtime.ir import VectorBuilder, i64
from kernels.runtime.jit import address, njit

NAMES = list(EMITTERS)


def bits(value: float) -> int:
    """A number as passes take it: the bits of a float64."""
    return int(struct.unpack("q", struct.pack("d", value))[0])


@intrinsic(prefer_literal=True)
def _line(typing_context: Any, form_: Any, lanes_: Any, itemsize_: Any, y: Any, a: Any, b: Any, c: Any, count: Any, p: Any, q: Any) -> Any:
    """See `line` for the arguments."""
    literals = form_, lanes_, itemsize_
    form, lanes, itemsize = (literal.literal_value for literal in literals)
    emit, arity = EMITTERS[NAMES[form]], ARITY[NAMES[form]]

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        y, *sources, count, p, q = values[3:]
        w = VectorBuilder(builder, lanes, itemsize)

        def number(raw: ir.Value) -> ir.Value:
            double = builder.bitcast(raw, ir.DoubleType())
            return w.splat(double if itemsize == 8 else builder.fptrunc(double, w.scalar))

        p, q = number(p), number(q)
        def emitted(w: VectorBuilder, loaded: list[ir.Value]) -> ir.Value:
            a, b, c = loaded + [w.zero()] * (3 - arity)
            return emit(w, a, b, c, p, q)

        to, places = w.pointer(y), [w.pointer(source) for source in sources[:arity]]
        whole = builder.sdiv(count, i64(lanes))
        with w.loop(whole) as block:
            at = builder.mul(block, i64(lanes))
            loaded = [w.load(w.at(place, at)) for place in places]
            w.store(emitted(w, loaded), w.at(to, at))
        done = builder.mul(whole, i64(lanes))
        rest = builder.sub(count, done)
        with w.when(builder.icmp_signed(">", rest, i64(0))):
            mask = w.first(rest)
            loaded = [w.load_first(w.at(place, done), mask) for place in places]
            w.store_first(emitted(w, loaded), w.at(to, done), mask)
        return context.get_dummy_value()

    return types.void(*literals, *(types.int64,) * 7), codegen


@njit
def _lines(form, lanes, itemsize, y, a, b, c, count, p, q):
    _line(form, lanes, itemsize, y, a, b, c, count, p, q)


def line(name: str, lanes: int, itemsize: int) -> tuple[int, int]:
    """(address of the compiled pass, its form) for an operation of `vector_math.EMITTERS`.

    The function takes, all int64: form, lanes and itemsize again; y, a, b, c, addresses of lines that may be one and the same, those
    that it does not read anything; count, numbers in a line; p, q, bits of its two numbers.
    """
    form = NAMES.index(name)
    return address(_lines, (form, lanes, itemsize), (types.int64,) * 7), form
