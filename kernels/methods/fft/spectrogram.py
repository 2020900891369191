"""What becomes of spectra of frames while they are in cache: their power or magnitude, and sums of bands of it, as mel filters are.

    p[k][frame] = re[k][frame]^2 + im[k][frame]^2, or its root        y[j][frame] = bias[j] + sum over k of filters[j][k] p[k][frame]

Of a mel filter all but a few weights are zero, so the band of each filter alone is summed: 128 filters of 513 frequencies have 1,032
weights that are not. Lanes are frames.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np

from kernels.runtime.ir import VectorBuilder, i64
from kernels.runtime.jit import njit
from kernels.runtime.micro_kernel import Fixed, address, emitter

Array = np.ndarray

STEP = 4  # weights of a band that are summed apart, so that no sum waits for the one before
SPARSE = 0.25  # of all weights: how many those of bands may be at most; a product of matrices is faster where there are more


class Powers(NamedTuple):
    """to[k] = re[k]^2 + im[k]^2, or its root; a vector of frames each."""

    root: Fixed  # 1: the root
    lanes: Fixed  # numbers in a vector
    itemsize: Fixed  # bytes of a number
    to: int  # address, whose vectors are `step` numbers apart
    step: int
    spectrum: int  # address of vectors one behind the other,
    frequency: int  # of which those of a part are so many numbers apart,
    imaginary: int  # and imaginary parts so many numbers behind real ones
    frequencies: int


@emitter
def _emit_powers(w: VectorBuilder, p: Powers) -> None:
    b = w.b
    to, spectrum = w.pointer(p.to), w.pointer(p.spectrum)
    with w.loop(p.frequencies) as k:
        place = w.at(spectrum, b.mul(k, p.frequency))
        real, imaginary = w.load(place), w.load(w.at(place, p.imaginary))
        power = w.fma(real, real, b.fmul(imaginary, imaginary))
        w.store(w.root(power) if p.root else power, w.at(to, b.mul(k, p.step)))


@njit
def _powers(p):
    _emit_powers(p, ())


def powers(root: bool, lanes: int, itemsize: int) -> int:
    """Address of the compiled step from spectra to power or magnitude: takes a Powers."""
    return address(_powers, Powers, root=int(root), lanes=lanes, itemsize=itemsize)


class BandSums(NamedTuple):
    """to[j] = bias[j] + the sum over t < 4 steps[j] of weights[places[j] + t] x[first[j] + t]; a vector of frames each."""

    lanes: Fixed
    itemsize: Fixed
    to: int  # address, whose vectors are `step` numbers apart
    step: int
    x: int  # address of vectors one behind the other
    filters: int
    bias: int  # address of a number a filter
    first: int  # address of int64s; so are places and steps
    places: int
    steps: int
    weights: int  # address


@emitter
def _emit_sums(w: VectorBuilder, p: BandSums) -> None:
    b = w.b
    to, x, weights = w.pointer(p.to), w.pointer(p.x), w.pointer(p.weights)
    with w.loop(p.filters) as j:
        first, place = w.load_index(p.first, j), w.load_index(p.places, j)
        start = w.splat(w.load_scalar(w.at(w.pointer(p.bias), j)))
        sums = [w.variable(start if u == 0 else w.zero()) for u in range(STEP)]
        with w.loop(w.load_index(p.steps, j)) as step:
            for u, part in enumerate(sums):
                t = b.add(b.mul(step, i64(STEP)), i64(u))
                weight = w.splat(w.load_scalar(w.at(weights, b.add(place, t))))
                w.set(part, w.fma(weight, w.load(w.at(x, b.mul(b.add(first, t), i64(p.lanes)))), w.get(part)))
        low, high = (w.add(w.get(sums[i]), w.get(sums[i + 1])) for i in (0, 2))
        w.store(w.add(low, high), w.at(to, b.mul(j, p.step)))


@njit
def _sums(p):
    _emit_sums(p, ())


def band_sums(lanes: int, itemsize: int) -> int:
    """Address of the compiled sums of bands: takes a BandSums."""
    return address(_sums, BandSums, lanes=lanes, itemsize=itemsize)


@dataclasses.dataclass(frozen=True, eq=False)
class Bands:
    """A matrix of filters of which each has weights in a band alone, from its first frequency on; see BandSums."""

    weights: Array  # those of all bands, one behind the other
    bias: Array  # (filters,)
    first: Array
    places: Array
    steps: Array


def bands(matrix: Array, bias: Array | None) -> Bands | None:
    """The bands of a matrix (filters, frequencies); None where they hold too many weights."""
    filters, frequencies = matrix.shape
    inside = matrix != 0
    low = np.where(inside.any(1), inside.argmax(1), 0)
    high = np.where(inside.any(1), frequencies - inside[:, ::-1].argmax(1), 0)
    steps = -(-(high - low) // STEP)
    if STEP * steps.sum() > SPARSE * matrix.size or (steps * STEP > frequencies).any():
        return None
    first = np.minimum(low, frequencies - STEP * steps)
    weights = [row[start : start + STEP * count] for row, start, count in zip(matrix, first, steps)]
    start = np.zeros(filters, matrix.dtype) if bias is None else np.asarray(bias, matrix.dtype)
    places = np.cumsum(STEP * steps) - STEP * steps
    tables = (np.array(each, np.int64) for each in (first, places, steps))
    return Bands(np.concatenate([*weights, np.zeros(1, matrix.dtype)]), start, *tables)
