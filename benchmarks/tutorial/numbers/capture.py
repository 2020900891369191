"""Section 7: published models as stacks of windows, and what one output of each sees."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

import kernels
from benchmarks.tutorial import frontend
from benchmarks.tutorial.sound import HOP, RATE, Scene
from benchmarks.workloads import Workload, catalogue
from benchmarks.workloads.catalogue import CATALOGUE
from kernels import grad

OWN = (  # the stack that the section opens with: (kernel, stride, dilation, padding, transposed), each (frequency, time)
    ((3, 3), (1, 1), (1, 1), (1, 1), False), ((2, 2), (2, 2), (1, 1), (0, 0), False), ((3, 3), (1, 1), (1, 1), (1, 1), False),
    ((2, 2), (2, 2), (1, 1), (0, 0), False), ((3, 3), (1, 1), (1, 1), (1, 1), False),
)  # fmt: skip


def channels(written: int) -> tuple[int, int, int]:
    """How many channels may be read after a layer that wrote `written`: as many, half of them (gated), twice as many (a skip joins)."""
    return written, written // 2, 2 * written


def main_path(layers: list[Workload], pools_after: set[str]) -> Iterator[Workload]:
    """The layers that follow one another: each reads a map of the size that the one before wrote. Branches beside it are left out.

    A pool that the catalogue only mentions (`pools_after`: ids of layers that one follows) is put in where sizes show its factor.
    """
    before: Workload | None = None
    axes = layers[0].axes
    for layer in layers:
        if layer.axes != axes:
            if before is not None and (layer.axes == "-,time") == (axes == "-,time"):
                break
            if before is not None and layer.c_in != before.c_out:
                continue  # a branch of its own
            axes, before = layer.axes, None  # a front end's signal becomes a map, or a map a signal
        if layer.is_global or (before is not None and layer.c_in not in channels(before.c_out)):
            continue
        if before is not None and before.id in pools_after and (before.oh, before.ow) != (layer.h, layer.w) and layer.c_in == before.c_out:
            factors = before.oh // layer.h, before.ow // layer.w
            if (layer.h * factors[0], layer.w * factors[1]) == (before.oh, before.ow):
                none, high, wide = ((0, 0), (0, 0)), *factors
                before = replace(before, op="max_pool2d", layer="pool", c_in=before.c_out, h=before.oh, w=before.ow, kh=high, kw=wide)
                before = replace(before, stride=factors, padding=none, dilation=(1, 1), groups=1)
                yield before
        if before is None or (layer.h, layer.w) == (before.oh, before.ow):
            yield layer
            before = layer


def window(layer: Workload) -> dict[str, Any]:
    """One layer as the editor shows it, (frequency, time) whatever the model's own order."""
    order = slice(None, None, -1) if layer.axes.startswith("time") else slice(None)
    pairs = {
        "kernel": (layer.kh, layer.kw),
        "stride": layer.stride,
        "dilation": layer.dilation,
        "before": tuple(p[0] for p in layer.padding),
    }
    what = "transposed" if layer.is_transposed else "conv" if layer.is_conv else layer.op.split("_")[0] + " pool"
    return {"name": layer.layer, "what": what, **{key: list(value[order]) for key, value in pairs.items()}}


def fields(stack: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The library's receptive field after each layer of a stack."""
    layers = [
        {"kernel_size": tuple(each["kernel"]), "stride": tuple(each["stride"]), "dilation": tuple(each["dilation"]),
         "padding": [(before, before) for before in each["before"]], "transposed": each["what"] == "transposed"}
        for each in stack
    ]  # fmt: skip
    found = kernels.receptive_field(layers) if layers else []
    return [{"size": list(field.size), "stride": list(field.stride), "start": list(field.start)} for field in found]


def effective(stack: list[dict[str, Any]], axis: int) -> npt.NDArray[np.float64]:
    """How much each input inside the receptive field counts along one axis, as shares of the whole, if all weights are alike.

    It is the gradient of one output: from the last layer back, each is a transposed convolution with ones. With random weights the mean
    square of the gradient has the same shape (W. Luo, Y. Li, R. Urtasun, R. Zemel, NeurIPS 2016).
    """
    profile = np.ones((1, 1, 1))
    for each in reversed(stack):
        kernel = np.ones((1, 1, each["kernel"][axis]))
        stride, dilation = each["stride"][axis], each["dilation"][axis]
        reach = (each["kernel"][axis] - 1) * dilation
        if each["what"] == "transposed":
            profile = kernels.conv1d(profile, kernel, stride=stride, padding=reach, dilation=dilation)
        else:
            seen = (1, 1, (profile.shape[-1] - 1) * stride + reach + 1)
            profile = grad.conv1d_input(seen, kernel, profile, stride=stride, dilation=dilation)
        profile = profile / profile.sum()
    return profile[0, 0]


def presets() -> list[dict[str, Any]]:
    """Every model of the catalogue: its front end, its main path without layers that see one position, the library's fields."""
    models: dict[str, list[Workload]] = {}
    pools_after = {row["id"] for row in json.loads(CATALOGUE.read_text(encoding="utf-8")) if "maxpool" in row["then"]}
    for layer in catalogue():
        models.setdefault(layer.model, []).append(layer)
    found = []
    for name, layers in models.items():
        path = list(main_path(layers, pools_after))
        if path[0].axes == "-,time" and path[-1].axes != "-,time" and len(path) > 1:
            path = [layer for layer in path if layer.axes != "-,time"]  # a signal layer before a spectrogram: what follows is the map's
        stack = [each for each in map(window, path) if max(*each["kernel"], *each["stride"]) > 1]
        front = dict(layers[0].input or {})
        front["kind"] = "audio" if path[-1].axes == "-,time" and not front.get("bands") else front.get("kind", "log-mel")
        if name.startswith("EfficientAT"):
            front |= {"kind": "log-mel", "rate": 32000, "hop": 320, "bands": path[0].h}
        front["harmonics"] = []
        said = source(name, front, stack, len(layers))
        found.append({"name": name, "front": front, "stack": stack, "fields": fields(stack), "source": said})
    return found


def source(name: str, front: dict[str, Any], stack: list[dict[str, Any]], listed: int) -> str:
    """A sentence on where a preset is from and what of the model it shows."""
    heard = [f"{front['kind']}, {front['rate']} Hz"]
    heard += [f"hop {front['hop']}"] if front.get("hop") else []
    heard += [f"{front['bands']} bands"] if front.get("bands") else []
    shown = f"{len(stack)} layers that see neighbours on its main path; the catalogue lists {listed} of it"
    return f"{name}: {shown}. Front end: {', '.join(heard)}."


def own_stack() -> list[dict[str, Any]]:
    """The stack that the section opens with."""
    names = ("conv", "max pool", "conv", "max pool", "conv")
    return [
        {"name": "", "what": what, "kernel": list(k), "stride": list(s), "dilation": list(d), "before": list(p)}
        for what, (k, s, d, p, _) in zip(names, OWN)
    ]


def numbers(scene: Scene) -> dict[str, Any]:
    """Presets, the opening stack and the scene's regions. The picture is section 2's."""
    stack = own_stack()
    front = {"kind": "log-mel", "rate": RATE, "hop": HOP, "n_fft": frontend.N_FFT, "bands": frontend.BANDS}
    first = {"name": "your own", "front": front, "stack": stack, "fields": fields(stack), "source": ""}
    regions = [{"name": r.name, "start": r.start, "stop": r.stop, "low": r.low, "high": r.high} for r in scene.regions]
    return {"presets": [first, *presets()], "regions": regions, "effective": [effective(stack, axis).tolist() for axis in (0, 1)]}
