"""Means and deviations of norms: of groups that lie together in memory, or of lines side by side; any other order is copied first."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from kernels.network.graph import Node
from kernels.network.lower_reductions import runs_of
from kernels.network.lowering import Lowering, lowers
from kernels.network.views import Array
from kernels.primitives.moments import moments


@lowers("Moments")
def _moments(lowering: Lowering, node: Node) -> None:
    """The results lie as the axes that are kept do; groups' are repeated for each channel where there are more of these."""
    attributes = node.attributes
    x, axes = lowering.view(node.x), tuple(attributes["axes"])
    count = math.prod(x.shape[axis] for axis in axes)
    kept = [axis for axis in range(len(x.shape)) if axis not in axes]
    groups = math.prod(x.shape[axis] for axis in kept)
    repeat = math.prod(node.y.lengths) // groups
    along = [reduces for _, reduces in runs_of(x, axes)]
    plain = repeat == 1 and attributes["factors"] is None
    if (
        not x.dense()
        or along.count(True) > 1
        or (along and not along[-1] and not plain)
        or (not plain and not x.contiguous((*kept, *axes)))
    ):
        x = lowering.ordered(node, x, (*kept, *axes))
    order = [axis for axis in x.order() if axis in kept]
    runs = runs_of(x, axes)
    place = next((i for i, (_, reduces) in enumerate(runs) if reduces), len(runs))
    outer, inner = math.prod(n for n, _ in runs[:place]), math.prod(n for n, _ in runs[place + 1 :])
    found, scratch_bytes = moments(
        x.dtype, outer, count, inner, attributes["epsilon"], lowering.settings.threads, repeat, attributes["factors"]
    )  # fmt: skip
    wanted = range(len(node.y.lengths)) if not plain else [*order, *axes]
    results = [lowering.new(value, wanted, anywhere=False) for value in node.outputs]

    def bind(arrays: list[Array], scratch: Array) -> Callable[[], Any]:
        return found(arrays[0], arrays[1], arrays[2], scratch)

    lowering.step(node, [x], results, bind, "mean and deviation", None, scratch_bytes)
