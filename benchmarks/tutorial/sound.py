"""What the page plays and draws: a four-second scene, or the listener's own clip, and single sounds for the first section.

The scene is made for teaching: a chord, a note with vibrato and a melody, one after the other, over a few drum hits. Each of them shows
another shape in a spectrogram: level lines, a wave, steps, upright strokes. Notes are sums of decaying partials, so the same scene can be
played a semitone higher. It is deterministic. A listener's clip is transposed by a phase vocoder instead (`transposed`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import signal

from benchmarks.inputs.clip import Clip

RATE = 16000
HOP = 256
FRAMES = 256
LENGTH = FRAMES * HOP  # 4.096 s
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Region:
    """A thing to be captured: its name, its seconds from … to, its hertz from … to."""

    name: str
    start: float
    stop: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Scene:
    """Mono sound at RATE, LENGTH samples, with what can be seen in it. `tonal` is what section 8 transposes."""

    name: str
    samples: Floats
    tonal: Floats
    regions: tuple[Region, ...]
    synthesised: bool


def hertz(midi: float) -> float:
    """The frequency of a MIDI note number; 69 is the A of 440 Hz."""
    return 440.0 * 2.0 ** ((midi - 69) / 12)


def note(midi: float, seconds: float, *, decay: float = 1.5, vibrato: float = 0.0, rate: int = RATE) -> Floats:
    """Ten partials of falling strength; `vibrato` in semitones, 5.5 times a second."""
    t = np.arange(int(seconds * rate)) / rate
    bend = 2.0 ** (vibrato / 12 * np.sin(2 * np.pi * 5.5 * t))
    phase = 2 * np.pi * np.cumsum(hertz(midi) * bend) / rate
    out = np.zeros_like(t)
    for partial in range(1, 11):
        if hertz(midi) * partial < 0.45 * rate:
            out += 0.75 ** (partial - 1) / partial * np.exp(-decay * (1 + 0.15 * partial) * t) * np.sin(partial * phase + partial)
    return out * np.minimum(t / 0.006, 1.0) * np.clip((seconds - t) / 0.03, 0.0, 1.0)


def kick(rate: int = RATE, seconds: float = 0.3) -> Floats:
    """A drum with a falling pitch."""
    t = np.arange(int(seconds * rate)) / rate
    return np.exp(-t * 16) * np.sin(2 * np.pi * (48 * t + 4 * (1 - np.exp(-t * 30))))


def snare(rng: np.random.Generator, rate: int = RATE) -> Floats:
    """A drum that is mostly noise."""
    t = np.arange(int(0.25 * rate)) / rate
    return 0.6 * np.exp(-t * 24) * rng.standard_normal(t.size) + 0.4 * np.exp(-t * 30) * np.sin(2 * np.pi * 190 * t)


def room(rng: np.random.Generator, rate: int = RATE, seconds: float = 0.7) -> Floats:
    """A room's answer to a clap: the direct sound, six early reflections, then noise that dies away."""
    t = np.arange(int(seconds * rate)) / rate
    out = 0.14 * rng.standard_normal(t.size) * np.exp(-t * 7) * np.clip((t - 0.03) / 0.03, 0, 1)
    out[0] = 1.0
    for delay, gain in ((0.011, 0.6), (0.017, -0.5), (0.023, 0.45), (0.031, 0.4), (0.043, -0.3), (0.059, 0.3)):
        out[int(delay * rate)] += gain
    return out


def synthesise(semitones: float = 0.0, delay: int = 0) -> Scene:
    """The scene, its notes `semitones` higher, everything `delay` samples later. The drums keep their pitch."""
    tonal, drums = np.zeros(LENGTH), np.zeros(LENGTH)
    rng = np.random.default_rng(26)

    def add(into: Floats, what: Floats, at: float, gain: float) -> None:
        start = int(at * RATE) + delay
        if start < LENGTH:
            into[start : start + what.size] += gain * what[: LENGTH - start]

    for midi in (57, 60, 64, 69):  # A minor
        add(tonal, note(midi + semitones, 0.85, decay=0.8), 0.10, 0.22)
    add(tonal, note(69 + semitones, 0.95, decay=0.3, vibrato=0.6), 1.05, 0.40)
    for step, midi in enumerate((64, 67, 69, 72, 76, 74, 72, 69)):
        add(tonal, note(midi + semitones, 0.24), 2.05 + 0.25 * step, 0.30)
    for midi, at in ((45, 2.05), (41, 2.55), (48, 3.05), (43, 3.55)):
        add(tonal, note(midi + semitones, 0.48), at, 0.30)
    for at in (0.0, 1.0, 2.0, 3.0):
        add(drums, kick(), at + 0.02, 0.7)
    for at in (0.5, 2.5, 3.5):
        add(drums, snare(rng), at + 0.02, 0.45)
    noise = 2e-4 * rng.standard_normal(LENGTH)
    regions = (
        Region("chord", 0.10, 0.95, hertz(57) * 0.95, hertz(69) * 2.1),
        Region("drum hit", 0.50, 0.62, 40.0, 7800.0),
        Region("vibrato", 1.10, 1.95, hertz(69) * 0.88, hertz(69) * 2.2),
        Region("melody note", 2.55, 2.80, hertz(69) * 0.95, hertz(69) * 4.1),
    )
    return Scene("a synthesised scene of four seconds", 0.8 * (tonal + drums + noise), 0.8 * (tonal + noise), regions, True)


def of_clip(clip: Clip) -> Scene:
    """The loudest four seconds of a listener's clip, repeated where it is shorter."""
    whole = np.asarray(clip.mono(RATE), dtype=np.float64)
    if whole.size < LENGTH:
        whole = np.resize(whole, LENGTH)
    energy = np.concatenate([[0.0], np.cumsum(whole**2)])
    starts = np.arange(0, whole.size - LENGTH + 1, HOP)
    best = int(starts[np.argmax(energy[starts + LENGTH] - energy[starts])])
    found = whole[best : best + LENGTH]
    found = found * (0.9 / max(float(np.abs(found).max()), 1e-9))
    return Scene(clip.name, found, found, (), False)


def transposed(scene: Scene, semitones: int) -> Floats:
    """The tonal part, higher: played anew where it is synthesised, else stretched by a phase vocoder and read faster."""
    if scene.synthesised:
        return synthesise(semitones).tonal
    if semitones == 0:
        return scene.tonal
    ratio = 2.0 ** (semitones / 12)
    window, hop = signal.get_window("hann", 1024), 256
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(scene.tonal, (1024, 2048)), 1024)[::hop]
    spectra = np.fft.rfft(frames * window, axis=1)
    expected = 2 * np.pi * hop * np.arange(513) / 1024
    turn = np.angle(spectra[1:]) - np.angle(spectra[:-1]) - expected
    turn = expected + turn - 2 * np.pi * np.round(turn / (2 * np.pi))
    at = np.arange(0, len(spectra) - 1, 1 / ratio)
    index = at.astype(int)
    share = (at - index)[:, None]
    size = (1 - share) * np.abs(spectra[index]) + share * np.abs(spectra[index + 1])
    phase = np.angle(spectra[0]) + np.concatenate([np.zeros((1, 513)), np.cumsum(turn[index[:-1]], axis=0)])
    pieces = np.fft.irfft(size * np.exp(1j * phase), axis=1) * window
    out = np.zeros(hop * len(pieces) + 1024)
    for number, piece in enumerate(pieces):
        out[number * hop : number * hop + 1024] += piece / 1.5
    return np.interp(1024 + np.arange(LENGTH), np.arange(out.size) / ratio, out)
