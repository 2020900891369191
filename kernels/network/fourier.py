"""Rows of weights that are the cosines and sines of a windowed Fourier transform, as STFT layers hold them.

Of a transform of `length` the row of frequency 0 is the window; every other row is the window times cos or -+ sin of 2 pi k (t + lead) /
length. Rows are all cosines and then all sines, or a pair of them for each frequency.
"""

from __future__ import annotations

import dataclasses

import numpy as np

Array = np.ndarray

# of the window's largest number: what weights may be off by, by their bytes: four roundings of float32; cosines of thousands of radians
ALIKE = {4: 2.0**-21, 8: 2.0**-38}


@dataclasses.dataclass(frozen=True)
class Fourier:
    """window: (length,), zero where a frame has no taps; lead: positions of it before the first tap; paired: rows are
    (frequency, part), else (part, frequency); conjugate: sines stand with a plus."""

    window: Array
    lead: int
    paired: bool
    conjugate: bool


def fourier(weight: Array) -> Fourier | None:
    """What a matrix (rows, taps) transforms; None where it is something else."""
    rows, taps = weight.shape
    bins = rows // 2
    length = 2 * (bins - 1)
    if rows % 2 or bins < 3 or taps > length or not np.isfinite(weight).all():
        return None
    exact = weight.astype(np.float64)
    for paired in (False, True):
        cosines, sines = exact.reshape(bins, 2, taps).swapaxes(0, 1) if paired else exact.reshape(2, bins, taps)
        window = cosines[0]
        tap = int(np.abs(window).argmax())
        bound = ALIKE[weight.itemsize] * abs(window[tap])
        if not bound or np.abs(sines[0]).max() > bound:
            continue
        for conjugate in (False, True):
            turn = np.arctan2(sines[1, tap] if conjugate else -sines[1, tap], cosines[1, tap]) + np.pi * (window[tap] < 0)
            lead = (round(turn * length / (2 * np.pi)) - tap) % length
            if lead + taps > length:
                continue
            angle = 2 * np.pi / length * (np.arange(bins)[:, None] * np.arange(lead, lead + taps) % length)
            if np.abs(cosines - window * np.cos(angle)).max() > bound:
                continue
            if np.abs(sines - window * np.sin(angle if conjugate else -angle)).max() <= bound:
                whole = np.zeros(length, weight.dtype)
                whole[lead : lead + taps] = weight[0]
                return Fourier(whole, lead, paired, conjugate)
    return None
