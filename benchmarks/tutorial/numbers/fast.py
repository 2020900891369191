"""Section 10: one layer by every implementation, and a map of who wins where, measured while the page is written."""

from __future__ import annotations

from typing import Any

import numpy as np

import kernels
from benchmarks.tutorial.numbers import clock
from benchmarks.workloads import Workload, by_id

TOY = np.array([
    [1, 0, 2, 1, 0, 1], [0, 1, 3, 0, 1, 2], [2, 1, 0, 1, 2, 0], [1, 0, 1, 2, 0, 1], [0, 2, 1, 0, 1, 3], [1, 1, 0, 2, 1, 0],
], dtype=np.float64)  # fmt: skip
TOY_KERNEL = np.array([[1, 2, 1], [0, 1, 0], [-1, -2, -1]], dtype=np.float64)
METHODS = ("naive", "jit", "im2col", "winograd", "fft", "direct", "depthwise")
MAPPED = ("im2col", "winograd", "fft", "direct")
SIZES = (1, 3, 5, 7, 11, 15, 21, 31)
CHANNELS = (1, 4, 16, 64)
HEIGHT, WIDTH = 48, 64
LARGEST = 400e6  # bytes of scratch space that a square of the map may take
LAYERS = ("vggish.conv1", "cnn14.b4c2", "deepsalience.distribute", "crepe.conv2", "mn10.dw4")
NAIVE_FLOPS = 1e6  # plain Python loops are timed on as many operations at most, and scaled to the layer


def operands(layer: Workload, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Seeded input, weight and options of a catalogue layer."""
    x, weight = (rng.standard_normal(shape or ()).astype(np.float32) for shape in (layer.x_shape, layer.weight_shape))
    dims = layer.dims
    options = {
        "stride": layer.stride[-dims:],
        "padding": list(layer.padding[-dims:]),
        "dilation": layer.dilation[-dims:],
        "groups": layer.groups,
    }
    return x, weight, options


def layer_row(layer: Workload, rng: np.random.Generator) -> dict[str, Any]:
    """One layer: the time of each method in milliseconds, or the sentence with which it refuses."""
    x, weight, options = operands(layer, rng)
    times: list[dict[str, Any]] = []
    for name, refusal in kernels.implementations(layer.op, x.shape, weight, **options).items():
        if name not in METHODS:
            continue
        if refusal:
            times.append({"method": name, "why": refusal})
        elif name == "naive":
            small = layer.cut(int(NAIVE_FLOPS))
            x_, weight_, options_ = operands(small, rng)
            plan = kernels.plan(small.op, x_.shape, weight_, implementation="naive", dtype="float32", **options_)
            ms = clock.milliseconds(plan, x_, samples=1, budget=0) * layer.flops / small.flops
            times.append({"method": name, "ms": ms, "scaled": True})
        else:
            plan = kernels.plan(layer.op, x.shape, weight, implementation=name, dtype="float32", **options)
            times.append({"method": name, "ms": clock.milliseconds(plan, x)})
    times.sort(key=lambda row: METHODS.index(row["method"]))
    auto = kernels.plan(layer.op, x.shape, weight, dtype="float32", **options).implementation
    return {"id": layer.id, "model": layer.model, "what": layer.describe(), "flops": layer.flops, "times": times, "auto": auto}


def cell(size: int, channels: int, rng: np.random.Generator) -> dict[str, Any]:
    """One square of the map: the time of each method on HEIGHT x WIDTH."""
    x = rng.standard_normal((1, channels, HEIGHT, WIDTH)).astype(np.float32)
    weight = rng.standard_normal((channels, channels, size, size)).astype(np.float32)
    refused = kernels.implementations("conv2d", x.shape, weight, padding="same")
    plans = {
        name: kernels.plan("conv2d", x.shape, weight, padding="same", implementation=name, dtype="float32")
        for name in MAPPED
        if not refused.get(name, "absent")
    }
    times = {name: clock.milliseconds(plan, x) for name, plan in plans.items() if plan.workspace_bytes < LARGEST}
    return {"size": size, "channels": channels, "ms": times}


def numbers(measure: bool = True) -> dict[str, Any]:
    """Toy, layers and map; without `measure` a few cells only, for tests."""
    rng = np.random.default_rng(10)
    x, weight = TOY[None, None], TOY_KERNEL[None, None]
    refusals = kernels.implementations("conv2d", x.shape, weight, dtype="float64")
    answers = {
        name: kernels.conv2d(x, weight, implementation=name)[0, 0].tolist() for name, why in refusals.items() if name in METHODS and not why
    }
    sizes, channels, layers = (SIZES, CHANNELS, LAYERS) if measure else (SIZES[1:3], CHANNELS[1:2], LAYERS[:1])
    return {
        "toy": TOY.tolist(), "kernel": TOY_KERNEL.tolist(), "answers": answers, "layers": [layer_row(by_id(name), rng) for name in layers],
        "sizes": list(sizes), "channels": list(channels), "height": HEIGHT, "width": WIDTH,
        "map": [cell(size, c, rng) for c in channels for size in sizes],
    }  # fmt: skip
