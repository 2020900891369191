"""Section 5: all kinds of convolutions on the same map, what they cost and how long the library takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import kernels
from benchmarks.tutorial.numbers import clock

H, W = 64, 128
DEPTH = 8  # of the volume, which has as many positions as the map: DEPTH x H x W / DEPTH
CHANNELS = (8, 16, 32, 64)
KERNELS = (3, 5, 7)


@dataclass(frozen=True)
class Step:
    """One convolution: its operation, its input and weight shapes, its options."""

    op: str
    x: tuple[int, ...]
    weight: tuple[int, ...]
    options: tuple[tuple[str, Any], ...] = (("padding", "same"),)


@dataclass(frozen=True)
class Kind:
    """One kind: its name, how the page draws it, what it is for, and the steps it takes."""

    key: str
    name: str
    what: str
    steps: tuple[Step, ...]
    shuffle: bool = False


def kinds(c: int, k: int) -> tuple[Kind, ...]:
    """Every kind, with c channels in and out and kernels of k. Four groups where there are groups."""
    x, groups, same = (1, c, H, W), 4, (("padding", "same"),)
    by = lambda groups: (("padding", "same"), ("groups", groups))  # noqa: E731
    return (
        Kind("plain", "standard", "Every output channel looks at every input channel.", (Step("conv2d", x, (c, c, k, k)),)),
        Kind("point", "1×1", "Mixes channels at one position; sees no neighbour.", (Step("conv2d", x, (c, c, 1, 1)),)),
        Kind("line", "1-D", "Slides along time only; bands are as good as channels.", (Step("conv1d", (1, c, H * W), (c, c, k)),)),
        Kind("volume", "3-D", "Slides along three axes, such as take, band and frame.",
             (Step("conv3d", (1, c, DEPTH, H // DEPTH, W), (c, c, k, k, k)),)),
        Kind("transposed", "transposed", "Each input paints a kernel; stride 2 makes the map twice as large.",
             (Step("conv_transpose2d", (1, c, H // 2, W // 2), (c, c, k, k),
                   (("stride", 2), ("padding", k // 2), ("output_padding", 1))),)),
        Kind("dilated", "dilated", "Taps with gaps: reaches twice as far for the same price.",
             (Step("conv2d", x, (c, c, k, k), (*same, ("dilation", 2))),)),
        Kind("spatial", "spatially separable", "A column, then a row. Only kernels that are such a product can be had.",
             (Step("conv2d", x, (c, c, k, 1)), Step("conv2d", x, (c, c, 1, k)))),
        Kind("depthwise", "depthwise separable", "Each channel alone, then 1×1 to mix them.",
             (Step("conv2d", x, (c, 1, k, k), by(c)), Step("conv2d", x, (c, c, 1, 1)))),
        Kind("grouped", "grouped", "Groups that know nothing of each other.", (Step("conv2d", x, (c, c // groups, k, k), by(groups)),)),
        Kind("shuffled", "shuffled grouped", "Groups, then channels change places, then groups again: they meet.",
             (Step("conv2d", x, (c, c // groups, 1, 1), by(groups)), Step("conv2d", x, (c, 1, k, k), by(c)),
              Step("conv2d", x, (c, c // groups, 1, 1), by(groups))), shuffle=True),
    )  # fmt: skip


def cost(step: Step) -> tuple[int, int]:
    """(multiply-adds, parameters) of a step as if every tap lay inside; no bias. What the page computes too."""
    parameters = int(np.prod(step.weight))
    positions = int(np.prod(step.x[2:]))  # of a transposed layer its inputs paint, of the others as many outputs are computed
    return positions * parameters, parameters


def timed(step: Step, rng: np.random.Generator) -> float:
    """Milliseconds of a step on seeded normal values."""
    x = rng.standard_normal(step.x).astype(np.float32)
    weight = rng.standard_normal(step.weight).astype(np.float32)
    return clock.planned(step.op, x, weight, **dict(step.options))


def rows(measure: bool) -> Iterator[dict[str, Any]]:
    """One row for each kind, number of channels and kernel."""
    rng = np.random.default_rng(5)
    for c in CHANNELS:
        for k in KERNELS:
            for kind in kinds(c, k):
                costs = [cost(step) for step in kind.steps]
                ms = sum(timed(step, rng) for step in kind.steps) if measure else None
                if ms is not None and kind.shuffle:
                    ms += shuffled(c, rng)
                macs, parameters = (sum(each) for each in zip(*costs))
                yield {"key": kind.key, "c": c, "k": k, "macs": macs, "parameters": parameters, "ms": ms}


def shuffled(c: int, rng: np.random.Generator) -> float:
    """Milliseconds of the channels' change of places."""
    x = rng.standard_normal((1, c, H, W)).astype(np.float32)
    return clock.milliseconds(lambda x, out=None: kernels.channel_shuffle(x, 4), x)


def numbers(measure: bool = True) -> dict[str, Any]:
    """What the cards show."""
    names = [{"key": kind.key, "name": kind.name, "what": kind.what} for kind in kinds(8, 3)]
    return {"kinds": names, "channels": list(CHANNELS), "kernels": list(KERNELS), "h": H, "w": W, "rows": list(rows(measure))}
