"""Section 8: the same notes higher and later, and how far the output of one layer moves with them."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt

import kernels
from benchmarks.tutorial import frontend, pack, sound
from benchmarks.tutorial.sound import HOP, RATE, Scene

SEMITONES = (0, 1, 2, 3)
LATEST = 8  # frames
START, WIDTH = 8, 128  # the window that the page looks through: frames START … START + WIDTH of the unshifted picture
KERNEL = np.array([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 4
Floats = npt.NDArray[np.float64]


def windowed(picture: Floats, later: int) -> Floats:
    """What the window shows when everything sounds `later` frames later."""
    return picture[:, START - later : START - later + WIDTH]


def layer(x: npt.ArrayLike, stride: int, padded: bool, pool: int) -> Floats:
    """One convolution, then perhaps a max pool along time."""
    y = kernels.conv2d(np.asarray(x, np.float64)[None, None], KERNEL[None, None], stride=(1, stride), padding=int(padded))
    return kernels.max_pool2d(y, (1, pool))[0, 0] if pool > 1 else y[0, 0]


def moved(y: Floats, bins: int, frames: int) -> tuple[slice, slice, slice, slice]:
    """Where `y` of the original and `y` of the shifted input overlap: (rows, columns) of the first, then of the second."""
    return slice(0, y.shape[0] - bins), slice(0, y.shape[1] - frames), slice(bins, None), slice(frames, None)


def difference(pictures: Floats, semitones: int, later: int, stride: int, padded: bool, pool: int) -> float:
    """|layer(shifted) - shifted layer| / |layer|, both where they overlap; the shift of outputs is rounded to whole outputs."""
    before = layer(windowed(pictures[0], 0), stride, padded, pool)
    after = layer(windowed(pictures[semitones], later), stride, padded, pool)
    rows, columns, rows_, columns_ = moved(before, semitones, int(later / (stride * pool) + 0.5))
    whole = float(np.sqrt((before[rows, columns] ** 2).sum()))
    return float(np.sqrt(((after[rows_, columns_] - before[rows, columns]) ** 2).sum())) / whole


def numbers(scene: Scene) -> dict[str, Any]:
    """Pictures of the transposed notes, their sounds, and a table of differences that the library measured."""
    pictures, sounds = [], []
    loudest = float(10 * np.log10(frontend.semitone_power(scene.tonal).max()))
    for semitones in SEMITONES:
        samples = sound.transposed(scene, semitones)
        pictures.append(frontend.constant_q(samples, loudest)[:, : START + WIDTH])
        sounds.append(pack.sound(samples[: (START + WIDTH) * HOP], RATE))
    stack = np.stack(pictures).astype(np.float32).astype(np.float64)
    names = "semitones", "later", "stride", "padded", "pool"
    cases = itertools.product((0, 1), (0, 3, 4), (1, 2, 4), (False, True), (1, 4))
    checks = [dict(zip(names, case)) | {"difference": difference(stack, *case)} for case in cases]
    return {
        "pictures": pack.array(stack), "sounds": sounds, "kernel": KERNEL.tolist(), "start": START, "width": WIDTH, "latest": LATEST,
        "hop_ms": 1000 * HOP / RATE, "lowest": frontend.LOWEST, "checks": checks,
    }  # fmt: skip
