"""A stack of layers as nodes with known shapes: what PyTorch calls, ONNX graphs and the float64 reference of a network are made from.

A convolution or pool is a Workload of its own, so that whoever can do one layer can do it here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from benchmarks.workloads.layer import Floats, Workload
from kernels import Layer, fold_batch_norm

Shape = tuple[int, ...]
BATCH_NORM_EPSILON = 1e-5  # added to variances


@dataclass(frozen=True, eq=False)
class Node:
    """One layer: its operation, shapes and arrays, the workload that it is, or the branches that it joins; `axis` is a batch norm's."""

    op: str
    x_shape: Shape
    out_shape: Shape
    arrays: tuple[Floats, ...] = ()
    axis: int = 1
    workload: Workload | None = None
    branches: tuple[tuple[Node, ...], ...] = ()

    def along(self, array: Any) -> Any:
        """One number per index of `axis`, in a shape that meets x."""
        return array.reshape([-1 if i == self.axis else 1 for i in range(len(self.x_shape))])

    def scale_and_shift(self) -> tuple[Floats, Floats]:
        """A batch norm as x * scale + shift, in float32, each in a shape that meets x."""
        mean, var, gamma, beta = (array.astype(np.float64) for array in self.arrays)
        scale = gamma / np.sqrt(var + BATCH_NORM_EPSILON)
        return self.along(scale.astype(np.float32)), self.along((beta - mean * scale).astype(np.float32))

    @property
    def flops(self) -> int:
        if self.workload:
            return self.workload.flops
        own = 2 * prod(self.x_shape) * self.out_shape[-1] if self.op == "linear" else 0
        return own + sum(node.flops for branch in self.branches for node in branch)

    @property
    def weights(self) -> int:
        """How many numbers are read besides the input."""
        return sum(array.size for array in self.arrays) + sum(node.weights for branch in self.branches for node in branch)

    @property
    def sums(self) -> tuple[int, ...]:
        """How many terms an output of each layer sums, layers one after the other; of branches, those of the one with most layers."""
        if self.branches:
            return max((tuple(each for node in branch for each in node.sums) for branch in self.branches), key=len)
        return (self.workload.terms if self.workload else self.x_shape[-1] if self.op == "linear" else 1,)


def nodes(layers: Sequence[Layer], x_shape: Shape) -> tuple[Node, ...]:
    """The layers for an input of this shape."""
    found: list[Node] = []
    for each in layers:
        found.append(_node(each, found[-1].out_shape if found else x_shape))
    return tuple(found)


def folded(found: Sequence[Node]) -> list[Node]:
    """The same nodes, batch norms right after a convolution in its weights: what a user does before inference."""
    rest: list[Node] = []
    for node in found:
        before = rest[-1] if rest else node
        if node.op == "batch_norm" and before.workload and before.workload.is_conv:
            weight, bias = (*before.arrays, None)[:2]
            arrays = fold_batch_norm(weight, bias, *node.arrays, eps=BATCH_NORM_EPSILON)
            rest[-1] = replace(before, arrays=arrays, workload=replace(before.workload, bias=True))
        else:
            rest.append(replace(node, branches=tuple(tuple(folded(branch)) for branch in node.branches)))
    return rest


def _node(each: Layer, x_shape: Shape) -> Node:
    arrays, options = tuple(value for value in each.args if isinstance(value, np.ndarray)), dict(each.options)
    if each.op in ("concatenate", "add"):
        branches = tuple(nodes(branch, x_shape) for branch in each.args)
        shapes = [branch[-1].out_shape if branch else x_shape for branch in branches]
        channels = sum(shape[1] for shape in shapes) if each.op == "concatenate" else shapes[0][1]
        return Node(each.op, x_shape, (shapes[0][0], channels, *shapes[0][2:]), branches=branches)
    if each.op == "batch_norm":
        return Node(each.op, x_shape, x_shape, arrays, options["axis"])
    if each.op == "activation":
        return Node(each.args[0], x_shape, x_shape)
    if each.op == "flatten":
        return Node(each.op, x_shape, (x_shape[0], prod(x_shape[1:])))
    if each.op == "linear":
        return Node(each.op, x_shape, (x_shape[0], len(arrays[0])), arrays)
    workload = _window(each.op, x_shape, arrays, each.args, options)
    return Node(each.op, x_shape, workload.out_shape, arrays, workload=workload)


def _window(op: str, x_shape: Shape, arrays: tuple[Floats, ...], args: tuple[Any, ...], options: dict[str, Any]) -> Workload:
    """A convolution or pool as a workload."""
    n, c_in, *size = x_shape
    dims = len(size)

    def both(values: Any) -> tuple[int, int]:
        values = (values,) * dims if isinstance(values, int) else tuple(values)
        return (1, *values) if dims == 1 else values

    if arrays:
        c_out, kernel = arrays[0].shape[0], both(arrays[0].shape[2:])
    else:
        c_out, kernel = c_in, both(args[0] if args else size)
    stride = both(options.pop("stride", 1 if arrays else kernel[-dims:]))
    padding = options.pop("padding", 0)
    pairs = [(padding, padding)] * dims if isinstance(padding, int) else list(padding)
    assert not options, f"the suite's networks do not use {', '.join(options)}"
    h, w = both(tuple(size))
    return Workload(
        id=op, model="", layer="", op=op, n=n, c_in=c_in, h=h, w=w, c_out=c_out, kh=kernel[0], kw=kernel[1], stride=stride,
        padding=(((0, 0), pairs[0]) if dims == 1 else (pairs[0], pairs[1])), dilation=(1, 1), groups=1, bias=len(arrays) > 1, axes="",
    )  # fmt: skip
