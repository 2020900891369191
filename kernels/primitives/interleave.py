"""Rows of outputs from the lines of their phases: number q of phase r's line becomes column (shift + q) * stride + r.

    phase 0   a0 a1 a2 …              stride vectors are loaded, one of each line, take turns in registers (`VectorBuilder.interleaved`),
    phase 1   b0 b1 b2 …     ─►       and are stored one behind the other:     a0 b0 a1 b1 a2 b2 …

Columns that no line has get one number instead, rows without any line nothing else. Strides beyond WIDEST scatter line after line. Later
rows are prefetched to be written, so that stores need not wait for them.
"""

from __future__ import annotations

from typing import NamedTuple

from llvmlite import ir

from kernels.runtime.ir import I64, VectorBuilder, i64
from kernels.runtime.jit import njit
from kernels.runtime.micro_kernel import Fixed, address, emitter

WIDEST = 16  # vectors in registers
AHEAD = 4096  # bytes from what is stored to what is prefetched
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


class Interleave(NamedTuple):
    """What interleaving takes."""

    few: Fixed  # the stride where it is at most WIDEST, else 0
    lanes: Fixed  # numbers in a vector
    itemsize: Fixed  # bytes of a number
    out: int  # address of rows side by side
    rows: int
    width: int  # numbers of a row
    stride: int
    y: int  # an address
    lines: int  # address of [row][phase][OFFSET, EACH, SHIFT, COUNT] from there on
    channel: int
    missing: int  # address of the number for columns that no line has


def _blocks(b: ir.IRBuilder, number: ir.Value, step: ir.Value, lanes: int) -> ir.Value:
    """How many blocks of `lanes` steps so many columns take."""
    whole = b.mul(step, i64(lanes))
    return b.sdiv(b.add(number, b.sub(whole, i64(1))), whole)


@emitter
def _emit(w: VectorBuilder, p: Interleave) -> None:
    """See `interleave`."""
    b = w.b
    otherwise = w.splat(w.load_scalar(w.pointer(p.missing)))
    with w.loop(p.rows) as row:
        to = w.pointer(p.out, b.mul(row, p.width))
        lines = b.add(p.lines, b.mul(row, b.mul(p.stride, i64(FIELDS * 8))))
        if p.few:
            _row(w, p, to, lines, otherwise)
        else:
            _scattered(w, p, to, lines, otherwise)


def _row(w: VectorBuilder, p: Interleave, to: ir.Value, lines: ir.Value, otherwise: ir.Value) -> None:
    """A row whose phases take turns in registers."""
    b = w.b
    found = [_Line(w, p.y, lines, i64(phase), p.channel) for phase in range(p.few)]
    numbers = found[0].count
    for line in found[1:]:
        numbers = b.or_(numbers, line.count)

    def write(first: ir.Value, vectors: list[ir.Value]) -> None:
        for v, vector in enumerate(vectors):
            column = b.add(first, i64(v * p.lanes))
            w.prefetch(w.at(to, b.add(column, i64(AHEAD // p.itemsize))), write=True)
            w.store_first(vector, w.at(to, column), w.between(column, i64(0), p.width))

    with b.if_else(b.icmp_signed(">", numbers, i64(0))) as (some, none):
        with some, w.loop(_blocks(b, p.width, i64(p.few), p.lanes)) as block:
            j = b.mul(block, i64(p.lanes))
            write(b.mul(j, i64(p.few)), w.interleaved([line.vector(w, j, otherwise) for line in found]))
        with none, w.loop(_blocks(b, p.width, i64(1), p.lanes)) as block:
            write(b.mul(block, i64(p.lanes)), [otherwise])


def _scattered(w: VectorBuilder, p: Interleave, to: ir.Value, lines: ir.Value, otherwise: ir.Value) -> None:
    """A row that is written phase by phase."""
    b = w.b
    with w.loop(p.stride) as phase:
        line = _Line(w, p.y, lines, phase, p.channel)
        with w.loop(_blocks(b, b.sub(p.width, phase), p.stride, p.lanes)) as block:
            j = b.mul(block, i64(p.lanes))
            positions = columns(w, j, p.stride, phase)
            inside = b.icmp_signed("<", positions, w.splat_index(p.width))
            w.scatter(line.vector(w, j, otherwise), w.addresses(b.ptrtoint(to, I64), positions), inside)


@njit
def _interleave(p):
    _emit(p, ())


def interleave(few: int, lanes: int, itemsize: int) -> int:
    """Address of compiled interleaving, which takes an Interleave."""
    return address(_interleave, Interleave, few=few, lanes=lanes, itemsize=itemsize)


def few_of(stride: int) -> int:
    """`few` of an Interleave, a Deinterleave and others that pick numbers apart by shuffles."""
    return stride if stride <= WIDEST else 0
