"""Products of spectra: at every frequency, small complex matrices multiplied in registers.

    y[f][i][q] = sum over t < k of a[f][t][i] * x[f][offset[t] + q]        i < m rows, q < n vectors

One element of `a` goes to every lane, elements of `x` are vectors. Either may be the weights: where there are many positions they lie in
the lanes and weights go to all of them; where there are few, lanes hold output channels.
"""

from __future__ import annotations

from typing import NamedTuple

from kernels.primitives.gemm_tile import AHEAD
from kernels.runtime.ir import VectorBuilder, i64
from kernels.runtime.jit import njit
from kernels.runtime.micro_kernel import Fixed, address, emitter


class ComplexGemmTile(NamedTuple):
    """What the product takes; steps are in elements."""

    m: Fixed  # rows
    n: Fixed  # vectors
    lanes: Fixed  # numbers in a vector
    itemsize: Fixed  # bytes of a number
    frequencies: int
    tiles: int  # of m rows, one below the other
    k: int  # summands
    a: int  # address of what goes to every lane
    a_f: int  # its step from frequency to frequency,
    a_tile: int  # from tile to tile,
    a_k: int  # from summand to summand,
    a_i: int  # from row to row,
    a_im: int  # from real to imaginary part
    x: int  # address of the vectors
    x_f: int  # their step from frequency to frequency,
    offsets: int  # address of k element offsets, and AHEAD more of any values,
    x_im: int  # from real to imaginary parts
    y: int  # address of the products
    y_f: int  # their steps, likewise
    y_i: int
    y_im: int
    a_ahead: int  # how many elements beyond what is used now are prefetched,
    x_ahead: int  # of x 0 for what comes AHEAD summands later


@emitter
def _emit(w: VectorBuilder, p: ComplexGemmTile) -> None:
    """See `product`."""
    b = w.b
    sums = [[(w.variable(w.zero()), w.variable(w.zero())) for _ in range(p.n)] for _ in range(p.m)]
    with w.loop(p.frequencies) as f, w.loop(p.tiles) as tile:
        for real, imaginary in (pair for row in sums for pair in row):
            w.set(real, w.zero())
            w.set(imaginary, w.zero())
        start = b.add(b.mul(f, p.a_f), b.mul(tile, p.a_tile))
        scalars = [w.at(w.pointer(p.a), b.add(start, b.mul(i64(i), p.a_i))) for i in range(p.m)]
        source = w.at(w.pointer(p.x), b.mul(f, p.x_f))
        with w.loop(p.k) as t:
            base = w.at(source, w.load_index(p.offsets, t))
            coming = w.at(source, w.load_index(p.offsets, b.add(t, i64(AHEAD))))
            coming = b.select(b.icmp_signed("!=", p.x_ahead, i64(0)), w.at(base, p.x_ahead), coming)
            vectors = []
            for q in range(p.n):
                for start, ahead in ((base, coming), (w.at(base, p.x_im), w.at(coming, p.x_im))):
                    vectors.append(w.load(w.at(start, q * p.lanes)))
                    w.prefetch(w.at(ahead, q * p.lanes))
            at = b.mul(t, p.a_k)
            w.prefetch(w.at(w.at(scalars[0], at), p.a_ahead))
            for scalar, row in zip(scalars, sums):
                first = w.at(scalar, at)
                real, imaginary = w.splat(w.load_scalar(first)), w.splat(w.load_scalar(w.at(first, p.a_im)))
                minus = b.fneg(imaginary)
                for q, (re, im) in enumerate(row):
                    w.set(re, w.fma(real, vectors[2 * q], w.get(re)))
                    w.set(im, w.fma(real, vectors[2 * q + 1], w.get(im)))
                    w.set(re, w.fma(minus, vectors[2 * q + 1], w.get(re)))
                    w.set(im, w.fma(imaginary, vectors[2 * q], w.get(im)))
        first_row = b.mul(tile, i64(p.m))
        for i, row in enumerate(sums):
            where = b.add(b.mul(f, p.y_f), b.mul(b.add(first_row, i64(i)), p.y_i))
            out = w.at(w.pointer(p.y), where)
            for q, (re, im) in enumerate(row):
                w.store(w.get(re), w.at(out, q * p.lanes))
                w.store(w.get(im), w.at(w.at(out, p.y_im), q * p.lanes))


@njit
def _product(p):
    _emit(p, ())


def product(m: int, n: int, lanes: int, itemsize: int) -> int:
    """Address of the compiled product of tiles of m rows by n vectors, which takes a ComplexGemmTile."""
    return address(_product, ComplexGemmTile, m=m, n=n, lanes=lanes, itemsize=itemsize)
