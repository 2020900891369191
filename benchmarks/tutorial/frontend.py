"""Sound into pictures, by the library's own convolutions: the short-time Fourier transform, log-mel bands, constant-Q bands.

Each is `kernels.conv1d` with a bank of windowed waves as its weight and the hop as its stride, which section 9 shows.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage, signal

import kernels
from benchmarks.tutorial.sound import FRAMES, HOP, RATE, hertz

N_FFT = 1024
BANDS = 80
FLOOR_DB = 70.0
NEAR_DB = 24.0  # of the constant-Q picture: partials, without the beats between them
SEMITONES = 60  # of the constant-Q picture, one bin each
LOWEST = 45  # MIDI number of its first bin, the A of 110 Hz
Floats = npt.NDArray[np.float64]


def waves(n_fft: int, window: npt.ArrayLike) -> Floats:
    """(2 * bins, 1, n_fft): the real, then the imaginary parts of exp(-2 pi i k n / n_fft), each times the window."""
    k, n = np.arange(n_fft // 2 + 1)[:, None], np.arange(n_fft)[None]
    angle = 2 * np.pi * ((k * n) % n_fft) / n_fft
    return (np.concatenate([np.cos(angle), -np.sin(angle)]) * np.asarray(window))[:, None]


def stft(samples: npt.ArrayLike, n_fft: int = N_FFT, hop: int = HOP) -> npt.NDArray[np.complex128]:
    """(bins, frames): frame f is centred on sample f * hop. The last half window is padding."""
    x = np.asarray(samples, dtype=np.float64)[None, None]
    both = kernels.conv1d(x, waves(n_fft, signal.get_window("hann", n_fft)), stride=hop, padding=n_fft // 2)[0]
    bins = n_fft // 2 + 1
    return both[:bins] + 1j * both[bins:]


def mel(frequency: npt.ArrayLike) -> Floats:
    """The mel scale of O'Shaughnessy (1987): 2595 log10(1 + f / 700)."""
    return 2595 * np.log10(1 + np.asarray(frequency, dtype=np.float64) / 700)


def band_centres(bands: int = BANDS, rate: int = RATE) -> Floats:
    """Centre frequency of each band in hertz, evenly spaced in mel from 0 to half the rate."""
    edges = np.linspace(0, float(mel(rate / 2)), bands + 2)
    return 700 * (10 ** (edges[1:-1] / 2595) - 1)


def triangles(bands: int = BANDS, n_fft: int = N_FFT, rate: int = RATE) -> Floats:
    """(bands, bins): triangles of height 1, each from its lower neighbour's centre to its upper one's."""
    edges = 700 * (10 ** (np.linspace(0, float(mel(rate / 2)), bands + 2) / 2595) - 1)
    bins = np.arange(n_fft // 2 + 1) * rate / n_fft
    up = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    down = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    return np.clip(np.minimum(up, down), 0, None)


def scaled(power: Floats, loudest: float | None = None, floor: float = FLOOR_DB) -> Floats:
    """Decibels as 0 … 1: 1 is the loudest value, 0 is `floor` below it and all that is softer."""
    decibels = 10 * np.log10(np.maximum(power, 1e-12))
    return np.clip((decibels - (decibels.max() if loudest is None else loudest)) / floor + 1, 0, 1)


def log_mel(samples: npt.ArrayLike) -> Floats:
    """(BANDS, FRAMES), low bands first, 0 … 1."""
    return scaled(triangles() @ np.abs(stft(samples)[:, :FRAMES]) ** 2)


def channels(samples: npt.ArrayLike) -> Floats:
    """(3, BANDS, FRAMES): log-mel, its difference from frame to frame, and its percussive part.

    The percussive part is what a median along frequency keeps and a median along time does not (D. Fitzgerald, DAFx 2010).
    """
    spectrum = np.abs(stft(samples)[:, :FRAMES])
    loud, power = log_mel(samples), triangles() @ spectrum**2
    sustained, struck = ndimage.median_filter(spectrum, (1, 17)), ndimage.median_filter(spectrum, (31, 1))
    share = struck**2 / (struck**2 + sustained**2 + 1e-12)
    percussive = scaled(triangles() @ (share * spectrum) ** 2, float(10 * np.log10(max(power.max(), 1e-12))))
    return np.stack([loud, np.diff(loud, axis=1, prepend=loud[:, :1]), percussive])


def semitone_power(samples: npt.ArrayLike) -> Floats:
    """(SEMITONES, FRAMES): power in bins of a semitone, by kernels of 17 periods."""
    periods, longest = 17, 2560
    weight = np.zeros((2 * SEMITONES, 1, longest))
    for bin_ in range(SEMITONES):
        frequency = hertz(LOWEST + bin_)
        size = min(longest, int(periods * RATE / frequency) // 2 * 2)
        at = np.arange(size) - size // 2
        window = signal.get_window("hann", size) / size
        where = slice(longest // 2 - size // 2, longest // 2 - size // 2 + size)
        weight[bin_, 0, where] = np.cos(2 * np.pi * frequency * at / RATE) * window
        weight[SEMITONES + bin_, 0, where] = np.sin(2 * np.pi * frequency * at / RATE) * window
    both = kernels.conv1d(np.asarray(samples, np.float64)[None, None], weight, stride=HOP, padding=longest // 2)[0, :, :FRAMES]
    return both[:SEMITONES] ** 2 + both[SEMITONES:] ** 2


def constant_q(samples: npt.ArrayLike, loudest: float | None = None) -> Floats:
    """(SEMITONES, FRAMES): 0 … 1, one bin a semitone from LOWEST up, so that a transposition is a shift.

    1 is `loudest` decibels, or the picture's own loudest value; 0 is NEAR_DB below it.
    """
    return scaled(semitone_power(samples), loudest, NEAR_DB)
