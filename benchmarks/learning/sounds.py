"""What the networks learn from: notes of known fundamental frequency, and bars of music of known onsets.

Every sound is made anew from its seed: harmonics of random weights, vibrato, detuning, an attack somewhere, noise at 20 to 40 dB below.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from benchmarks.inputs.frontends import mel_filters

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

RATE = 8000
LENGTH = 2048  # samples of an example, 0.26 s
LOWEST, NOTES = 36, 48  # MIDI numbers 36 to 83: C2 (65 Hz) to B5 (988 Hz)
BANDS, FRAMES, HOP, WINDOW = 40, 15, 80, 512  # of an onset example: 10 ms frames at RATE


def hertz(midi: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Frequencies of MIDI numbers."""
    return 440.0 * 2.0 ** ((np.asarray(midi, float) - 69) / 12)


def tone(frequency: float, samples: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """A note with vibrato (up to a quarter of a semitone), harmonics that fall off at a rate of its own, and a decay."""
    t = np.arange(samples) / RATE
    depth, speed = rng.uniform(0, 0.25), rng.uniform(4, 7)
    bend = 2.0 ** (depth / 12 * np.sin(2 * np.pi * (speed * t + rng.random())))
    phase = 2 * np.pi * np.cumsum(frequency * bend) / RATE
    numbers = np.arange(1, int(0.45 * RATE / frequency) + 1)
    weights = rng.uniform(0.2, 1.0, len(numbers)) * numbers ** -rng.uniform(0.5, 1.5)
    sound = (weights[:, None] * np.sin(numbers[:, None] * phase + 2 * np.pi * rng.random((len(numbers), 1)))).sum(0)
    return np.asarray(sound * np.exp(-t * rng.uniform(0, 8)))


def notes(count: int, seed: int) -> tuple[Floats, Ints]:
    """(examples (count, 1, LENGTH), classes): one note each, detuned by up to a fifth of a semitone, with noise, at a level of about 1."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, NOTES, count)
    x = np.empty((count, 1, LENGTH), np.float32)
    for i, note in enumerate(classes):
        sound = tone(float(hertz(LOWEST + note + rng.uniform(-0.2, 0.2))), LENGTH, rng)
        sound += rng.standard_normal(LENGTH) * sound.std() * 10 ** (-rng.uniform(20, 40) / 20)
        x[i, 0] = sound / (sound.std() + 1e-9)
    return x, classes


def bars(count: int, seed: int) -> tuple[Floats, Ints]:
    """(log-mel examples (count, 1, BANDS, FRAMES), classes): 1 where a note begins within a frame of the middle, half of them."""
    rng = np.random.default_rng(seed)
    filters = mel_filters(RATE, WINDOW, BANDS)
    samples = (FRAMES - 1) * HOP + WINDOW
    x, classes = np.empty((count, 1, BANDS, FRAMES), np.float32), rng.integers(0, 2, count)
    for i, onset in enumerate(classes):
        sound = rng.standard_normal(samples) * 10 ** (-rng.uniform(30, 50) / 20)
        middle = WINDOW // 2 + FRAMES // 2 * HOP
        begins = [middle + rng.integers(-HOP // 2, HOP // 2)] if onset else []
        begins += [at for at in (rng.integers(-samples, samples, 3)) if abs(at - middle) > 3 * HOP]
        for at in begins:
            held = tone(float(hertz(rng.uniform(LOWEST, LOWEST + NOTES))), samples, rng)[: samples - max(at, 0)]
            begin, skipped = max(int(at), 0), max(-int(at), 0)
            held = held[skipped:] * np.minimum(1.0, np.arange(skipped, len(held)) / 40)
            sound[begin : begin + len(held)] += held[: samples - begin]
        power = _power(sound)
        x[i, 0] = np.log(filters @ power + 1e-4)
    return (x - x.mean()) / x.std(), classes


def _power(sound: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Power (frequency, frame) of Hann windows."""
    frames = np.lib.stride_tricks.sliding_window_view(sound, WINDOW)[::HOP][:FRAMES]
    return np.asarray(np.abs(np.fft.rfft(frames * np.hanning(WINDOW), axis=1)).T ** 2)
