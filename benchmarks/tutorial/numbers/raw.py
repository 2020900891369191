"""Section 9: banks of 1-D kernels on raw audio, and the Fourier transform as a layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import signal

import kernels
from benchmarks.tutorial import frontend, learned, pack
from benchmarks.tutorial.sound import RATE, Scene, hertz

GABOR_NOTES = range(45, 77)  # one kernel a semitone, 110 Hz up
N_FFT, HOP = 256, 128
SECONDS = 1.0
MOST = 32  # kernels of a bank that the page shows
Floats = npt.NDArray[np.float64]


def gabor(rate: int, taps: int) -> Floats:
    """(32, taps): waves under a bell, one a semitone; the bell's width is a quarter of the kernel."""
    at = np.arange(taps) - (taps - 1) / 2
    bell = np.exp(-0.5 * (at / (taps / 6)) ** 2)
    return np.stack([bell * np.cos(2 * np.pi * hertz(midi) * at / rate) for midi in GABOR_NOTES])


def unit(bank: npt.ArrayLike) -> Floats:
    """Each kernel with energy 1, so that banks can be compared, sorted by the frequency it answers to most; of many every n-th."""
    found = np.asarray(bank, np.float64)
    found = found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
    peaks = np.abs(np.fft.rfft(found, 4 * found.shape[1])).argmax(1)
    ordered = found[np.argsort(peaks, kind="stable")]
    return ordered[:: -(-len(ordered) // MOST)]


def response(bank: Floats, frequency: float, rate: int) -> Floats:
    """How loud each kernel's output is for a tone of amplitude 1, by the library: the root of twice the mean square of `conv1d`."""
    taps = bank.shape[1]
    tone = np.cos(2 * np.pi * frequency * np.arange(taps + rate) / rate)
    out = kernels.conv1d(tone[None, None], bank[:, None])[0]
    return np.sqrt(2 * (out**2).mean(1))


def banks() -> list[dict[str, Any]]:
    """Random, Gabor and, where they can be had, learned kernels."""
    found = learned.find()
    rate, taps = (found.rate, found.filters.shape[1]) if found else (learned.RATE, learned.TAPS)
    count = min(len(GABOR_NOTES), len(found.filters)) if found else len(GABOR_NOTES)
    start = found.before if found is not None and found.before is not None else np.random.default_rng(3).standard_normal((count, taps))
    where = "before training" if found is not None and found.before is not None else "normal values"
    found_banks: list[tuple[str, str, Floats]] = [
        ("random", f"Random numbers, {where}: each answers a little to everything.", unit(start)),
        ("Gabor", "Waves under a bell, one a semitone: what one would build by hand.", unit(gabor(rate, taps))),
    ]
    if found:
        shown = unit(found.filters)
        some = f"; {len(shown)} of them are shown" if len(shown) < len(found.filters) else ""
        found_banks.append(("learned", f"{found.source}{some}.", shown))
    return [
        {"name": name, "what": what, "rate": rate, "filters": pack.array(bank),
         "checks": [{"hertz": f, "response": response(bank, f, rate).tolist()} for f in (220.0, 440.0)]}
        for name, what, bank in found_banks
    ]  # fmt: skip


def transform(scene: Scene) -> dict[str, Any]:
    """The STFT of a second of the scene by one layer, and how far SciPy's numbers are from it."""
    x = scene.samples[int(1.0 * RATE) : int((1.0 + SECONDS) * RATE)]
    window = signal.get_window("hann", N_FFT)
    ours = frontend.stft(x, N_FFT, HOP)
    theirs = signal.ShortTimeFFT(window, HOP, RATE, fft_mode="onesided", phase_shift=None)
    centred = np.stack([np.fft.rfft(np.pad(x, N_FFT // 2)[f * HOP : f * HOP + N_FFT] * window) for f in range(ours.shape[1])], axis=1)
    scipys = theirs.stft(x, p0=0, p1=ours.shape[1])
    return {
        "size": pack.array(np.abs(ours)), "n_fft": N_FFT, "hop": HOP, "rate": RATE, "window": pack.array(window),
        "scipy": float(np.abs(np.abs(ours) - np.abs(scipys)).max() / np.abs(ours).max()),
        "numpy": float(np.abs(ours - centred).max() / np.abs(ours).max()),
        "excerpt": pack.array(x),
    }  # fmt: skip


def numbers(scene: Scene) -> dict[str, Any]:
    """Banks and transform."""
    return {"banks": banks(), "stft": transform(scene)}
