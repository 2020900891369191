"""Convolutions, pools and what PyTorch does to one axis at the ends of windows: padding and resizing."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import torch
from torch import fx

import kernels.torch.interpolate  # noqa: F401  registers it
from kernels.network.graph import Node, Value
from kernels.network.operators.resizing import taps
from kernels.torch.aten.reading import Reading, argument, reads, tensor

aten = torch.ops.aten
Array = np.ndarray


def _floats(node: fx.Node) -> str | None:
    return None if tensor(node.args[0]).dtype.is_floating_point else "it is of integers"


def _convolution_refuses(node: fx.Node) -> str | None:
    x, weight = node.args[:2]
    if tensor(x).dim() != tensor(weight).dim() or not 3 <= tensor(x).dim() <= 5:
        return "x has no batch axis"
    return _floats(node)


@reads(aten.convolution.default, refuses=_convolution_refuses)
def _convolution(
    r: Reading, node: fx.Node, x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, transposed: bool, more: Any,
    groups: int,
) -> Value:  # fmt: skip
    axes = len(r.shape(x)) - 2
    stride, padding, dilation, more = (_per_axis(r.number(each), axes) for each in (stride, padding, dilation, more))
    attributes: dict[str, Any] = {"strides": stride, "pads": padding * 2, "dilations": dilation, "group": r.number(groups)}
    if transposed:
        attributes["output_padding"] = more
    inputs = [r.values[x], r.values[weight], None if bias is None else r.values[bias]]
    return r.graph.node("ConvTranspose" if transposed else "Conv", *inputs, name=node.name, **attributes)


def _per_axis(numbers: Any, axes: int) -> list[int]:
    numbers = list(numbers) if isinstance(numbers, list | tuple) else [numbers]
    return numbers * axes if len(numbers) == 1 else numbers


def only_values(node: fx.Node) -> str | None:
    """Max pools whose positions somebody reads stay PyTorch's."""
    if any(user.target is operator.getitem and user.args[1] != 0 for user in node.users):
        return "the positions of its maxima are read"
    return _floats(node)


def _with_batch(r: Reading, node: fx.Node, x: Any, axes: int) -> tuple[Value, bool]:
    """x with a batch axis, and whether it had none."""
    shape = r.shape(x)
    alone = len(shape) == axes + 1
    return (r.reshaped(r.values[x], (1, *shape)) if alone else r.values[x]), alone


def _pooled(r: Reading, node: fx.Node, op: str, x: Any, shape: tuple[int, ...], axes: int, **attributes: Any) -> Value:
    value, alone = _with_batch(r, node, x, axes)
    y = r.graph.node(op, value, name=node.name, **attributes)
    return r.reshaped(y, shape) if alone else y


@reads(aten.max_pool2d_with_indices.default, aten.max_pool3d_with_indices.default, refuses=only_values)
def _max_pool(
    r: Reading, node: fx.Node, x: Any, kernel: Any, stride: Any = (), padding: Any = (0,), dilation: Any = (1,), ceil: bool = False
) -> Any:
    shape = tuple(r.number(list(node.meta["val"][0].shape)))
    return (maxima(r, node, x, shape, kernel, stride, padding, dilation, ceil),)


def maxima(
    r: Reading, node: fx.Node, x: Any, shape: tuple[int, ...], kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: bool
) -> Value:
    """A max pool, of lengths that may be one for all axes."""
    axes = _axes(node)
    kernel, padding, dilation = (_per_axis(r.number(each), axes) for each in (kernel, padding, dilation))
    numbers = {"kernel_shape": kernel, "strides": _per_axis(r.number(stride) or kernel, axes), "pads": padding * 2, "dilations": dilation}
    return _pooled(r, node, "MaxPool", x, shape, axes, **numbers, ceil_mode=int(ceil))


def _axes(node: fx.Node) -> int:
    """Spatial axes of an operator whose name says so."""
    return int(str(node.target).partition("d.")[0].partition("d_")[0][-1])


@reads(aten.max_pool1d.default, aten.max_pool2d.default, aten.max_pool3d.default, refuses=_floats)
def _max_pool_alone(
    r: Reading, node: fx.Node, x: Any, kernel: Any, stride: Any = (), padding: Any = (0,), dilation: Any = (1,), ceil: bool = False
) -> Value:
    return maxima(r, node, x, r.shape(node), kernel, stride, padding, dilation, ceil)


def own_divisor(node: fx.Node) -> str | None:
    """Why an average pool stays PyTorch's."""
    return "it has a divisor of its own" if argument(node, 6, "divisor_override") is not None else _floats(node)


@reads(aten.avg_pool1d.default, aten.avg_pool2d.default, aten.avg_pool3d.default, refuses=own_divisor)
def averages(
    r: Reading, node: fx.Node, x: Any, kernel: Any, stride: Any = (), padding: Any = (0,), ceil: bool = False, counted: bool = True,
    divisor: Any = None,
) -> Value:  # fmt: skip
    """An average pool without a divisor of its own."""
    axes = _axes(node)
    kernel = _per_axis(r.number(kernel), axes)
    return _pooled(r, node, "AveragePool", x, r.shape(node), axes, kernel_shape=kernel, strides=_per_axis(r.number(stride) or kernel, axes),
                   pads=_per_axis(r.number(padding), axes) * 2, ceil_mode=int(ceil), count_include_pad=int(counted))  # fmt: skip


def uneven(axes: int) -> Any:
    """Adaptive pools whose windows are not all alike stay PyTorch's; lengths that are symbols must be reduced to one."""

    def refuses(node: fx.Node) -> str | None:
        size = tensor(node.args[0]).shape[-axes:]
        outputs = tensor(node).shape[-axes:] if isinstance(node.meta["val"], torch.Tensor) else node.meta["val"][0].shape[-axes:]
        for n, o in zip(size, outputs):
            if isinstance(o, torch.SymInt) or (isinstance(n, torch.SymInt) and o != 1) or (o != 1 and n % o):
                return f"its {o} windows over {n} are not alike"
        return only_values(node)

    return refuses


def adaptive(r: Reading, node: fx.Node, op: str, x: Any, axes: int, shape: tuple[int, ...]) -> Value:
    """An adaptive pool whose windows are all alike."""
    kernel = [n // o for n, o in zip(r.shape(x)[-axes:], shape[-axes:])]
    return _pooled(r, node, op, x, shape, axes, kernel_shape=kernel, strides=kernel)


@reads(aten._adaptive_avg_pool2d.default, aten.adaptive_avg_pool2d.default, refuses=uneven(2))
def _adaptive_avg_pool2d(r: Reading, node: fx.Node, x: Any, size: Any) -> Value:
    return adaptive(r, node, "AveragePool", x, 2, r.shape(node))


@reads(aten._adaptive_avg_pool3d.default, aten.adaptive_avg_pool3d.default, refuses=uneven(3))
def _adaptive_avg_pool3d(r: Reading, node: fx.Node, x: Any, size: Any) -> Value:
    return adaptive(r, node, "AveragePool", x, 3, r.shape(node))


@reads(aten.adaptive_avg_pool1d.default, refuses=uneven(1))
def _adaptive_avg_pool1d(r: Reading, node: fx.Node, x: Any, size: Any) -> Value:
    return adaptive(r, node, "AveragePool", x, 1, r.shape(node))


@reads(aten.adaptive_max_pool2d.default, refuses=uneven(2))
def _adaptive_max_pool2d(r: Reading, node: fx.Node, x: Any, size: Any) -> Any:
    return (adaptive(r, node, "MaxPool", x, 2, tuple(r.number(list(node.meta["val"][0].shape)))),)


@reads(aten.adaptive_max_pool3d.default, refuses=uneven(3))
def _adaptive_max_pool3d(r: Reading, node: fx.Node, x: Any, size: Any) -> Any:
    return (adaptive(r, node, "MaxPool", x, 3, tuple(r.number(list(node.meta["val"][0].shape)))),)


def _pads(r: Reading, x: Any, padding: Any) -> list[int]:
    """PyTorch's list, the last axis first, as ONNX's: all that comes before, then all that comes after."""
    pairs = r.number(padding)
    pairs = list(zip(pairs[::2], pairs[1::2]))[::-1]
    pairs = [(0, 0)] * (len(r.shape(x)) - len(pairs)) + pairs
    return [before for before, _ in pairs] + [after for _, after in pairs]


@reads(aten.constant_pad_nd.default)
def _constant_pad(r: Reading, node: fx.Node, x: Any, padding: Any, value: Any = 0) -> Value:
    return r.graph.node("Pad", r.values[x], r.ints(_pads(r, x, padding)), r.constant(r.number(value), r.dtype(x)), mode="constant")


@reads(aten.reflection_pad1d.default, aten.reflection_pad2d.default, aten.reflection_pad3d.default)
def _reflection_pad(r: Reading, node: fx.Node, x: Any, padding: Any) -> Value:
    return r.graph.node("Pad", r.values[x], r.ints(_pads(r, x, padding)), mode="reflect")


@reads(aten.replication_pad1d.default, aten.replication_pad2d.default, aten.replication_pad3d.default)
def _replication_pad(r: Reading, node: fx.Node, x: Any, padding: Any) -> Value:
    return r.graph.node("Pad", r.values[x], r.ints(_pads(r, x, padding)), mode="edge")


def _resized(r: Reading, node: fx.Node, x: Any, scales: list[Any], mode: str, how: str) -> Value:
    """By the scale that was asked for, which need not be the ratio of the lengths; where there is none, by that."""
    shape, wanted = r.shape(x), r.shape(node)
    ratios = [1.0 if i < 2 else o / n for i, (n, o) in enumerate(zip(shape, wanted))]
    asked = [None if scale is None else r.number(scale) for scale in scales]
    given = ratios[:2] + [ratio if scale is None else scale for ratio, scale in zip(ratios[2:], asked)]
    exact = any(scale is not None for scale in asked)
    exact = exact and all(int(np.floor(n * np.float32(by))) == o for n, by, o in zip(shape, given, wanted))
    places = [_nearest_places(*each, r.dtype(x), len(asked)) for each in zip(shape[2:], wanted[2:], asked)] if mode == "nearest" else []
    attributes = {"mode": mode, "coordinate_transformation_mode": how, "nearest_mode": "floor"}
    resize = Node("Resize", [r.values[x]], [], attributes)
    for i, each in enumerate(places, 2):
        by = given[i] if exact else ratios[i]
        if each is not None and not np.array_equal(each, taps(resize, shape[i], wanted[i], by, i)[0][:, 0]):
            return _gathered(r, node, x, places)
    if exact:
        return r.graph.node("Resize", r.values[x], None, r.constant(np.array(given, np.float32)), name=node.name, **attributes)
    return r.graph.node("Resize", r.values[x], None, None, r.ints(wanted), name=node.name, **attributes)


def _nearest_places(n: int, m: int, scale: float | None, dtype: np.dtype, axes: int) -> Array | None:
    """Which of n inputs PyTorch takes for each of m outputs along an axis. It multiplies in single precision where ONNX divides, and goes
    ways of its own to the same length and to twice that, but along one or three axes: so it is asked. None: each its own."""
    if n == m and scale in (None, 1):
        return None
    numbers = torch.arange(n, dtype=torch.float64 if n > 1 << 24 or dtype == np.float64 else torch.float32, device="cpu")
    alone, resized = [1] * (axes - 1), getattr(aten, f"upsample_nearest{axes}d").default
    found: Array = resized(numbers.reshape(1, 1, *alone, n), [*alone, m], *[None] * (axes - 1), scale).numpy()
    return found.ravel().astype(np.int64)


def _gathered(r: Reading, node: fx.Node, x: Any, places: list[Array | None]) -> Value:
    y = r.values[x]
    for axis, index in enumerate(places, 2):
        if index is not None:
            y = r.graph.node("Gather", y, r.constant(index), name=node.name, axis=axis)
    return y


@reads(torch.ops.spectroconv.interpolate.default)
def _interpolate(r: Reading, node: fx.Node, x: Any, size: Any, scales: Any, mode: str, corners: bool) -> Value:
    given = [None] * (len(r.shape(x)) - 2) if scales is None or corners else scales
    how = "asymmetric" if mode == "nearest" else "align_corners" if corners else "half_pixel"
    return _resized(r, node, x, given, {"nearest": "nearest", "bicubic": "cubic"}.get(mode, "linear"), how)


@reads(aten.upsample_nearest1d.default, aten.upsample_nearest2d.default, aten.upsample_nearest3d.default, refuses=_floats)
def _nearest(r: Reading, node: fx.Node, x: Any, size: Any, *scales: Any) -> Value:
    axes = len(r.shape(x)) - 2
    return _resized(r, node, x, [*scales, *[None] * axes][:axes], "nearest", "asymmetric")


@reads(
    aten.upsample_linear1d.default, aten.upsample_bilinear2d.default, aten.upsample_trilinear3d.default, aten.upsample_bicubic2d.default,
    refuses=_floats,
)  # fmt: skip
def _linear_or_cubic(r: Reading, node: fx.Node, x: Any, size: Any, corners: bool, *scales: Any) -> Value:
    axes = len(r.shape(x)) - 2
    how, mode = "align_corners" if corners else "half_pixel", "cubic" if node.target is aten.upsample_bicubic2d.default else "linear"
    return _resized(r, node, x, [None] * axes if corners else [*scales, *[None] * axes][:axes], mode, how)
