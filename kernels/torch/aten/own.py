"""Our own operators, as `kernels.torch.nn` and accelerated modules leave them in a trace: read like PyTorch's of the same kind."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from kernels.network.graph import Value
from kernels.torch.aten import windows
from kernels.torch.aten.reading import Reading, reads, tensor

ours = torch.ops.spectroconv
Sizes = Any


def _operators(name: str) -> list[Any]:
    return [getattr(ours, name.format(axes)).default for axes in (1, 2, 3)]


def _no_batch(node: fx.Node) -> str | None:
    x, weight = node.args[:2]
    return "x has no batch axis" if tensor(x).dim() != tensor(weight).dim() else None


@reads(*_operators("conv{}d"), refuses=_no_batch)
def _conv(
    r: Reading, node: fx.Node, x: Any, weight: Any, bias: Any, stride: Sizes, ends: Sizes, dilation: Sizes, groups: Any
) -> Value:
    ends = r.number(list(ends))
    inputs = [r.values[x], r.values[weight], None if bias is None else r.values[bias]]
    return r.graph.node("Conv", *inputs, name=node.name, strides=r.number(list(stride)), pads=[*ends[::2], *ends[1::2]],
                        dilations=r.number(list(dilation)), group=r.number(groups))  # fmt: skip


@reads(*_operators("conv_transpose{}d"), refuses=_no_batch)
def _conv_transpose(
    r: Reading, node: fx.Node, x: Any, weight: Any, bias: Any, stride: Sizes, padding: Sizes, more: Sizes, groups: Any, dilation: Sizes
) -> Value:
    inputs = [r.values[x], r.values[weight], None if bias is None else r.values[bias]]
    return r.graph.node("ConvTranspose", *inputs, name=node.name, strides=r.number(list(stride)), pads=r.number(list(padding)) * 2,
                        output_padding=r.number(list(more)), dilations=r.number(list(dilation)), group=r.number(groups))  # fmt: skip


@reads(*_operators("max_pool{}d"))
def _max_pool(r: Reading, node: fx.Node, x: Any, *numbers: Any) -> Value:
    return windows.maxima(r, node, x, r.shape(node), *numbers)


@reads(*_operators("max_pool{}d_with_indices"), refuses=windows.only_values)
def _max_pool_with_indices(r: Reading, node: fx.Node, x: Any, *numbers: Any) -> Any:
    return (windows.maxima(r, node, x, tuple(r.number(list(node.meta["val"][0].shape))), *numbers),)


@reads(*_operators("avg_pool{}d"), refuses=windows.own_divisor)
def _avg_pool(r: Reading, node: fx.Node, x: Any, *numbers: Any) -> Value:
    return windows.averages(r, node, x, *numbers)


for _axes in (1, 2, 3):

    @reads(getattr(ours, f"adaptive_avg_pool{_axes}d").default, refuses=windows.uneven(_axes))
    def _adaptive_avg_pool(r: Reading, node: fx.Node, x: Any, size: Any) -> Value:
        return windows.adaptive(r, node, "AveragePool", x, len(size), r.shape(node))

    @reads(getattr(ours, f"adaptive_max_pool{_axes}d").default, refuses=windows.uneven(_axes))
    def _adaptive_max_pool(r: Reading, node: fx.Node, x: Any, size: Any) -> Value:
        return windows.adaptive(r, node, "MaxPool", x, len(size), r.shape(node))

    @reads(getattr(ours, f"adaptive_max_pool{_axes}d_with_indices").default, refuses=windows.uneven(_axes))
    def _adaptive_max_pool_with_indices(r: Reading, node: fx.Node, x: Any, size: Any) -> Any:
        return (windows.adaptive(r, node, "MaxPool", x, len(size), tuple(r.number(list(node.meta["val"][0].shape)))),)
