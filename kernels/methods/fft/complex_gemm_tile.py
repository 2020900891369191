"""Products of spectra: at every frequency, small complex matrices multiplied in registers.

    y[f][i][q] = sum over t < k of a[f][t][i] * x[f][offset[t] + q]        i < m rows, q < n vectors

One element of `a` goes to every lane, elements of `x` are vectors. Either may be the weights: where there are many positions they lie in
the lanes and weights go to all of them; where there are few, lanes hold output channels.
"""

from __future__ import annotations

from typing import Any

from numba.core import types
from numba.extending import intrinsic

from kernels.primitives.gemm_tile import AHEAD
from kernels.runtime.ir import VectorBuilder, i64
from kernels.runtime.jit import address, njit

ARGUMENTS = 19


@intrinsic(prefer_literal=True)
def _emit(typing_context: Any, m_: Any, n_: Any, lanes_: Any, itemsize_: Any,
          frequencies: Any, tiles: Any, k: Any, a: Any, a_f: Any, a_tile: Any, a_k: Any, a_i: Any, a_part: Any,
          x: Any, x_f: Any, offsets: Any, x_part: Any, y: Any, y_f: Any, y_i: Any, y_part: Any, a_ahead: Any,
          x_ahead: Any) -> Any:  # fmt: skip
    """See `product`."""
    literals = m_, n_, lanes_, itemsize_
    m, n, lanes, itemsize = (literal.literal_value for literal in literals)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        frequencies, tiles, k, a, a_f, a_tile, a_k, a_i, a_part, x, x_f, offsets, x_part, y, y_f, y_i, y_part, a_ahead, x_ahead = values[4:]
        w = VectorBuilder(builder, lanes, itemsize)
        sums = [[(w.variable(w.zero()), w.variable(w.zero())) for _ in range(n)] for _ in range(m)]
        with w.loop(frequencies) as f, w.loop(tiles) as tile:
            for real, imaginary in (pair for row in sums for pair in row):
                w.set(real, w.zero())
                w.set(imaginary, w.zero())
            start = builder.add(builder.mul(f, a_f), builder.mul(tile, a_tile))
            scalars = [w.at(w.pointer(a), builder.add(start, builder.mul(i64(i), a_i))) for i in range(m)]
            source = w.at(w.pointer(x), builder.mul(f, x_f))
            with w.loop(k) as t:
                base = w.at(source, w.load_index(offsets, t))
                coming = w.at(source, w.load_index(offsets, builder.add(t, i64(AHEAD))))
                coming = builder.select(builder.icmp_signed("!=", x_ahead, i64(0)), w.at(base, x_ahead), coming)
                vectors = []
                for q in range(n):
                    for place, ahead in ((base, coming), (w.at(base, x_part), w.at(coming, x_part))):
                        vectors.append(w.load(w.at(place, q * lanes)))
                        w.prefetch(w.at(ahead, q * lanes))
                at = builder.mul(t, a_k)
                w.prefetch(w.at(w.at(scalars[0], at), a_ahead))
                for scalar, row in zip(scalars, sums):
                    first = w.at(scalar, at)
                    real, imaginary = w.splat(w.load_scalar(first)), w.splat(w.load_scalar(w.at(first, a_part)))
                    minus = builder.fneg(imaginary)
                    for q, (re, im) in enumerate(row):
                        w.set(re, w.fma(real, vectors[2 * q], w.get(re)))
                        w.set(im, w.fma(real, vectors[2 * q + 1], w.get(im)))
                        w.set(re, w.fma(minus, vectors[2 * q + 1], w.get(re)))
                        w.set(im, w.fma(imaginary, vectors[2 * q], w.get(im)))
            first_row = builder.mul(tile, i64(m))
            for i, row in enumerate(sums):
                where = builder.add(builder.mul(f, y_f), builder.mul(builder.add(first_row, i64(i)), y_i))
                out = w.at(w.pointer(y), where)
                for q, (re, im) in enumerate(row):
                    w.store(w.get(re), w.at(out, q * lanes))
                    w.store(w.get(im), w.at(w.at(out, y_part), q * lanes))
        return context.get_dummy_value()

    return types.void(*literals, *(types.int64,) * ARGUMENTS), codegen


@njit
def _product(m, n, lanes, itemsize, fs, tiles, k, a, a_f, a_tile, a_k, a_i, a_part, x, x_f, offsets, x_part, y, y_f, y_i, y_part,
             a_ahead, x_ahead):  # fmt: skip
    _emit(m, n, lanes, itemsize, fs, tiles, k, a, a_f, a_tile, a_k, a_i, a_part, x, x_f, offsets, x_part, y, y_f, y_i, y_part,
          a_ahead, x_ahead)  # fmt: skip


def product(m: int, n: int, lanes: int, itemsize: int) -> int:
    """Address of the compiled product of tiles of m rows by n vectors.

    It takes, all int64: the four literals again; frequencies; tiles of m rows, one below the other; k summands; a, an address, and its
    steps in elements from frequency to frequency, tile to tile, summand to summand, row to row, real part to imaginary part; x, an address,
    its step from frequency to frequency, the address of k int64 element offsets and AHEAD more (any values), and its step from real parts
    to imaginary parts; y, an address, and its steps from frequency to frequency, row to row, real parts to imaginary parts; a_ahead and
    x_ahead, how many elements beyond what is used now something is asked for, of x 0 for what comes AHEAD summands later.
    """
    return address(_product, (m, n, lanes, itemsize), (types.int64,) * ARGUMENTS)
