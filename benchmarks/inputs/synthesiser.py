"""The clip that first layers listen to unless told otherwise: 30 s of synthesised polyphonic music.

Real audio is not white: its energy sits in harmonics, decays, repeats and falls silent, and so do the spectrograms made of it. The
synthesiser is deterministic (one seed), stereo, and has what music has: a melody and chords with decaying harmonics, a bass line,
drums and a little noise. frontends.py turns a clip into what models take.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter

from benchmarks.inputs.clip import RATE, Clip

SECONDS = 30.0
SEED = 20260


def _note(frequency: float, seconds: float, decay: float, brightness: float, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """A plucked or struck note: harmonics slightly sharp of their multiples, high ones weaker and sooner gone."""
    t = np.arange(int(seconds * RATE)) / RATE
    out = np.zeros_like(t)
    for harmonic in range(1, 24):
        sharp = frequency * harmonic * np.sqrt(1 + 2e-4 * harmonic**2)  # stiffness of a string
        if sharp > 0.45 * RATE:
            break
        damping = decay * (1 + 0.25 * harmonic)
        length = min(t.size, int(9 / damping * RATE))  # exp(-9): 78 dB down
        # r^n sin(a n + phase) as the impulse response of a two-pole resonator: 10 s of sin() and exp() become half a second.
        angle, phase, r = 2 * np.pi * sharp / RATE, 2 * np.pi * rng.random(), np.exp(-damping / RATE)
        impulse = np.zeros(length)
        impulse[0] = brightness ** (harmonic - 1) / harmonic
        out[:length] += lfilter([np.sin(phase), r * np.sin(angle - phase)], [1.0, -2 * r * np.cos(angle), r * r], impulse)
    attack = np.minimum(t / 0.006, 1.0)
    release = np.clip((seconds - t) / 0.02, 0.0, 1.0)
    return out * attack * release


def _drum(kind: str, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    t = np.arange(int(0.35 * RATE)) / RATE
    noise = rng.standard_normal(t.size)
    if kind == "kick":
        return 1.2 * np.exp(-t * 14) * np.sin(2 * np.pi * (45 * t + 3.5 * (1 - np.exp(-t * 35))))
    if kind == "snare":
        return 0.6 * np.exp(-t * 22) * noise + 0.4 * np.exp(-t * 30) * np.sin(2 * np.pi * 190 * t)
    return 0.3 * np.exp(-t * 70) * np.diff(noise, prepend=0.0)  # hat: differenced noise is bright


def _hertz(midi: float) -> float:
    return 440.0 * 2.0 ** ((midi - 69) / 12)


@cache
def synthesise() -> Clip:
    """The suite's clip: 112 beats a minute, four chords, melody, bass, drums, noise at -54 dB; the last beat of every 8 bars is silent."""
    rng = np.random.default_rng(SEED)
    beat = 60.0 / 112
    mix = np.zeros((2, int(SECONDS * RATE)))

    def add(sound: npt.NDArray[np.float64], at: float, gain: float, pan: float) -> None:
        start = int(at * RATE)
        stop = min(start + sound.size, mix.shape[1])
        for channel, share in enumerate((np.cos(pan * np.pi / 2), np.sin(pan * np.pi / 2))):
            mix[channel, start:stop] += gain * share * sound[: stop - start]

    chords = ((45, 60, 64, 69), (41, 57, 60, 65), (48, 55, 64, 67), (43, 59, 62, 67))  # A minor, F, C, G: bass and three voices
    scale = (69, 72, 74, 76, 79, 81, 84)
    for step in range(int(SECONDS / beat)):
        at, chord = step * beat, chords[step // 4 % 4]
        if step % 32 == 31:
            continue
        add(_note(_hertz(chord[0] - 12), beat * 1.1, 2.0, 0.75, rng), at, 0.35, 0.5)
        if step % 2 == 0:
            for voice, midi in enumerate(chord[1:]):
                add(_note(_hertz(midi + rng.normal(0, 0.03)), beat * 2, 1.2, 0.6, rng), at + 0.008 * voice, 0.16, 0.25 + 0.2 * voice)
        for half in range(2):
            if rng.random() < 0.7:
                melody = _note(_hertz(rng.choice(scale)), beat * rng.uniform(0.5, 1.5), 2.5, 0.85, rng)
                add(melody, at + half * beat / 2, 0.22, rng.uniform(0.3, 0.9))
            add(_drum("hat", rng), at + half * beat / 2, 0.25, 0.7)
        add(_drum("snare" if step % 2 else "kick", rng), at, 0.5, 0.5)
    mix += 0.002 * rng.standard_normal(mix.shape)
    mix *= 0.9 / np.abs(mix).max()
    return Clip("synthetic 30 s clip", RATE, mix.astype(np.float32))
