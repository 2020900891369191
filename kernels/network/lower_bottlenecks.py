"""A mobile network's blocks become steps that keep their wide planes in cache: `methods/depthwise/driver_bottleneck`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kernels.cost.roofline import seconds
from kernels.methods.depthwise.bottleneck_blocking import Bottleneck, best_bottleneck
from kernels.methods.depthwise.driver_bottleneck import prepare_bottleneck
from kernels.methods.depthwise.driver_stacked import prepare_stacked
from kernels.methods.depthwise.stacked_blocking import Stacked
from kernels.network.graph import Node
from kernels.network.lower_layers import channels_last_order, convolution
from kernels.network.lowering import LOWERERS, Lowering, lowers
from kernels.network.views import Array
from kernels.problem.operands import Operands


def _problems(layers: Sequence[Node]) -> tuple[Bottleneck | None, tuple[Operands, ...]]:
    """What layers in a row compute, None where these are no convolutions over two axes, and their operands."""
    problems, operands = [], []
    for node in layers:
        problem, given = convolution(node)
        if problem is None:
            return None, ()
        problems.append(problem)
        operands.append(given)
    first, second, *third = problems
    if first.groups > 1:
        return (None if third else Bottleneck(None, first, second)), tuple(operands)
    return Bottleneck(first, second, third[0] if third else None), tuple(operands)


def joins(layers: Sequence[Node], threads: int) -> bool:
    """Whether layers in a row are estimated faster as one step."""
    problems, _ = _problems(layers)
    return problems is not None and best_bottleneck(problems, threads) is not None


@lowers("Bottleneck")
def _bottleneck(lowering: Lowering, node: Node) -> None:
    """One step; layers by themselves where channels lie last."""
    layers, x, means = node.attributes["layers"], lowering.view(node.x), [node.attributes["mean"]] if len(node.outputs) > 1 else []
    rank = len(node.x.lengths)
    if not x.contiguous() and x.contiguous(channels_last_order(rank)):
        for each in [*layers, *means]:
            LOWERERS[each.op](lowering, each)
        return
    problems, operands = _problems(layers)
    assert problems is not None
    block = best_bottleneck(problems, lowering.settings.threads)
    assert block is not None
    reads = [lowering.ordered(node, x), *(lowering.ordered(node, lowering.view(value)) for value in node.inputs[1:] if value)]
    y = lowering.new(node.y, range(rank), anywhere=False)
    prepare: Any = prepare_stacked if isinstance(block, Stacked) else prepare_bottleneck
    prepared = prepare(problems, block, operands)
    writes = [y, *(lowering.new(mean.y, range(len(mean.y.lengths)), anywhere=False) for mean in means if prepared.averages)]

    def bind(arrays: list[Array], scratch: Array) -> Callable[[], Any]:
        run, (x, *added), (y, *means) = prepared.run, arrays[: len(reads)], arrays[len(reads) :]
        return lambda: run(x, y, *added, *means)  # one of both at most

    lowering.step(node, reads, writes, bind, prepared.note, seconds(block.cycles * block.threads), own=prepared.workspace_bytes)
    if not prepared.averages:
        for mean in means:
            LOWERERS[mean.op](lowering, mean)
