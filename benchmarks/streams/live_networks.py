"""Networks that listen live, as published, with made-up weights, and what they hear: samples, or frames of log-mel bands.

- crepe: pitch. J. W. Kim, J. Salamon, P. Li, J. P. Bello, "CREPE: A convolutional representation for pitch estimation", ICASSP 2018, its
  "tiny" size; on samples at 16 kHz as they come, where the paper cuts out frames.
- onset: J. Schlüter and S. Böck, "Improved musical onset detection with convolutional neural networks", ICASSP 2014; three windows, 80
  bands, 100 frames a second, fully connected layers as convolutions.
- encoder: the strided convolutions of a variational autoencoder for audio. A. Caillon and P. Esling, "RAVE", arXiv 2111.05011, with the
  causal padding of A. Caillon and P. Esling, "Streamable neural audio synthesis with non-causal convolutions", arXiv 2204.07064.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import fft
from scipy.signal import get_window

import kernels
from benchmarks.inputs.frontends import mel_filters
from benchmarks.workloads.layer import Floats


@dataclass(frozen=True)
class Listener:
    """A network, the shape of its blocks (None: time), the rate of its samples, and what makes blocks of samples."""

    name: str
    layers: tuple[kernels.Layer, ...]
    shape: tuple[int | None, ...]
    rate: int
    front: Callable[[], Callable[[Floats], Floats]]


def _weights(*shape: int) -> Floats:
    rng = np.random.default_rng(sum(shape))
    return (rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)


def _samples() -> Callable[[Floats], Floats]:
    return lambda block: block[None, None]


class LogMel:
    """Frames of log-mel bands for each of several window lengths, as samples come: (1, windows, bands, frames)."""

    def __init__(self, rate: int, hop: int, windows: tuple[int, ...], bands: int) -> None:
        self.hop = hop
        self._windows = [(n, get_window("hann", n).astype(np.float32), mel_filters(rate, n, bands).astype(np.float32)) for n in windows]
        self._past = np.zeros(max(windows), np.float32)
        self._until = hop  # samples until the next frame

    def __call__(self, block: Floats) -> Floats:
        heard = np.concatenate([self._past, block])
        ends = range(len(self._past) + self._until, len(heard) + 1, self.hop)
        self._until = self._until + len(ends) * self.hop - len(block)
        self._past = heard[len(block) :]
        bands = self._windows[0][2].shape[0]
        frames = np.empty((1, len(self._windows), bands, len(ends)), np.float32)
        for w, (n, shape, filters) in enumerate(self._windows):
            for t, end in enumerate(ends):
                spectrum = np.abs(fft.rfft(heard[end - n : end] * shape)) ** 2
                frames[0, w, :, t] = np.log(filters @ spectrum + 1e-9)
        return frames


def crepe() -> Listener:
    """CREPE's tiny size on samples as they come: an output every 256, 16 ms."""
    layers = []
    channels = 1
    for c_out, taps, stride in ((128, 512, 4), (16, 64, 1), (16, 64, 1), (16, 64, 1), (32, 64, 1), (64, 64, 1)):
        pads = ((taps - stride) // 2, (taps - stride + 1) // 2)
        layers += [
            kernels.layer("conv1d", _weights(c_out, channels, taps), _weights(c_out, 1)[:, 0], stride=stride, padding=(pads,),
                          activation="relu"),
            kernels.layer("max_pool1d", 2),
        ]  # fmt: skip
        channels = c_out
    layers.append(kernels.layer("conv1d", _weights(360, 64, 4), _weights(360, 1)[:, 0], activation="sigmoid"))
    return Listener("crepe", tuple(layers), (1, 1, None), 16000, _samples)


def onset() -> Listener:
    """Schlüter and Böck's onset detector: 15 frames of three spectrograms."""
    layers = (
        kernels.layer("conv2d", _weights(10, 3, 3, 7), _weights(10, 1)[:, 0], activation="tanh"), kernels.layer("max_pool2d", (3, 1)),
        kernels.layer("conv2d", _weights(20, 10, 3, 3), _weights(20, 1)[:, 0], activation="tanh"), kernels.layer("max_pool2d", (3, 1)),
        kernels.layer("conv2d", _weights(256, 20, 8, 7), _weights(256, 1)[:, 0], activation="sigmoid"),
        kernels.layer("conv2d", _weights(1, 256, 1, 1), _weights(1, 1)[:, 0], activation="sigmoid"),
    )  # fmt: skip
    return Listener("onset", layers, (1, 3, 80, None), 44100, lambda: LogMel(44100, 441, (1024, 2048, 4096), 80))


def encoder() -> Listener:
    """RAVE's kind of encoder, causal: 64 samples an output, 128 channels."""
    layers = []
    channels = 1
    for c_out, taps, stride in ((16, 7, 1), (32, 9, 4), (64, 9, 4), (128, 9, 4), (128, 3, 1), (128, 3, 1)):
        layers.append(
            kernels.layer("conv1d", _weights(c_out, channels, taps), _weights(c_out, 1)[:, 0], stride=stride, padding=((taps - 1, 0),),
                          activation=("leaky_relu", 0.2))
        )  # fmt: skip
        channels = c_out
    return Listener("encoder", tuple(layers), (1, 1, None), 44100, _samples)


NETWORKS: dict[str, Callable[[], Listener]] = {"crepe": crepe, "onset": onset, "encoder": encoder}


def options_of(layer: kernels.Layer) -> dict[str, Any]:
    """Its options with PyTorch's defaults filled in."""
    return {"stride": 1, "padding": 0, "activation": None} | layer.options
