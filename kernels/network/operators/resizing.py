"""Resize: every axis on its own becomes a product with a sparse matrix, of which each row has the weights of a few inputs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kernels.network.graph import Node
from kernels.network.operators.registry import Array, Meta, numbers, operator
from kernels.network.operators.shaping import text
from kernels.problem.errors import ProblemError

HALVES_WITHIN = 1e-6  # inputs; as much as onnxruntime takes for a half


def _word(node: Node, name: str, default: str) -> str:
    return text(node.attributes.get(name, default))


def _rounding(node: Node) -> str:
    return _word(node, "nearest_mode", "round_prefer_floor")


def gives_sizes(node: Node) -> bool:
    """Whether a Resize states the lengths of its output, not scales."""
    sizes = numbers(node, 3) if len(node.inputs) > 3 else None
    return sizes is not None and len(sizes) > 0


def resized(node: Node) -> tuple[tuple[int, ...], list[float]]:
    """(shape, scale per axis) of a Resize."""
    shape = node.x.lengths
    rank = len(shape)
    axes = [int(each) % rank for each in node.attributes.get("axes", range(rank))]
    scales, sizes = (numbers(node, i) if len(node.inputs) > i else None for i in (2, 3))
    out, by = list(shape), [1.0] * rank
    if sizes is not None and gives_sizes(node):
        policy = _word(node, "keep_aspect_ratio_policy", "stretch")
        ratios = [int(sizes[i]) / shape[at] for i, at in enumerate(axes)]
        if policy != "stretch":
            ratio = min(ratios) if policy == "not_larger" else max(ratios)
            ratios = [ratio] * len(axes)
            sizes = np.array([math.floor(shape[at] * ratio + 0.5) for at in axes])
        for i, at in enumerate(axes):
            out[at], by[at] = int(sizes[i]), ratios[i]
    elif scales is not None and len(scales):
        for i, at in enumerate(axes):
            out[at], by[at] = math.floor(shape[at] * np.float32(scales[i])), float(scales[i])  # 10 * 0.7 is 7 in float32 alone
    else:
        raise ProblemError(f"{node.op} {node.label!r}: has neither scales nor sizes")
    return tuple(out), by


def coordinates(node: Node, n: int, m: int, scale: float, at: int) -> Array:
    """Where in an axis of n each of m outputs lies: float64, but float32 where a last bit decides between neighbours, since a third is
    meant by its nearest float32. Lengths that are stated are their own ratio, which is rounded to the nearest input in float64."""
    how = _word(node, "coordinate_transformation_mode", "half_pixel")
    narrow = _word(node, "mode", "nearest") == "nearest" and not (gives_sizes(node) and _rounding(node).startswith("round"))
    exact: Any = np.float32 if narrow or how == "tf_crop_and_resize" else np.float64
    i, scale = np.arange(m, dtype=exact), exact(scale)
    # a scale may make it a fraction, which the specification's tests count by; one that only rounding makes is none
    length = m if math.isclose(n * scale, m, rel_tol=1e-6) else n * scale
    if how == "asymmetric":
        return i / scale
    if how == "align_corners":
        return i * (n - 1) / (length - 1) if m > 1 else np.zeros(m)
    if how == "pytorch_half_pixel" and m <= 1:
        return np.zeros(m)
    if how == "half_pixel_symmetric":
        return n / 2 * (1 - m / length) + (i + 0.5) / scale - 0.5
    if how == "tf_crop_and_resize":
        roi = numbers(node, 1)
        assert roi is not None
        roi, axes = np.ravel(roi), axes_of_roi(node)
        start, end = exact(roi[axes.index(at)]), exact(roi[axes.index(at) + len(axes)])
        return start * (n - 1) + i * (end - start) * (n - 1) / (m - 1) if m > 1 else np.full(m, 0.5 * (start + end) * (n - 1))
    if how == "tf_half_pixel_for_nn":
        return (i + 0.5) / scale
    return (i + 0.5) / scale - 0.5


def axes_of_roi(node: Node) -> list[int]:
    """The axes that a region of interest speaks of."""
    rank = len(node.x.lengths)
    return [int(each) % rank for each in node.attributes.get("axes", range(rank))]


def taps(node: Node, n: int, m: int, scale: float, at: int) -> tuple[Array, Array]:
    """(inputs, weights), each (m, taps): output i is the sum of weights[i] times the axis' inputs[i]."""
    x = coordinates(node, n, m, scale, at)
    mode = _word(node, "mode", "nearest")
    if mode == "nearest":
        halves = x.astype(np.float64)  # which a last bit may have missed: 1 / (2/7) is 3.4999998 in float32
        places = {"round_prefer_floor": np.ceil(halves - 0.5 - HALVES_WITHIN), "round_prefer_ceil": np.floor(halves + 0.5 + HALVES_WITHIN),
                  "floor": np.floor(x), "ceil": np.ceil(x)}[_rounding(node)]  # fmt: skip
        return np.clip(places, 0, n - 1).astype(np.int64)[:, None], np.ones((m, 1))
    wide = max(1.0, 1 / scale) if node.attributes.get("antialias") else 1.0
    reach = (1 if mode == "linear" else 2) * wide
    first = np.floor(x - reach).astype(np.int64) + 1
    places = first[:, None] + np.arange(math.ceil(2 * reach))
    distance = np.abs(places - x[:, None]) / wide
    if mode == "cubic":
        a = float(node.attributes.get("cubic_coeff_a", -0.75))
        weights = np.where(distance <= 1, ((a + 2) * distance - (a + 3)) * distance**2 + 1,
                           np.where(distance < 2, ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a, 0))  # fmt: skip
    else:
        weights = np.maximum(1 - distance, 0)
    if node.attributes.get("exclude_outside"):
        weights = np.where((places >= 0) & (places < n), weights, 0)
    if node.attributes.get("exclude_outside") or wide > 1:
        weights = weights / weights.sum(1, keepdims=True)
    return np.clip(places, 0, n - 1), weights


def _infer(node: Node) -> list[Meta]:
    return [(resized(node)[0], node.x.kind)]


@operator("Resize", infer=_infer)
def _resize(node: Node, x: Array, *rest: Any) -> Any:
    shape, scales = resized(node)
    outside, chosen, kind = [], axes_of_roi(node), x.dtype
    if kind.kind in "iub" and _word(node, "mode", "nearest") != "nearest":
        x = x.astype(np.float64 if kind.itemsize > 4 else np.float32)  # weights are fractions
    for at, (n, m, scale) in enumerate(zip(x.shape, shape, scales)):
        crops = _word(node, "coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize"
        if at not in chosen or (n == m and scale == 1 and not crops):
            continue
        inputs, weights = taps(node, n, m, scale, at)
        along = (-1, *[1] * (x.ndim - at - 1))
        total: Any = 0
        for k in range(inputs.shape[1]):
            part = np.take(x, inputs[:, k], at)
            total = part if inputs.shape[1] == 1 else total + part * weights[:, k].astype(x.dtype).reshape(along)
        x = total
        if crops:
            where = coordinates(node, n, m, scale, at)
            outside.append(((where < 0) | (where > n - 1)).reshape(along))
    for mask in outside:
        x = np.where(mask, x.dtype.type(node.attributes.get("extrapolation_value", 0.0)), x)
    if x.dtype != kind and kind.kind != "b":  # cubic curves overshoot; fractions are cut off, as onnxruntime does
        x = np.clip(x, np.iinfo(kind).min, np.iinfo(kind).max)
    return np.ascontiguousarray(x, kind)


