"""Products of small matrices of pairs of bfloat16, as LLVM IR: eight registers of 16 rows of 64 bytes each, by AMX, or by what stands in.

    multiply(c, a, b)     c[i][l] += a[i][k].lower * b[k][l].lower + a[i][k].upper * b[k][l].upper      for every row i, lane l, k < depth

Registers go by numbers known when code is emitted; c are float32s, a and b pairs. Rows lie any number of bytes apart in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from llvmlite import ir
from numba.core import cgutils

from kernels.runtime.ir import VectorBuilder, i64
from kernels.runtime.ir_pairs import multiply_pairs_apart

I8, I16 = ir.IntType(8), ir.IntType(16)
BYTES = I8.as_pointer()
ROWS, ROW_BYTES = 16, 64  # of a register


class Shape(NamedTuple):
    """What a register holds."""

    rows: ir.Value
    row_bytes: ir.Value


class Amx:
    """Intel's Advanced Matrix Extensions (Software Developer's Manual, volume 1, chapter 18), on vectors of 16 lanes. A thread's registers
    are its own; whoever configures them releases them."""

    def __init__(self, w: VectorBuilder, shapes: list[Shape]) -> None:
        """shapes: of registers 0, 1, …"""
        self._b, self._shapes = w.b, shapes

    def _call(self, name: str, *args: ir.Value) -> None:
        kind = ir.FunctionType(ir.VoidType(), [a.type for a in args])
        self._b.call(cgutils.get_or_insert_function(self._b.module, kind, f"llvm.x86.{name}"), args)

    def configure(self) -> None:
        """Registers have their shapes from now on."""
        b = self._b
        record = ir.LiteralStructType([I8, ir.ArrayType(I8, 15), ir.ArrayType(I16, 16), ir.ArrayType(I8, 16)])  # palette, 0, columns, rows
        place = cgutils.alloca_once(b, record)
        b.store(ir.Constant(record, None), place)
        b.store(I8(1), cgutils.gep_inbounds(b, place, 0, 0))
        for register, shape in enumerate(self._shapes):
            b.store(b.trunc(shape.row_bytes, I16), cgutils.gep_inbounds(b, place, 0, 2, register))
            b.store(b.trunc(shape.rows, I8), cgutils.gep_inbounds(b, place, 0, 3, register))
        self._call("ldtilecfg", b.bitcast(place, BYTES))

    def release(self) -> None:
        """Registers are empty, which makes a switch of threads cheaper."""
        self._call("tilerelease")

    def zero(self, register: int) -> None:
        """Fill with zeros."""
        self._call("tilezero", I8(register))

    def load(self, register: int, pointer: ir.Value, step: ir.Value) -> None:
        """From rows that lie `step` bytes apart."""
        self._call("tileloadd64", I8(register), self._b.bitcast(pointer, BYTES), step)

    def store(self, register: int, pointer: ir.Value, step: ir.Value) -> None:
        """To rows that lie `step` bytes apart."""
        self._call("tilestored64", I8(register), self._b.bitcast(pointer, BYTES), step)

    def multiply(self, c: int, a: int, b: int) -> None:
        """See the module."""
        self._call("tdpbf16ps", I8(c), I8(a), I8(b))


class StandIn:
    """The same on any CPU and for vectors of any width, slowly: sums are in memory, factors are read where they lie."""

    def __init__(self, w: VectorBuilder, shapes: list[Shape]) -> None:
        self._w, self._shapes = w, shapes
        self._sums: dict[int, ir.Value] = {}
        self._loaded: dict[int, tuple[ir.Value, ir.Value]] = {}

    def _row(self, start: ir.Value, row: ir.Value, step: ir.Value) -> ir.Value:
        b = self._w.b
        return self._w.pointer(b.add(b.ptrtoint(start, step.type), b.mul(row, step)))

    def _each_row(self, register: int, action: Callable[[ir.Value, ir.Value], None]) -> None:
        """action(row, where its sums are)."""
        if register not in self._sums:
            self._sums[register] = cgutils.alloca_once(self._w.b, self._w.scalar, ROWS * self._w.lanes)
        with self._w.loop(self._shapes[register].rows) as row:
            action(row, self._w.at(self._sums[register], self._w.b.mul(row, i64(self._w.lanes))))

    def zero(self, register: int) -> None:
        """See Amx; so for the others."""
        self._each_row(register, lambda row, sums: self._w.store(self._w.zero(), sums))

    def load(self, register: int, pointer: ir.Value, step: ir.Value) -> None:
        self._loaded[register] = pointer, step

    def store(self, register: int, pointer: ir.Value, step: ir.Value) -> None:
        self._each_row(register, lambda row, sums: self._w.store(self._w.load(sums), self._row(pointer, row, step)))

    def multiply(self, c: int, a: int, b: int) -> None:
        w, (weights, a_step), (numbers, b_step) = self._w, self._loaded[a], self._loaded[b]

        def add(row: ir.Value, sums: ir.Value) -> None:
            with w.loop(self._shapes[b].rows) as k:
                weight = w.splat(w.load_scalar(w.at(self._row(weights, row, a_step), k)))
                w.store(multiply_pairs_apart(w, weight, w.load(self._row(numbers, k, b_step)), w.load(sums)), sums)

        self._each_row(c, add)
