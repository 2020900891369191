"""Spectra of frames of a signal: the short-time Fourier transform, a frame in each lane.

    y[part][k][frame] = the real and the imaginary part of sum over t of window[t] x[frame * hop + t] e^(-+ 2 pi i k t / length)

A task takes a vector of frames: their numbers are loaded, multiplied by the window and turned over in registers, transformed in place and
spread over the frequencies, each of which is a line of frames in memory. As products with the matrix of windowed cosines and sines the same
takes 2 length multiply-adds a number where this takes about 2.5 log2(length). Where the power of the spectra is wanted alone, or sums of
bands of it (`spectrogram`), those are made while the spectra of the task are in cache.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from kernels.cost.calibration import threads_for
from kernels.methods.fft.codelets import Spectrum, factors, spectrum
from kernels.methods.fft.passes import fast, tables, transform
from kernels.methods.fft.spectrogram import Bands, BandSums, Powers, band_sums, powers
from kernels.primitives.records import Record, address, integer
from kernels.runtime import micro_kernel
from kernels.runtime.byte_copy import copy_bytes
from kernels.runtime.ir import VectorBuilder, call, i64, split
from kernels.runtime.jit import njit
from kernels.runtime.machine import machine
from kernels.runtime.micro_kernel import Fixed, emitter
from kernels.runtime.pointers import pointed
from kernels.runtime.regions import region
from kernels.runtime.scratch import handle, whole

Array = np.ndarray

NUMBER = 1.5  # cycles of a vector of a line beside its passes: loaded, turned over, spread
BUTTERFLY = 0.5  # cycles of a vector of a line in a pass, for each time that its radix halves the line


class WindowedFrames(NamedTuple):
    """rows[t][lane] = window[t] x[min(lane, frames - 1) * hop + t] for first <= t < last, else 0, t < length; conjugate: rows[-t]."""

    conjugate: Fixed  # 1: position t goes to row length - t, which makes a transform's conjugate
    lanes: Fixed  # numbers in a vector
    itemsize: Fixed  # bytes of a number
    rows: int  # address of `length` vectors
    x: int  # address of position 0 of the first frame
    window: int  # address of numbers up to the next multiple of lanes
    hop: int  # numbers from frame to frame
    frames: int  # that there are, of the lanes
    length: int  # of the transform
    first: int
    last: int


@emitter
def _emit_load(w: VectorBuilder, p: WindowedFrames) -> None:
    b = w.b
    to, source, window = w.pointer(p.rows), w.pointer(p.x), w.pointer(p.window)
    last = b.sub(p.frames, i64(1))
    offsets = [b.mul(p.hop, b.select(b.icmp_signed("<", i64(lane), last), i64(lane), last)) for lane in range(p.lanes)]
    with w.loop(b.sdiv(b.add(p.length, i64(p.lanes - 1)), i64(p.lanes))) as block:
        start = b.mul(block, i64(p.lanes))
        mask, by = w.between(start, p.first, p.last), w.load(w.at(window, start))
        lines = [w.load_first(w.at(source, b.add(offset, start)), mask) for offset in offsets]
        for i, row in enumerate(w.interleaved([b.fmul(line, by) for line in lines])):
            t = b.add(start, i64(i))
            if p.conjugate:
                t = b.select(b.icmp_signed("==", t, i64(0)), t, b.sub(p.length, t))
            with w.when(b.icmp_signed("<", b.add(start, i64(i)), p.length)):
                w.store(row, w.at(to, b.mul(t, i64(p.lanes))))


@njit
def _load(p):
    _emit_load(p, ())


class SpectraEpilogue(Record):
    """What is made of spectra."""

    stages = integer("1: y are spectra, 2: their powers, 3: sums of bands of these")
    powers = address("of the micro-kernel that makes powers; takes a Powers")
    root = integer("whether they are magnitudes")
    sums = address("of the one that sums bands; takes a BandSums")
    bias = address("of a number a filter")
    band_first = address("of the first frequency of each filter")
    band_places = address("of where its weights begin")
    band_steps = address("of how many steps of weights it has")
    weights = address("of those of all bands")


class Frames(SpectraEpilogue):
    """A task: a vector of frames."""

    load = address("of the micro-kernel that loads; takes a WindowedFrames")
    spectrum = address("of the one that spreads; takes a Spectrum")
    conjugate = integer("whether the transform is the conjugate one")
    lanes = integer("numbers in a vector")
    itemsize = integer("bytes of a number")
    length = integer("of the transform")
    first = integer("position of a frame from which the window is not zero")
    last = integer("the one from which on it is again")
    lead = integer("positions before the first number of a frame")
    hop = integer("numbers from frame to frame")
    frames = integer("of a signal")
    vectors = integer("of frames of a signal")
    signal = integer("numbers of a signal")
    frequencies = integer("of a spectrum")
    frequency = integer("numbers from frequency to frequency, where spectra are written")
    imaginary = integer("numbers from real to imaginary parts there")
    output = integer("numbers of y of a signal")
    lines = integer("of frames of a signal's part of y")
    spectrum_at = address("of spectra that are no output, in a thread's scratch")
    power_at = address("of powers that are no output")
    apart = address("of outputs of fewer frames than a vector has")
    window = address("of the window")
    halves = address("of twiddle factors, see Spectrum")
    permutation = address("of the order of the transform, see Spectrum")
    fast = integer("bytes of complex vectors that the first-level cache holds")
    scratch_bytes = integer("of a thread")


@region
def _spectra(task, thread, x, y, scratch, passes, geometry):
    """A vector of frames of a signal; x, y and scratch are handles, geometry: Frames. The last vector ends with the last frame; of fewer
    frames than a vector has the outputs are copied out of scratch."""
    g = geometry[0]
    size, block = g.itemsize, pointed(scratch) + thread * g.scratch_bytes
    signal, vector = split(task, g.vectors)
    frame, few = max(0, min(vector * g.lanes, g.frames - g.lanes)), g.frames < g.lanes
    source, to = pointed(x) + (signal * g.signal + frame * g.hop - g.lead) * size, pointed(y) + (signal * g.output + frame) * size
    call(
        g.load,
        WindowedFrames(
            conjugate=g.conjugate, lanes=g.lanes, itemsize=size, rows=block, x=source, window=g.window, hop=g.hop,
            frames=min(g.lanes, g.frames), length=g.length, first=g.first, last=g.last,
        ),
    )  # fmt: skip
    transform(passes, block, g.length, g.lanes, size, g.fast)
    made, line = block + g.apart if few else to, max(g.frames, g.lanes)
    at = made if g.stages == 1 else block + g.spectrum_at
    call(
        g.spectrum,
        Spectrum(
            back=0, lanes=g.lanes, itemsize=size, spectrum=at, x=block, n=g.length // 2, stride=g.frequency, im_step=g.imaginary,
            twiddles=g.halves, permutation=g.permutation,
        ),
    )  # fmt: skip
    if g.stages > 1:
        summed = g.stages == 3
        call(
            g.powers,
            Powers(
                root=g.root, lanes=g.lanes, itemsize=size, to=block + g.power_at if summed else made, step=g.lanes if summed else line,
                spectrum=at, frequency=g.frequency, imaginary=g.imaginary, frequencies=g.frequencies,
            ),
        )  # fmt: skip
        if summed:
            call(
                g.sums,
                BandSums(
                    lanes=g.lanes, itemsize=size, to=made, step=line, x=block + g.power_at, filters=g.lines, bias=g.bias,
                    first=g.band_first, places=g.band_places, steps=g.band_steps, weights=g.weights,
                ),
            )  # fmt: skip
    if few:
        for i in range(g.lines):
            copy_bytes(to + i * g.frames * size, made + i * g.lanes * size, g.frames * size)


def transforms(length: int) -> bool:
    """Whether frames are transformed here: those of even lengths without a prime factor beyond 5."""
    if length < 4 or length % 2:
        return False
    try:
        factors(length // 2)
    except ValueError:
        return False
    return True


def cycles(length: int, frames: int, itemsize: int) -> float:
    """Of one core, for the frames of a signal."""
    return -(-frames // machine().lanes(itemsize)) * length * (NUMBER + BUTTERFLY * np.log2(length))


class Places(NamedTuple):
    """Where numbers lie, counted in numbers of x, and in lines of frames of y, where these are spectra."""

    lead: int  # positions of the window before a frame's first number
    hop: int  # from frame to frame
    signal: int  # from signal to signal
    frequency: int  # lines from frequency to frequency
    imaginary: int  # lines from real to imaginary parts


class Epilogue(NamedTuple):
    """What is made of spectra: powers, or magnitudes (`root`); of them the sums of bands, if there are any."""

    root: bool
    bands: Bands | None = None


def _epilogue(epilogue: Epilogue | None, lanes: int, itemsize: int) -> dict[str, int]:
    """Fields of SpectraEpilogue, which point into the bands."""
    fields = dict.fromkeys(SpectraEpilogue.fields(), 0) | {"stages": 1}
    if epilogue is not None:
        fields |= {"stages": 2, "powers": powers(epilogue.root, lanes, itemsize), "root": epilogue.root}
    if epilogue is not None and epilogue.bands is not None:
        found = epilogue.bands
        fields |= {
            "stages": 3, "sums": band_sums(lanes, itemsize), "bias": found.bias.ctypes.data, "weights": found.weights.ctypes.data,
            "band_first": found.first.ctypes.data, "band_places": found.places.ctypes.data, "band_steps": found.steps.ctypes.data,
        }  # fmt: skip
    return fields


Bind = Callable[[Array, Array, Array], Callable[[], None]]


def spectra(
    window: Array, frames: int, signals: int, places: Places, *, conjugate: bool, threads: int, epilogue: Epilogue | None = None
) -> tuple[Bind, int]:
    """(what binds x, y and scratch to a run, bytes of scratch).

    window: (length,), as long as the transform, zero where a frame has no numbers; frames: of each signal; conjugate: e^(+2 pi i k t /
    length). y is (signals, 2 (length // 2 + 1), frames); with `epilogue` (signals, length // 2 + 1, frames), or a line for each filter.
    """
    length, size, dtype = len(window), window.itemsize, window.dtype
    lanes, known = machine().lanes(size), tables(len(window), size)
    inside = np.flatnonzero(window)
    held = np.zeros(-(-length // lanes) * lanes, dtype)
    held[:length] = window / 2  # `spectrum` gives twice the spectrum
    vectors, width, frequencies = -(-frames // lanes), max(frames, lanes), length // 2 + 1
    found = epilogue.bands if epilogue else None
    lines = len(found.bias) if found else frequencies if epilogue else 2 * frequencies
    frequency, imaginary = (lanes, frequencies * lanes) if epilogue else (places.frequency * width, places.imaginary * width)
    parts = length, 2 * frequencies * bool(epilogue), frequencies * bool(found), lines * (frames < lanes)  # vectors of each part of scratch
    starts = np.cumsum([0, *(whole(vectors * lanes * size) for vectors in parts)]).tolist()
    place = {"lanes": lanes, "itemsize": size}
    geometry = Frames.packed(
        load=micro_kernel.address(_load, WindowedFrames, conjugate=int(conjugate), **place), spectrum=spectrum(lanes, size),
        conjugate=int(conjugate), **place, length=length, first=inside[0] if len(inside) else 0, last=inside[-1] + 1 if len(inside) else 0,
        lead=places.lead, hop=places.hop, frames=frames, vectors=vectors, signal=places.signal, frequencies=frequencies,
        frequency=frequency, imaginary=imaginary, output=lines * frames, lines=lines, spectrum_at=starts[1],
        power_at=starts[2], apart=starts[3], window=held.ctypes.data, halves=known.halves.ctypes.data,
        permutation=known.permutation.ctypes.data, fast=fast(), scratch_bytes=starts[4], **_epilogue(epilogue, lanes, size),
    )  # fmt: skip
    threads = threads_for(signals * cycles(length, frames, size), threads)
    launch = _spectra.ready(0, 0, 0, known.forward, geometry)

    def bind(x: Array, y: Array, scratch: Array) -> Callable[[], None]:
        handles = handle(x), handle(y), handle(scratch)

        def run(keep_alive: tuple[object, ...] = (x, y, scratch, held, known, epilogue)) -> None:
            launch(threads, signals * vectors, *handles, known.forward, geometry)

        return run

    return bind, threads * starts[4]
