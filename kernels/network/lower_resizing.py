"""Resize: axis by axis, the one that grows least first."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from kernels.network.graph import Node
from kernels.network.lowering import Lowering, lower_by_numpy, lowers
from kernels.network.operators.resizing import axes_of_roi, resized, taps
from kernels.network.operators.shaping import text
from kernels.network.views import Array
from kernels.primitives.resample import resample


@lowers("Resize")
def _resize(lowering: Lowering, node: Node) -> None:
    crops = text(node.attributes.get("coordinate_transformation_mode", "")) == "tf_crop_and_resize"
    if crops or node.x.kind not in (np.float32, np.float64) or not math.prod(node.y.lengths):
        lower_by_numpy(lowering, node)
        return
    shape, scales = resized(node)
    x = lowering.view(node.x)
    order = x.order() if x.dense() else tuple(range(len(shape)))
    x = lowering.ordered(node, x, order)
    chosen = axes_of_roi(node)
    axes = [axis for axis in chosen if x.shape[axis] != shape[axis] or scales[axis] != 1]
    axes.sort(key=lambda axis: (shape[axis] / x.shape[axis], -axis))
    for axis in axes:
        inputs, weights = taps(node, x.shape[axis], shape[axis], scales[axis], axis)
        lengths = [x.shape[each] for each in order]
        place = order.index(axis)
        outer, inner = math.prod(lengths[:place]), math.prod(lengths[place + 1 :])
        run = resample(x.dtype, outer, x.shape[axis], inner, inputs, weights, lowering.settings.threads)
        grown = tuple(shape[axis] if each == axis else n for each, n in enumerate(x.shape))
        last = axis == axes[-1]
        home = lowering.new(node.y, order, anywhere=False) if last else None
        y = home if home is not None and home.contiguous(order) else lowering.temporary(grown, x.dtype, order)
        lowering.step(node, [x], [y], _bind(run), "resampling")
        x = y
    if node.y not in lowering.views or lowering.views[node.y] != x:
        lowering.copy(node, x, lowering.new(node.y))


def _bind(run: Callable[[Array, Array], None]) -> Callable[[list[Array], Array], Callable[[], Any]]:
    return lambda arrays, scratch: lambda: run(arrays[0], arrays[1])
