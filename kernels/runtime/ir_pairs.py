"""Pairs of bfloat16 in vectors of float32, as LLVM IR: lane l holds number 2l in its lower and 2l + 1 in its upper half."""

from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils

from kernels.runtime.ir import I32, VectorBuilder


class _BFloat16(ir.Type):
    """LLVM's bfloat, which llvmlite has no class for."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat16)

    def __hash__(self) -> int:
        return hash(_BFloat16)


def _word(w: VectorBuilder, value: int) -> ir.Constant:
    """An int32 in every lane."""
    return ir.Constant(ir.VectorType(I32, w.lanes), [value] * w.lanes)


def rounded_pairs(w: VectorBuilder, lower: ir.Value, upper: ir.Value) -> ir.Value:
    """Pairs of the nearest bfloat16, of two the even one, of float32s. NaN stays NaN, what is nearer to 2^128 than to the largest becomes
    infinite."""
    b = w.b

    def rounded(value: ir.Value) -> ir.Value:
        bits = b.bitcast(value, ir.VectorType(I32, w.lanes))
        odd = b.and_(b.lshr(bits, _word(w, 16)), _word(w, 1))
        near = b.add(bits, b.add(odd, _word(w, 0x7FFF)))
        return b.select(b.fcmp_unordered("uno", value, value), b.or_(bits, _word(w, 1 << 22)), near)

    pairs = b.or_(b.lshr(rounded(lower), _word(w, 16)), b.and_(rounded(upper), _word(w, 0xFFFF0000)))
    return b.bitcast(pairs, w.vector)


def multiply_pairs(w: VectorBuilder, x: ir.Value, y: ir.Value, sums: ir.Value) -> ir.Value:
    """sums + lower halves' products + upper halves' products, by one instruction of AVX512_BF16 on vectors of 16 pairs."""
    kind = ir.VectorType(_BFloat16(), 2 * w.lanes)
    function = ir.FunctionType(w.vector, [w.vector, kind, kind])
    product = cgutils.get_or_insert_function(w.b.module, function, "llvm.x86.avx512bf16.dpbf16ps.512")
    return w.b.call(product, [sums, w.b.bitcast(x, kind), w.b.bitcast(y, kind)])


def multiply_pairs_apart(w: VectorBuilder, x: ir.Value, y: ir.Value, sums: ir.Value) -> ir.Value:
    """The same by two multiply-adds of float32, on any CPU and for vectors of any width."""

    def halves(value: ir.Value) -> tuple[ir.Value, ir.Value]:
        bits = w.b.bitcast(value, ir.VectorType(I32, w.lanes))
        lower, upper = w.b.shl(bits, _word(w, 16)), w.b.and_(bits, _word(w, 0xFFFF0000))
        return w.b.bitcast(lower, w.vector), w.b.bitcast(upper, w.vector)

    (x_lower, x_upper), (y_lower, y_upper) = halves(x), halves(y)
    return w.fma(x_lower, y_lower, w.fma(x_upper, y_upper, sums))
