"""What a first layer has learnt: its filters, their spectra, and how well each is tuned to one frequency."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from benchmarks.learning.sounds import RATE, Floats


def spectra(filters: Floats) -> tuple[Floats, Floats]:
    """(frequencies, magnitudes (filter, frequency)) of filters (count, taps), padded to twice their length."""
    taps = filters.shape[1]
    magnitude = np.abs(np.fft.rfft(filters, 2 * taps, axis=1))
    return np.fft.rfftfreq(2 * taps, 1 / RATE), magnitude


def sorted_by_pitch(filters: Floats) -> tuple[Floats, Floats, Floats]:
    """(filters, peak frequencies, magnitudes) sorted by the frequency of each filter's peak."""
    frequencies, magnitude = spectra(filters)
    order = np.argsort(frequencies[magnitude.argmax(1)], kind="stable")
    return filters[order], frequencies[magnitude[order].argmax(1)], magnitude[order]


def tuning(filters: Floats) -> Floats:
    """Of each filter, the largest share of its energy in one band of 125 Hz; noise has 125 Hz of RATE/2, 0.03."""
    frequencies, magnitude = spectra(filters)
    power, width = magnitude**2, round(125 / frequencies[1])
    sums = np.cumsum(np.pad(power, ((0, 0), (1, 0))), axis=1)
    return (sums[:, width:] - sums[:, :-width]).max(1) / power.sum(1)


def as_json(filters: Floats, comment: str) -> str:
    """A comment, rate, peak frequencies, filters and spectra (every other frequency up to half the rate), sorted, over their largest."""
    ordered, peaks, magnitude = sorted_by_pitch(filters)
    scaled = (ordered / np.abs(ordered).max(1, keepdims=True)).astype(np.float64)
    loud = (magnitude / magnitude.max(1, keepdims=True)).astype(np.float64)
    data: dict[str, Any] = {
        "comment": comment,
        "source": f"{len(filters)} filters of {filters.shape[1]} taps at {RATE} Hz, learnt from notes by python -m benchmarks learn",
        "rate": RATE, "peak_hertz": peaks.round(1).tolist(), "filters": scaled.round(2).tolist(),
        "spectra": loud[:, :256:2].round(2).tolist(), "spectra_hertz": spectra(ordered)[0][:256:2].round(1).tolist(),
    }  # fmt: skip
    return json.dumps(data, separators=(",", ":")) + "\n"
