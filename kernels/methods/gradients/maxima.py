"""Where maxima were, by vectors: of windows that lie side by side, and of long ones.

Side by side: lanes are windows. Of their taps, which deinterleaved vectors hold, the first largest gets the gradient and the others 0; what
is interleaved again is the gradient of whole rows, none of which is cleared first or written twice. Long: lanes are taps along a row; each
keeps its first largest, of which the first is taken.
"""

from __future__ import annotations

from typing import NamedTuple

from llvmlite import ir
from numba.core import cgutils

from kernels.runtime.ir import I32, VectorBuilder, call, i64
from kernels.runtime.jit import njit
from kernels.runtime.micro_kernel import Fixed, address, emitter
from kernels.runtime.regions import region

TAPS = 16  # of a window side by side: vectors in registers
WIDEST = 4  # columns from window to window, of those
LONG = 8  # taps of a row, from which on lanes are taps


def _larger(w: VectorBuilder, value: ir.Value, best: ir.Value) -> ir.Value:
    """The mask of lanes where value is larger, or the first NaN."""
    b = w.b
    return b.and_(b.fcmp_unordered(">", value, best), b.fcmp_ordered("ord", best, best))


class BackToTaps(NamedTuple):
    """Rows of windows that lie side by side: rows of dst become the gradient, 0 where no maximum is."""

    lanes: Fixed  # of a vector
    itemsize: Fixed
    kh: Fixed  # rows of a window
    kw: Fixed  # columns of a window, at most `stride`
    stride: Fixed  # columns from window to window
    src: int  # address of the first windows' first row
    dst: int  # the same of the gradient
    pitch: int  # numbers from row to row of both
    width: int  # of a row
    grad: int  # address
    windows: int  # of a row of them
    rows: int  # of windows
    down: int  # rows of src and dst from one such row to the next


@emitter
def _back(w: VectorBuilder, p: BackToTaps) -> None:
    b, lanes, kind = w.b, p.lanes, ir.VectorType(I32, p.lanes)

    def block(src: ir.Value, dst: ir.Value, given: ir.Value, q: ir.Value, edge: bool) -> None:
        """As many windows as there are lanes from window q on, of the row that begins at these places."""
        first = b.mul(q, i64(p.stride))
        inside = [w.first(b.sub(p.width, b.add(first, i64(v * lanes)))) for v in range(p.stride)]
        live = w.first(b.sub(p.windows, q))
        best = which = None
        for row in range(p.kh):
            line = w.at(src, b.add(b.mul(p.pitch, i64(row)), first))
            found = [w.at(line, v * lanes) for v in range(p.stride)]
            vectors = [w.load_first(at, mask) if edge else w.load(at) for at, mask in zip(found, inside)]
            for column in range(p.kw):
                value = w.every(vectors, column)
                tap = ir.Constant(kind, [row * p.kw + column] * lanes)
                if best is None:
                    best, which = value, tap
                else:
                    larger = _larger(w, value, best)
                    best, which = b.select(larger, value, best), b.select(larger, tap, which)
        at = w.at(given, q)
        grad = w.load_first(at, live) if edge else w.load(at)
        for row in range(p.kh):
            taps = [ir.Constant(kind, [row * p.kw + column] * lanes) for column in range(p.kw)]
            parts = [b.select(b.icmp_signed("==", which, tap), grad, w.zero()) for tap in taps]
            line = w.at(dst, b.add(b.mul(p.pitch, i64(row)), first))
            for v, vector in enumerate(w.interleaved([*parts, *[w.zero()] * (p.stride - p.kw)])):
                if edge:
                    w.store_first(vector, w.at(line, v * lanes), inside[v])
                else:
                    w.store(vector, w.at(line, v * lanes))

    whole = b.sdiv(p.width, i64(lanes * p.stride))
    fitting = b.sdiv(p.windows, i64(lanes))
    whole = b.select(b.icmp_signed("<", whole, fitting), whole, fitting)
    done = b.mul(whole, i64(lanes))  # what no window covers is cleared too
    left = b.sub(p.width, b.mul(done, i64(p.stride)))
    parts = b.sdiv(b.add(left, i64(lanes * p.stride - 1)), i64(lanes * p.stride))
    with w.loop(p.rows) as j:
        top = b.mul(b.mul(j, p.down), p.pitch)
        places = w.pointer(p.src, top), w.pointer(p.dst, top), w.pointer(p.grad, b.mul(j, p.windows))
        with w.loop(whole) as number:
            block(*places, b.mul(number, i64(lanes)), False)
        with w.loop(parts) as number:
            block(*places, b.add(done, b.mul(number, i64(lanes))), True)


@njit
def _back_of(p):
    _back(p, ())


def back_to_taps(kh: int, kw: int, stride: int, lanes: int, itemsize: int) -> int:
    """Address of the compiled `BackToTaps`."""
    return address(_back_of, BackToTaps, lanes=lanes, itemsize=itemsize, kh=kh, kw=kw, stride=stride)


class FirstLargest(NamedTuple):
    """The place, row*pitch + column, of the first of the largest numbers of a window, or of its first NaN; to `to`, an int64."""

    lanes: Fixed  # of a vector
    itemsize: Fixed
    src: int  # address of the window
    pitch: int
    rows: int
    width: int
    to: int  # address


@emitter
def _first_largest(w: VectorBuilder, p: FirstLargest) -> None:
    b, lanes, kind = w.b, p.lanes, ir.VectorType(I32, p.lanes)
    none = ir.Constant(kind, [2**31 - 1] * lanes)
    best = w.variable(w.constant(float("-inf")))
    places = w.variable(none)
    whole = b.sdiv(p.width, i64(lanes))
    rest = b.sub(p.width, b.mul(whole, i64(lanes)))
    with w.loop(p.rows) as row:
        line = b.mul(row, p.pitch)

        def look(first: ir.Value, mask: ir.Value | None, line: ir.Value = line) -> None:
            at = b.add(line, first)
            pointer = w.pointer(p.src, at)
            value = w.load(pointer) if mask is None else w.load_first(pointer, mask, w.constant(float("-inf")))
            here = w.positions(at, 1)
            found, old = w.get(best), w.get(places)
            new = b.or_(_larger(w, value, found), b.icmp_signed("==", old, none))
            new = new if mask is None else b.and_(new, mask)
            w.set(best, b.select(new, value, found))
            w.set(places, b.select(new, here, old))

        with w.loop(whole) as number:
            look(b.mul(number, i64(lanes)), None)
        with w.when(b.icmp_signed(">", rest, i64(0))):
            look(b.mul(whole, i64(lanes)), w.first(rest))
    found = w.get(best)
    largest = w.splat(w.across(found, w.maximum))
    winner = b.or_(b.fcmp_ordered("==", found, largest), b.fcmp_unordered("uno", found, found))
    candidates = b.select(winner, w.get(places), none)
    smallest = cgutils.get_or_insert_function(b.module, ir.FunctionType(I32, [kind]), f"llvm.vector.reduce.smin.v{lanes}i32")
    b.store(b.sext(b.call(smallest, [candidates]), ir.IntType(64)), b.inttoptr(p.to, ir.IntType(64).as_pointer()), align=8)


@njit
def _first_largest_of(p):
    _first_largest(p, ())


def first_largest(lanes: int, itemsize: int) -> int:
    """Address of the compiled `FirstLargest`."""
    return address(_first_largest_of, FirstLargest, lanes=lanes, itemsize=itemsize)


@region
def side_by_side(p, thread, x, grad, out, kernel, form, lanes, itemsize):
    """A plane of out (planes, h, w) from x alike and grad (planes, oh, ow); form: kh, kw, rows and columns from window to window."""
    kh, kw, down, across = form
    width, windows = x.shape[2], grad.shape[2]
    call(
        kernel,
        BackToTaps(
            lanes=lanes, itemsize=itemsize, kh=kh, kw=kw, stride=across, src=x[p].ctypes.data, dst=out[p].ctypes.data, pitch=width,
            width=width, grad=grad[p].ctypes.data, windows=windows, rows=grad.shape[1], down=down,
        ),
    )  # fmt: skip
    if down > kh:
        for top in range(0, grad.shape[1] * down, down):
            out[p, top + kh : min(top + down, out.shape[1])] = 0
    if grad.shape[1] * down < out.shape[1]:
        out[p, grad.shape[1] * down :] = 0


@region
def long_windows(p, thread, x, grad, out, kernel, places, h, w, lanes, itemsize):
    """A plane of out (planes, h, w) from x alike and grad (planes, oh, ow); h, w: windows, an Axis each; places: a row for a thread."""
    target = out[p].reshape(-1)
    target[:] = 0
    width = x.shape[2]
    for j in range(grad.shape[1]):
        for k in range(grad.shape[2]):
            call(
                kernel,
                FirstLargest(
                    lanes=lanes, itemsize=itemsize, src=x[p, h.first[j], w.first[k] :].ctypes.data, pitch=h.step * width,
                    rows=h.number[j], width=w.number[k], to=places[thread].ctypes.data,
                ),
            )  # fmt: skip
            target[h.first[j] * width + w.first[k] + places[thread, 0]] += grad[p, j, k]
