"""Front ends: what models make of a clip before their first layer sees it. NumPy and SciPy only.

log-mel and linear spectrograms, constant-Q (log-spaced filters over one long STFT) also stacked over harmonics, and raw audio.
`first_layer` gives frames of a clip in the shape and axis order of a workload; whatever is too short is tiled.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import fft
from scipy.signal import get_window

from benchmarks.inputs.clip import Clip
from benchmarks.workloads.layer import Floats, Workload

FMIN = 32.703  # C1, where constant-Q filters begin


def stft_power(audio: Floats, n_fft: int, hop: int) -> npt.NDArray[np.float64]:
    """|STFT|^2, (bins, frames), Hann window, frames centred on multiples of hop."""
    padded = np.pad(audio.astype(np.float64), n_fft // 2, mode="reflect" if audio.size > n_fft // 2 else "constant")
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop]
    window = get_window("hann", n_fft)
    return np.abs(fft.rfft(frames * window, axis=1).T / window.sum()) ** 2


def mel_filters(rate: int, n_fft: int, bands: int, fmin: float = 20.0) -> npt.NDArray[np.float64]:
    """Triangles evenly spaced on the mel scale (HTK's formula), (bands, bins)."""
    mel = np.linspace(2595 * np.log10(1 + fmin / 700), 2595 * np.log10(1 + rate / 2 / 700), bands + 2)
    return _triangles(700 * (10 ** (mel / 2595) - 1), rate, n_fft)


def constant_q_filters(rate: int, n_fft: int, bands: int, per_octave: int, fmin: float) -> npt.NDArray[np.float64]:
    """Triangles of constant width in octaves from fmin up; bands past half the rate stay empty, as in the models themselves."""
    return _triangles(fmin * 2.0 ** (np.arange(-1, bands + 1) / per_octave), rate, n_fft)


def _triangles(edges: npt.NDArray[np.float64], rate: int, n_fft: int) -> npt.NDArray[np.float64]:
    bins = np.arange(n_fft // 2 + 1) * rate / n_fft
    width = rate / n_fft  # a triangle narrower than a bin would catch none: each reaches at least one bin's width to both sides
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    low, high = np.minimum(low, centre - width), np.maximum(high, centre + width)
    filters = np.maximum(0.0, np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre)))
    filters[edges[1:-1] > rate / 2] = 0.0
    return filters


def log_mel(clip: Clip, rate: int, n_fft: int, hop: int, bands: int) -> Floats:
    """(bands, frames) in natural log with 1e-9 added: what most taggers take, within a constant."""
    return np.log(mel_filters(rate, n_fft, bands) @ stft_power(clip.mono(rate), n_fft, hop) + 1e-9).astype(np.float32)


def spectrogram(clip: Clip, rate: int, n_fft: int, hop: int, bands: int) -> Floats:
    """(2, bands, frames): linear magnitudes of left and right, the lowest `bands` bins, as source separators take."""
    return np.stack([np.sqrt(stft_power(channel, n_fft, hop))[:bands] for channel in clip.at(rate)]).astype(np.float32)


def harmonic_cqt(clip: Clip, rate: int, n_fft: int, hop: int, bands: int, per_octave: int, harmonics: Sequence[float]) -> Floats:
    """(harmonics, bands, frames): one constant-Q transform per multiple of the lowest pitch, in dB scaled to 0 … 1 over 80 dB."""
    power = stft_power(clip.mono(rate), n_fft, hop)
    stack = np.stack([constant_q_filters(rate, n_fft, bands, per_octave, FMIN * each) @ power for each in harmonics])
    decibel = 10 * np.log10(stack / stack.max() + 1e-8)
    return (decibel / 80 + 1).astype(np.float32)


def first_layer(workload: Workload, clip: Clip) -> Floats:
    """The clip's frames in the workload's shape: from where it sounds, tiled if too short, batch items one after the other in time."""
    options = dict(workload.input or ())
    kind = options.pop("kind")
    if kind == "audio":
        rate = options["rate"]
        found = clip.at(rate) if workload.c_in == 2 else clip.mono(rate)[None]
        return _cut(found[:, None, :], workload, ("-", "time"))
    if kind == "log-mel":
        bands = log_mel(clip, **options)
        if workload.axes == "-,time":  # one band: the mean over frequency, as Musicnn's horizontal filters see it
            return _cut(bands.mean(axis=0)[None, None], workload, ("-", "time"))
        if workload.axes == "-,freq":  # frames are the batch
            return np.ascontiguousarray(_loop(bands.T, 0, workload.n)[:, None, : workload.w])
        return _cut(bands[None], workload, ("freq", "time"))
    found = spectrogram(clip, **options) if kind == "spectrogram" else harmonic_cqt(clip, **options)
    if found.shape[0] > workload.c_in:
        found = found.mean(axis=0, keepdims=True)
    return _cut(found, workload, ("freq", "time"))


def _cut(found: Floats, workload: Workload, axes: tuple[str, str]) -> Floats:
    """(c_in, freq, time) -> (n, c_in, h, w) or (n, c_in, w), consecutive stretches of time for consecutive batch items."""
    swap = workload.axes == ",".join(reversed(axes)) and axes[0] != axes[1]
    other, length = (workload.w, workload.h) if swap else (workload.h, workload.w)
    if found.shape[1] != other:
        found = _loop(found, 1, other)
    found = _loop(found, 2, workload.n * length)
    items = found.reshape(workload.c_in, other, workload.n, length).transpose((2, 0, 3, 1) if swap else (2, 0, 1, 3))
    return np.ascontiguousarray(items).reshape(workload.x_shape)


def _loop(found: Floats, axis: int, length: int) -> Floats:
    """`length` entries along the axis, starting a quarter in (past a fade-in), beginning anew at the end."""
    size = found.shape[axis]
    start = size // 4 if size > length // 4 and axis == found.ndim - 1 else 0
    return np.take(found, (np.arange(length) + start) % size, axis=axis)
