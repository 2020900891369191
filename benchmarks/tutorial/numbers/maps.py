"""Sections 2, 3 and 6: the scene's three maps, kernels to slide over them, filters of three kernels, the worked example."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

import kernels
from benchmarks.tutorial import frontend, pack
from benchmarks.tutorial.sound import HOP, RATE, Scene

Floats = npt.NDArray[np.float64]

COMB_HERTZ = 440.0

# The worked example: three channels of 5 x 5, one filter of three 3 x 3 kernels, one bias. Small whole numbers, so that all can be redone.
CHANNELS = np.array([
    [[1, 2, 0, 1, 0], [0, 1, 3, 1, 1], [2, 0, 1, 2, 0], [1, 1, 0, 0, 2], [0, 2, 1, 1, 0]],
    [[0, 1, 1, 0, 2], [1, 0, 2, 1, 0], [0, 3, 0, 1, 1], [2, 1, 0, 0, 1], [1, 0, 1, 2, 0]],
    [[2, 0, 1, 0, 1], [1, 1, 0, 2, 0], [0, 1, 1, 0, 3], [0, 2, 0, 1, 1], [1, 0, 2, 0, 1]],
], dtype=np.float64)  # fmt: skip
KERNELS = np.array([
    [[-1, 0, 1], [-1, 0, 1], [-1, 0, 1]],
    [[0, 1, 0], [1, -3, 1], [0, 1, 0]],
    [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
], dtype=np.float64)  # fmt: skip
BIAS = 2.0
OWN = np.array([[0.0, -1, 0], [-1, 4, -1], [0, -1, 0]])  # what the reader begins to draw from


def comb(frequency: float = COMB_HERTZ, bands: int = frontend.BANDS) -> Floats:
    """(height, 1): 1 at each band where a partial of `frequency` lies, less between, summing to zero; row 0 is the fundamental's band."""
    centres = frontend.mel(frontend.band_centres(bands))
    partials = [int(np.abs(centres - frontend.mel(frequency * n)).argmin()) for n in range(1, 7)]
    out = np.zeros(partials[-1] - partials[0] + 1)
    out[np.array(partials) - partials[0]] = 1.0
    out[out == 0] = -len(partials) / (out.size - len(partials))
    return out[:, None]


def single() -> list[dict[str, Any]]:
    """The kernels of section 2, rows from low to high bands, with the row that counts as their middle."""
    edge = np.tile([-1.0, 0.0, 1.0], (3, 1))
    level = np.array([[-1.0] * 5, [2.0] * 5, [-1.0] * 5]) / 5
    return [
        {"name": "vertical edge", "what": "Softer on the left, louder on the right: something begins.", "weight": edge},
        {"name": "horizontal line", "what": "Louder than the bands beside it, for five frames: a held partial.", "weight": level},
        {"name": "3×3 blur", "what": "The mean of nine neighbours: detail goes, the outline stays.", "weight": np.full((3, 3), 1 / 9)},
        {
            "name": "harmonic comb",
            "what": f"Six partials of {COMB_HERTZ:.0f} Hz at once. On a mel axis they fit this pitch only; it fires at its middle.",
            "weight": comb(),
        },
        {"name": "draw one", "what": "Set the nine numbers yourself.", "weight": OWN, "own": True},
    ]  # fmt: skip


def same(x: npt.ArrayLike, weight: npt.ArrayLike, bias: npt.ArrayLike | None = None) -> Floats:
    """One layer with outputs as many as inputs: (c_in, h, w) and (c_out, c_in, kh, kw) give (c_out, h, w)."""
    return kernels.conv2d(np.asarray(x, np.float64)[None], np.asarray(weight, np.float64), bias, padding="same")[0]


def filters() -> tuple[Floats, Floats, list[dict[str, str]]]:
    """Four filters of three 3 x 3 kernels, (J, K, h, l), their biases, and what they are for."""
    rise, level = np.tile([-1.0, 0.0, 1.0], (3, 1)), np.array([[-1.0] * 3, [2.0] * 3, [-1.0] * 3])
    mean, none = np.full((3, 3), 1 / 9), np.zeros((3, 3))
    weight = np.array([
        [rise, 2 * mean, mean],
        [level, none, -3 * mean],
        [-rise, -2 * mean, none],
        [none, 2 * mean, 5 * mean],
    ])  # fmt: skip
    what = [
        {"name": "onset", "what": "loudness that rises, in any of the three maps"},
        {"name": "held tone", "what": "a level line that is not percussive"},
        {"name": "release", "what": "loudness that falls"},
        {"name": "drum", "what": "percussive energy that rises"},
    ]
    return weight, np.array([-1.0, -0.5, -1.0, -2.0]), what


def numbers(scene: Scene) -> dict[str, Any]:
    """The maps, kernels and filters, with the library's outputs where the page computes its own."""
    maps = frontend.channels(scene.samples)
    singles = []
    for each in single():
        out = same(maps[:1], each["weight"][None, None])[0]
        middle = float(np.quantile(np.abs(out), 0.995))
        singles.append(
            {**each, "weight": pack.array(each["weight"]), "range": middle, "sum": float(out.sum()), "largest": float(out.max())}
        )
    weight, bias, what = filters()
    alone = kernels.conv2d(CHANNELS[None], KERNELS[:, None], groups=3)[0]
    return {
        "maps": pack.array(maps),
        "centres": pack.array(frontend.band_centres()),
        "hop_ms": 1000 * HOP / RATE,
        "rate": RATE,
        "sound": pack.sound(scene.samples, RATE),
        "kernels": singles,
        "filters": {
            "weight": pack.array(weight), "bias": bias.tolist(), "what": what, "largest": same(maps, weight, bias).max((1, 2)).tolist(),
        },
        "example": {
            "channels": CHANNELS.tolist(), "kernels": KERNELS.tolist(), "bias": BIAS, "alone": alone.tolist(),
            "summed": kernels.conv2d(CHANNELS[None], KERNELS[None])[0, 0].tolist(),
            "out": kernels.conv2d(CHANNELS[None], KERNELS[None], [BIAS])[0, 0].tolist(),
        },
    }  # fmt: skip
