"""Section 1: pairs of signals, short enough to see each sample, and the sounds that go with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

import kernels
from benchmarks.tutorial import pack, sound
from benchmarks.tutorial.sound import RATE

LOW_RATE = 500  # of the drum as it is drawn: 40 samples are 80 ms
Floats = npt.NDArray[np.float64]


def full(f: npt.ArrayLike, g: npt.ArrayLike, flip: bool) -> Floats:
    """Every overlap of f and g by the library: len(f) + len(g) - 1 numbers, convolution if `flip`, else cross-correlation."""
    signal, kernel = np.asarray(f, np.float64), np.asarray(g, np.float64)
    return kernels.conv1d(signal[None, None], kernel[None, None], padding=kernel.size - 1, flip=flip)[0, 0]


def pairs() -> list[dict[str, Any]]:
    """The presets: name, what it shows, f and g."""
    rng = np.random.default_rng(1)
    t = np.arange(40)
    pluck = np.where(t < 22, np.exp(-t / 7.0) * np.cos(2 * np.pi * t / 8), 0.0)[:22]
    echo = np.zeros(25)
    echo[[0, 12, 24]] = 1.0, 0.5, 0.25
    drum = sound.kick(LOW_RATE, 0.08)
    answer = sound.room(rng, LOW_RATE, 0.08)
    return [
        {"name": "box and box", "f": np.ones(12), "g": np.ones(8), "what": "Two boxes overlap more, then less: a trapezium."},
        {"name": "pluck and echo", "f": pluck, "g": echo, "what": "Each spike of g leaves a copy of the pluck, as loud as it is high."},
        {"name": "drum and room", "f": drum, "g": answer, "what": f"A drum and a room's answer at {LOW_RATE} samples a second."},
        {"name": "ramp and box", "f": np.linspace(0, 1, 12), "g": np.ones(5) / 5, "what": "A box of height 1/5 averages five neighbours."},
    ]  # fmt: skip


def sounds() -> list[dict[str, Any]]:
    """What can be heard: dry, response, wet by `conv1d(flip=True)`."""
    rng = np.random.default_rng(2)
    echo = np.zeros(int(0.55 * RATE))
    echo[[0, int(0.25 * RATE), int(0.5 * RATE)]] = 1.0, 0.5, 0.25
    found = []
    for name, dry, response in (
        ("a note and an echo", sound.note(69, 0.22, decay=6.0), echo),
        ("a drum hit and a room", sound.snare(rng), sound.room(rng)),
    ):
        wet = full(dry, response, flip=True)
        loud = 0.9 / np.abs(wet).max()
        played = {"dry": dry * loud, "response": response * 0.9, "wet": wet * loud}
        found.append({"name": name, **{key: pack.sound(value, RATE) for key, value in played.items()}})
    return found


def numbers() -> dict[str, Any]:
    """Presets with both results of the library, and sounds."""
    presets = []
    for pair in pairs():
        results = {
            "convolution": pack.array(full(pair["f"], pair["g"], True)),
            "correlation": pack.array(full(pair["f"], pair["g"], False)),
        }
        presets.append({**pair, "f": pack.array(pair["f"]), "g": pack.array(pair["g"]), **results})
    return {"presets": presets, "sounds": sounds()}
