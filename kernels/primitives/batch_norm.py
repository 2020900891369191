"""Batch norm as it trains: channels are normalised by their own numbers in all images, and the gradient goes through mean and deviation.

    forward:   y = (x - mean) * scale + bias,   scale = weight / sqrt(variance + epsilon)
    gradient:  out = scale * (grad - sum(grad) / count - (x - mean) * sum(grad * (x - mean)) / (count * (variance + epsilon)))

A rectifier that follows is done on the way out; on the way back the forward's own sum says where it was open, so no mask is kept.
A task is a channel: its numbers are brought once, what is summed first is read again from the second-level cache. Rows are summed in
pieces, pieces in float64, so that means lose nothing; squares are of distances from the mean, so nothing cancels. After S. Ioffe and
C. Szegedy, "Batch normalization", arXiv 1502.03167.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from llvmlite import ir

from kernels.cost.calibration import threads_for
from kernels.primitives.moments import PIECE, ChannelPieces, Spread, spread
from kernels.primitives.records import address, integer
from kernels.primitives.rectifier import positive
from kernels.primitives.reduction import CHAINS, Row, row
from kernels.primitives.vector_pass import bits, each_vector
from kernels.runtime import micro_kernel
from kernels.runtime.ir import VectorBuilder, call, i64
from kernels.runtime.jit import njit
from kernels.runtime.machine import Machine, machine
from kernels.runtime.micro_kernel import Fixed, emitter
from kernels.runtime.pointers import pointed, read_number, write_number
from kernels.runtime.regions import region
from kernels.runtime.scratch import handle

Array = np.ndarray

STATS = 5  # numbers that are kept of a channel; see `normalise`
BY = 6  # numbers that a task works with: see Centred, and the forward's factor and what it added
PASSED = 3.0  # cycles a vector to be read, summed twice and written


class Centred(NamedTuple):
    """y[i] = (x[i] - by[0]) * by[1] + by[2]; with a gradient, y[i] = grad[i] * by[3] + that. Rectified: y[i] at least 0; the gradient 0
    where the rectifier was closed, see `_open`."""

    lanes: Fixed  # of a vector
    itemsize: Fixed
    of_grad: Fixed  # whether there is one
    rectified: Fixed
    y: int  # address
    x: int  # address
    grad: int  # address
    by: int  # address of the numbers
    numbers: int


def _number(w: VectorBuilder, by: ir.Value, i: int) -> ir.Value:
    """One of a channel's numbers, in every lane."""
    return w.splat(w.load_scalar(w.pointer(by, i)))


def _open(w: VectorBuilder, by: ir.Value) -> Callable[[ir.Value, ir.Value], ir.Value]:
    """(distance, grad): the gradient where the rectifier was open, that is where the forward's distance * by[4] + by[5] was positive, to
    the bit, or NaN."""
    factor, added = _number(w, by, 4), _number(w, by, 5)
    return lambda distance, grad: positive(w, w.fma(distance, factor, added), grad)


@emitter
def _centred(w: VectorBuilder, p: Centred) -> None:
    mean, factor, added, of_grad = (_number(w, p.by, i) for i in range(4))
    opened = _open(w, p.by) if p.of_grad and p.rectified else None

    def made(loaded: list[ir.Value], mask: ir.Value | None) -> ir.Value:
        distance = w.b.fsub(loaded[0], mean)
        value = w.fma(distance, factor, added)
        if p.of_grad:
            return w.fma(opened(distance, loaded[1]) if opened else loaded[1], of_grad, value)
        return positive(w, value, value) if p.rectified else value

    each_vector(w, [w.pointer(p.x), w.pointer(p.grad)][: 1 + p.of_grad], w.pointer(p.y), p.numbers, made)


@njit
def _centred_of(p):
    _centred(p, ())


def centred(of_grad: bool, rectified: bool, lanes: int, itemsize: int) -> int:
    """Address of the compiled `Centred`."""
    fixed = {"lanes": lanes, "itemsize": itemsize, "of_grad": int(of_grad), "rectified": int(rectified)}
    return micro_kernel.address(_centred_of, Centred, **fixed)


class GradSums(NamedTuple):
    """to[0] = sum of grad[i], to[1] = sum of grad[i] * (x[i] - by[0]); rectified as in `Centred`."""

    lanes: Fixed  # of a vector
    itemsize: Fixed
    rectified: Fixed
    to: int  # address
    x: int  # address
    grad: int  # address
    by: int  # address
    numbers: int


@emitter
def _sums(w: VectorBuilder, p: GradSums) -> None:
    b, lanes = w.b, w.lanes
    x, grad, mean = w.pointer(p.x), w.pointer(p.grad), _number(w, p.by, 0)
    plain, centred = ([w.variable(w.zero()) for _ in range(CHAINS)] for _ in range(2))
    opened = _open(w, p.by) if p.rectified else None

    def add(at: ir.Value, chain: int, mask: ir.Value | None = None) -> None:
        places = w.at(grad, at), w.at(x, at)
        g, value = (w.load(place) if mask is None else w.load_first(place, mask) for place in places)
        distance = b.fsub(value, mean)
        if opened:
            g = opened(distance, g)
        w.set(plain[chain], w.add(w.get(plain[chain]), g))
        w.set(centred[chain], w.fma(g, distance, w.get(centred[chain])))  # what the mask leaves out has a gradient of 0

    unrolled = b.sdiv(p.numbers, i64(lanes * CHAINS))
    with w.loop(unrolled) as block:
        for chain in range(CHAINS):
            add(b.add(b.mul(block, i64(lanes * CHAINS)), i64(chain * lanes)), chain)
    done = b.mul(unrolled, i64(lanes * CHAINS))
    single = b.sdiv(b.sub(p.numbers, done), i64(lanes))
    with w.loop(single) as block:
        add(b.add(done, b.mul(block, i64(lanes))), 0)
    last = b.add(done, b.mul(single, i64(lanes)))
    with w.when(b.icmp_signed(">", b.sub(p.numbers, last), i64(0))):
        add(last, 1, w.first(b.sub(p.numbers, last)))
    for place, totals in enumerate((plain, centred)):
        first, second, third, fourth = (w.get(total) for total in totals)
        b.store(w.across(w.add(w.add(first, second), w.add(third, fourth)), b.fadd), w.pointer(p.to, place))


@njit
def _sums_of(p):
    _sums(p, ())


def grad_sums(rectified: bool, lanes: int, itemsize: int) -> int:
    """Address of the compiled `GradSums`."""
    return micro_kernel.address(_sums_of, GradSums, lanes=lanes, itemsize=itemsize, rectified=int(rectified))


class Channels(ChannelPieces):
    """How batch norms go through a channel, forward and backward."""

    row = address("of the micro-kernel that sums; takes a Row")
    spread = address("of the one that sums squared distances; takes a Spread")
    sums = address("of the one that sums gradients; takes a GradSums")
    centred = address("of the one that writes; takes a Centred")
    one = integer("bits of 1")


@region
def _forward(channel, thread, x, y, weight, bias, stats, by, geometry, zero, epsilon):
    """y from x; stats (STATS, channels): see `normalise`; by (channels, BY): scratch; all handles, geometry: Channels."""
    g = geometry[0]
    size, image, first = g.itemsize, g.channels * g.length * g.itemsize, channel * g.length * g.itemsize
    count, own = g.n * g.length, pointed(by) + BY * channel * size
    total = 0.0
    for i in range(g.n):
        for at in range(0, g.length, g.piece):
            source = pointed(x) + i * image + first + at * size
            call(g.row, Row(kind=0, lanes=g.lanes, itemsize=size, to=own, x=source, numbers=min(g.piece, g.length - at), p=g.one))
            total += float(read_number(own, zero))
    middle = total / count
    write_number(own, type(zero)(middle))
    off = middle - float(read_number(own, zero))
    squares = 0.0
    for i in range(g.n):
        for at in range(0, g.length, g.piece):
            source = pointed(x) + i * image + first + at * size
            call(g.spread, Spread(lanes=g.lanes, itemsize=size, to=own + size, x=source, mean=own, numbers=min(g.piece, g.length - at)))
            squares += float(read_number(own + size, zero))
    variance = max(squares / count - off * off, 0.0)  # of equal numbers the difference is rounding
    inverse = 1.0 / math.sqrt(variance + epsilon)
    kept = pointed(stats) + channel * size
    write_number(kept, type(zero)(middle))
    write_number(kept + g.channels * size, type(zero)(inverse))
    write_number(kept + 2 * g.channels * size, type(zero)(variance))
    scale = inverse * float(read_number(pointed(weight) + channel * size, zero))
    write_number(own + size, type(zero)(scale))
    write_number(own + 2 * size, type(zero)(float(read_number(pointed(bias) + channel * size, zero)) - off * scale))
    for i in (1, 2):
        write_number(kept + (2 + i) * g.channels * size, read_number(own + i * size, zero))
    for i in range(g.n):
        place = i * image + first
        call(
            g.centred,
            Centred(
                lanes=g.lanes, itemsize=size, of_grad=0, rectified=0, y=pointed(y) + place, x=pointed(x) + place, grad=0, by=own,
                numbers=g.length,
            ),
        )  # fmt: skip


@region
def _gradient(channel, thread, x, grad, out, weight, stats, sums, by, geometry, zero):
    """out from grad; sums (2, channels): the gradients of bias and weight; the rest as in `_forward`."""
    g = geometry[0]
    size, image, first = g.itemsize, g.channels * g.length * g.itemsize, channel * g.length * g.itemsize
    count, own, kept = g.n * g.length, pointed(by) + BY * channel * size, pointed(stats) + channel * size
    plain, centred_total = 0.0, 0.0
    write_number(own, read_number(kept, zero))
    for i in (4, 5):
        write_number(own + i * size, read_number(kept + (i - 1) * g.channels * size, zero))
    for i in range(g.n):
        for at in range(0, g.length, g.piece):
            place = i * image + first + at * size
            call(
                g.sums,
                GradSums(
                    lanes=g.lanes, itemsize=size, rectified=0, to=own + size, x=pointed(x) + place, grad=pointed(grad) + place, by=own,
                    numbers=min(g.piece, g.length - at),
                ),
            )  # fmt: skip
            plain += float(read_number(own + size, zero))
            centred_total += float(read_number(own + 2 * size, zero))
    inverse = float(read_number(kept + g.channels * size, zero))
    write_number(pointed(sums) + channel * size, type(zero)(plain))
    write_number(pointed(sums) + (g.channels + channel) * size, type(zero)(centred_total * inverse))
    scale = inverse * float(read_number(pointed(weight) + channel * size, zero))
    write_number(own + size, type(zero)(-scale * inverse * inverse * centred_total / count))
    write_number(own + 2 * size, type(zero)(-scale * plain / count))
    write_number(own + 3 * size, type(zero)(scale))
    for i in range(g.n):
        place = i * image + first
        call(
            g.centred,
            Centred(
                lanes=g.lanes, itemsize=size, of_grad=1, rectified=0, y=pointed(out) + place, x=pointed(x) + place,
                grad=pointed(grad) + place, by=own, numbers=g.length,
            ),
        )  # fmt: skip


@functools.lru_cache(maxsize=256)
def _ready(
    shape: tuple[int, int, int], dtype: np.dtype, of_grad: bool, rectified: bool, threads: int, spec: Machine
) -> Callable[..., None]:  # fmt: skip
    """What runs a region on the handles of its arrays, and further arguments behind them."""
    (n, channels, length), size, zero = shape, dtype.itemsize, dtype.type(0)
    lanes = spec.lanes(size)
    geometry = Channels.packed(
        row=0 if of_grad else row("sum", lanes, size), spread=0 if of_grad else spread(lanes, size),
        sums=grad_sums(rectified, lanes, size) if of_grad else 0, centred=centred(of_grad, rectified, lanes, size), lanes=lanes,
        itemsize=size, n=n, channels=channels, length=length, piece=PIECE, one=bits(1.0),
    )  # fmt: skip
    used = threads_for(PASSED * math.prod(shape) / lanes, min(threads, channels))
    launch = _gradient.ready(*[0] * 7, geometry, zero) if of_grad else _forward.ready(*[0] * 6, geometry, zero, 0.0)

    def run(*arrays: Array, more: tuple[float, ...] = ()) -> None:
        launch(used, channels, *map(handle, arrays), geometry, zero, *more)

    return run


def normalise(
    x: Array, weight: Array, bias: Array, epsilon: float, threads: int, y: Array, stats: Array, rectified: bool = False
) -> None:  # fmt: skip
    """Into y, x (n, channels, length) normalised by each channel's mean and variance (of the count, not one less), times weight plus bias,
    and rectified if asked; into stats (STATS, channels) mean, 1 / sqrt(variance + epsilon), variance, and what x - mean was multiplied by
    and what was added. Contiguous arrays of one dtype."""
    assert stats.shape == (STATS, x.shape[1]), f"stats has shape {stats.shape}"
    by = np.empty((x.shape[1], BY), x.dtype)
    _ready(x.shape, x.dtype, False, rectified, threads, machine())(x, y, weight, bias, stats, by, more=(epsilon,))


def gradient(
    x: Array, weight: Array, stats: Array, grad: Array, threads: int, out: Array, sums: Array, rectified: bool = False
) -> None:  # fmt: skip
    """Into out the gradient of x, into sums (2, channels) those of bias and weight; grad: that of y, stats: as `normalise` gave it."""
    assert stats.shape == (STATS, x.shape[1]), f"stats has shape {stats.shape}"
    by = np.empty((x.shape[1], BY), x.dtype)
    _ready(x.shape, x.dtype, True, rectified, threads, machine())(x, grad, out, weight, stats, sums, by)
