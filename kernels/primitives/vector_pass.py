"""One operation on whole lines: y[i] = f(a[i], b[i], c[i]), one compiled function an operation and a precision.

Programs of such passes (`vector_program`) work on lines that stay in the first-level cache, so that a chain of operations reads and writes
memory once, whatever it is made of, and nothing is compiled for a new chain.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple

from llvmlite import ir

from kernels.primitives.vector_math import ARITY, EMITTERS
from kernels.runtime.ir import VectorBuilder, i64
from kernels.runtime.jit import njit
from kernels.runtime.micro_kernel import Fixed, address, emitter

NAMES = list(EMITTERS)


def bits(value: float) -> int:
    """A number as passes take it: the bits of a float64."""
    return int(struct.unpack("q", struct.pack("d", value))[0])


class VectorPass(NamedTuple):
    """What a pass over a line takes."""

    form: Fixed  # place of the operation in NAMES
    lanes: Fixed  # of a vector
    itemsize: Fixed
    y: int  # address of the result
    a: int  # addresses of lines that may be one and the same; those that the operation does not read may be anything
    b: int
    c: int
    numbers: int  # of a line
    p: int  # bits of the operation's two numbers
    q: int


def each_vector(
    w: VectorBuilder, sources: Sequence[ir.Value], y: ir.Value, numbers: ir.Value,
    made: Callable[[list[ir.Value], ir.Value | None], ir.Value],
) -> None:  # fmt: skip
    """y[i] = made([source[i] of each], mask) vector by vector; the mask is that of the last vector where it is incomplete, else None."""
    builder, lanes = w.b, w.lanes
    whole = builder.sdiv(numbers, i64(lanes))
    with w.loop(whole) as block:
        at = builder.mul(block, i64(lanes))
        w.store(made([w.load(w.at(source, at)) for source in sources], None), w.at(y, at))
    done = builder.mul(whole, i64(lanes))
    rest = builder.sub(numbers, done)
    with w.when(builder.icmp_signed(">", rest, i64(0))):
        mask = w.first(rest)
        w.store_first(made([w.load_first(w.at(source, done), mask) for source in sources], mask), w.at(y, done), mask)


@emitter
def _emit(w: VectorBuilder, p: VectorPass) -> None:
    builder = w.b
    operation, arity = EMITTERS[NAMES[p.form]], ARITY[NAMES[p.form]]

    def number(raw: ir.Value) -> ir.Value:
        double = builder.bitcast(raw, ir.DoubleType())
        return w.splat(double if p.itemsize == 8 else builder.fptrunc(double, w.scalar))

    first, second = number(p.p), number(p.q)

    def emitted(loaded: list[ir.Value], mask: ir.Value | None) -> ir.Value:
        a, b, c = loaded + [w.zero()] * (3 - arity)
        return operation(w, a, b, c, first, second)

    each_vector(w, [w.pointer(source) for source in (p.a, p.b, p.c)[:arity]], w.pointer(p.y), p.numbers, emitted)


@njit
def _line(p):
    _emit(p, ())


def line(name: str, lanes: int, itemsize: int) -> tuple[int, int]:
    """(address of the compiled pass, which takes a VectorPass, its form) for an operation of `vector_math.EMITTERS`."""
    form = NAMES.index(name)
    return address(_line, VectorPass, form=form, lanes=lanes, itemsize=itemsize), form
