"""A row of outputs from the lines of its phases: number q of phase r's line becomes column (shift + q) * stride + r.

    phase 0   a0 a1 a2 …              stride vectors are loaded, one of each line, take turns in registers (`VectorBuilder.interleaved`),
    phase 1   b0 b1 b2 …     ─►       and are stored one behind the other:     a0 b0 a1 b1 a2 b2 …

Columns that no line has get one number instead. Strides beyond WIDEST scatter line after line.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from kernels.runtime.ir import VectorBuilder, i64
from kernels.runtime.jit import address, njit

WIDEST = 16  # vectors in registers
OFFSET, EACH, SHIFT, COUNT, FIELDS = range(5)  # int64s of a line: of the first channel, from channel to channel; shift; numbers


class _Line:
    """A line of this channel, as values of a micro-kernel: pointer, shift, count."""

    def __init__(self, w: VectorBuilder, y: ir.Value, lines: ir.Value, phase: ir.Value, channel: ir.Value) -> None:
        b = w.b
        entry = b.mul(phase, i64(FIELDS))
        offset, each, self.shift, self.count = (w.load_index(lines, b.add(entry, i64(field))) for field in range(FIELDS))
        self.start = w.pointer(y, b.add(offset, b.mul(each, channel)))

    def vector(self, w: VectorBuilder, j: ir.Value, otherwise: ir.Value) -> ir.Value:
        """Its numbers for j, j + 1, … instead of q."""
        q = w.b.sub(j, self.shift)
        return w.load_first(w.at(self.start, q), w.between(q, i64(0), self.count), otherwise)


def columns(w: VectorBuilder, j: ir.Value, stride: ir.Value, phase: ir.Value) -> ir.Value:
    """Where numbers j, j + 1, … of a phase are in a row."""
    own = w.b.add(w.splat_index(j), w.counting())
    return w.b.add(w.b.mul(own, w.splat_index(stride)), w.splat_index(phase))


@intrinsic(prefer_literal=True)
def _emit(typing_context: Any, few_: Any, lanes_: Any, itemsize_: Any, out: Any, width: Any, stride: Any, y: Any, lines: Any, channel: Any,
          missing: Any) -> Any:  # fmt: skip
    """See `interleave`."""
    literals = few_, lanes_, itemsize_
    few, lanes, itemsize = (literal.literal_value for literal in literals)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        out, width, stride, y, lines, channel, missing = values[3:]
        w = VectorBuilder(builder, lanes, itemsize)
        to, otherwise = w.pointer(out), w.splat(w.load_scalar(w.pointer(missing)))

        def blocks(number: ir.Value, step: ir.Value) -> ir.Value:
            """How many blocks of `lanes` steps so many columns take."""
            whole = builder.mul(step, i64(lanes))
            return builder.sdiv(builder.add(number, builder.sub(whole, i64(1))), whole)

        if few:
            found = [_Line(w, y, lines, i64(phase), channel) for phase in range(few)]
            with w.loop(blocks(width, i64(few))) as block:
                j = builder.mul(block, i64(lanes))
                first = builder.mul(j, i64(few))
                for v, vector in enumerate(w.interleaved([line.vector(w, j, otherwise) for line in found])):
                    column = builder.add(first, i64(v * lanes))
                    w.store_first(vector, w.at(to, column), w.between(column, i64(0), width))
            return context.get_dummy_value()
        with w.loop(stride) as phase:
            line = _Line(w, y, lines, phase, channel)
            with w.loop(blocks(builder.sub(width, phase), stride)) as block:
                j = builder.mul(block, i64(lanes))
                places = columns(w, j, stride, phase)
                inside = builder.icmp_signed("<", places, w.splat_index(width))
                w.scatter(line.vector(w, j, otherwise), w.addresses(out, places), inside)
        return context.get_dummy_value()

    return types.void(*literals, *(types.int64,) * 7), codegen


@njit
def _interleave(few, lanes, itemsize, out, width, stride, y, lines, channel, missing):
    _emit(few, lanes, itemsize, out, width, stride, y, lines, channel, missing)


def interleave(few: int, lanes: int, itemsize: int) -> int:
    """Address of compiled `interleave`; few: the stride where it is at most WIDEST, else 0.

    It takes, all int64: the three literals again; out, address of a row of `width` numbers; stride; y, an address; lines, address of the
    phases' [OFFSET, EACH, SHIFT, COUNT]; channel; missing, address of the number for columns that no line has.
    """
    return address(_interleave, (few, lanes, itemsize), (types.int64,) * 7)
