"""What needs no learning: the fundamental by autocorrelation, onsets by spectral flux."""

from __future__ import annotations

import numpy as np

from benchmarks.learning.sounds import FRAMES, LOWEST, NOTES, RATE, Floats, Ints, hertz


def by_autocorrelation(x: Floats) -> Ints:
    """Classes of notes (count, 1, length): the lag of the highest peak of the autocorrelation (each lag over as many products as it has)
    within the range of notes, by a parabola through its neighbours. L. Rabiner, IEEE Trans. ASSP 25(1), 1977."""
    length = x.shape[-1]
    spectra = np.fft.rfft(x[:, 0], 2 * length)
    correlation = np.fft.irfft(np.abs(spectra) ** 2)[:, :length] / (length - np.arange(length))
    shortest, longest = int(RATE / hertz(LOWEST + NOTES)), int(RATE / hertz(LOWEST - 1)) + 1
    found = np.empty(len(x), np.int64)
    for i, line in enumerate(correlation):
        part = line[shortest : longest + 1]
        peaks = np.flatnonzero((part[1:-1] >= part[:-2]) & (part[1:-1] > part[2:])) + 1
        if not len(peaks):
            found[i] = 0
            continue
        # multiples of the period are as high: the shortest lag within a tenth of the highest
        high = peaks[part[peaks] > 0.9 * part[peaks].max()][0]
        a, b, c = part[high - 1 : high + 2]
        lag = shortest + high + 0.5 * (a - c) / (a - 2 * b + c)
        found[i] = np.clip(round(69 + 12 * np.log2(RATE / lag / 440)) - LOWEST, 0, NOTES - 1)
    return found


def by_flux(x: Floats) -> Ints:
    """1 where the rise of all bands from frame to frame in the middle exceeds the median of its surroundings most."""
    rise = np.maximum(np.diff(x[:, 0], axis=2), 0).sum(1)
    middle = FRAMES // 2
    near = rise[:, middle - 4 : middle + 3].max(1)
    level = np.median(near - np.median(rise, axis=1))
    return (near - np.median(rise, axis=1) > level).astype(np.int64)
