"""Spectra of frames, their power and magnitude, sums of bands: against NumPy in float64, with memory that nobody may touch around."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from memory import Guarded, given

from kernels.methods.fft.frames import Epilogue, Places, spectra
from kernels.methods.fft.spectrogram import STEP, bands

Array = np.ndarray


def filters(count: int, frequencies: int, dtype: Any = np.float64) -> Array:
    """Triangles that overlap by half, the last one of a single frequency at the end, one without any."""
    centres = np.linspace(0, frequencies - 1, count + 1)
    found = np.maximum(0, 1 - np.abs(np.arange(frequencies) - centres[:, None]) / (centres[1] - centres[0]))[:count]
    found[count // 2], found[-1], found[-1, -1] = 0, 0, 2.5
    return found.astype(dtype)


def test_bands_hold_every_weight() -> None:
    for count, frequencies in ((8, 33), (40, 257), (128, 513), (30, 100)):
        matrix = filters(count, frequencies)
        found = bands(matrix, None)
        assert found is not None
        built = np.zeros_like(matrix)
        for row, first, place, steps in zip(built, found.first, found.places, found.steps):
            assert first >= 0 and first + STEP * steps <= frequencies
            row[first : first + STEP * steps] = found.weights[place : place + STEP * steps]
        np.testing.assert_array_equal(built, matrix)


def test_what_is_no_bands() -> None:
    dense = np.random.default_rng(0).standard_normal((16, 64))
    spread = np.zeros((16, 64))
    spread[:, 0] = spread[:, -1] = 1
    for matrix in (dense, spread, np.eye(3), np.eye(2)):
        assert bands(matrix, None) is None


@pytest.mark.parametrize("dtype, bound", [("float32", 1e-6), ("float64", 1e-14)])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("kind", ["spectra", "power", "magnitude", "power in bands", "magnitude in bands"])
@pytest.mark.parametrize(
    "length, hop, frames, signals", [(64, 16, 40, 2), (400, 160, 17, 1), (256, 64, 3, 3), (512, 512, 16, 1), (40, 10, 1, 2)]
)
def test_what_is_made_of_spectra(
    length: int, hop: int, frames: int, signals: int, kind: str, threads: int, dtype: str, bound: float
) -> None:  # fmt: skip
    rng, frequencies = np.random.default_rng(length), length // 2 + 1
    window, total = np.hanning(length + 1)[:-1].astype(dtype), length + hop * (frames - 1) + 5
    x = given(rng.standard_normal((signals, total)).astype(dtype))
    matrix, bias = filters(max(frequencies // 4, 5), frequencies, dtype), rng.standard_normal(max(frequencies // 4, 5)).astype(dtype)
    cut = np.lib.stride_tricks.sliding_window_view(x.array.astype(np.float64), length, axis=1)[:, ::hop][:, :frames]
    found = np.fft.rfft(cut * window).swapaxes(1, 2)
    if kind == "spectra":
        epilogue, wanted = None, np.concatenate([found.real, found.imag], 1)
    else:
        of_bands = bands(matrix, bias) if "bands" in kind else None
        assert of_bands or "bands" not in kind
        epilogue = Epilogue("magnitude" in kind, of_bands)
        wanted = np.abs(found) if epilogue.root else np.abs(found) ** 2
        if of_bands:
            wanted = matrix.astype(np.float64) @ wanted + bias[:, None]
    y = Guarded(wanted.shape, dtype)
    places = Places(0, hop, total, 1, frequencies)
    bind, nbytes = spectra(window, frames, signals, places, conjugate=False, threads=threads, epilogue=epilogue)
    scratch = np.full(nbytes, 0xFF, np.uint8)
    bind(x.array, y.array, scratch)()
    np.testing.assert_allclose(y.array, wanted, atol=4 * bound * np.abs(wanted).max(), rtol=0)
    assert y.zones_untouched() and x.unchanged()
