"""How frames were cut out of a signal: under which window, every how many numbers."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from kernels.network.graph import Graph, Node, Value
from kernels.network.operators.shaping import slices

Array = np.ndarray


@dataclasses.dataclass(frozen=True)
class Framing:
    """`frames` frames of `length` numbers, `hop` numbers apart, under a window, of the signal (1, numbers) that the nodes make."""

    signal: Value
    frames: int
    length: int
    hop: int
    window: Array | None
    nodes: list[Node]


def framing(graph: Graph, value: Value, makers: dict[Value, Node]) -> Framing:
    """Of frames (..., length). Where it is not seen how they were cut they are a signal themselves, one behind the other."""
    length, window = value.lengths[-1], None
    maker = makers.get(value)
    if maker is not None and maker.op == "Mul":
        for x, factors in (maker.inputs, maker.inputs[::-1]):
            assert x is not None and factors is not None, "a product has two factors"
            if factors.data is not None and factors.data.size == length == factors.lengths[-1] and x.shape == value.shape:
                value, window = x, factors.data.ravel()
                break
    frames = math.prod(value.lengths[:-1])
    cut = _shifted_slices(value, makers)
    x, hop, start = cut if cut is not None else (value, length, 0)
    line = Value(f"{value.name}.line", (1, math.prod(x.lengths)), value.dtype)
    nodes = [Node("Reshape", [x, graph.constant([1, -1], np.int64)], [line], {}, line.name)]
    stop = start + (frames - 1) * hop + length
    signal = Value(f"{value.name}.signal", (1, stop - start), value.dtype)
    numbers = [graph.constant([each], np.int64) for each in (start, stop, 1)]
    nodes.append(Node("Slice", [line, *numbers], [signal], {}, signal.name))
    return Framing(signal, frames, length, hop, window, nodes)


def _shifted_slices(value: Value, makers: dict[Value, Node]) -> tuple[Value, int, int] | None:
    """(x, hop, start) of frames (frames, n hop) that are n runs of rows of x (rows, hop), each a row further, side by side, as
    `tf.signal.frame` cuts them; start: the number of x at which the first frame begins."""
    maker = makers.get(value)
    if maker is None or maker.op != "Concat" or len(value.lengths) != 2 or int(maker.attributes["axis"]) % 2 != 1:
        return None
    runs = [None if part is None else _run(makers.get(part)) for part in maker.inputs]
    first = runs[0]
    if first is None or any(run != (first[0], first[1] + i) for i, run in enumerate(runs)):
        return None
    x, row = first
    return x, x.lengths[1], row * x.lengths[1]


def _run(node: Node | None) -> tuple[Value, int] | None:
    """(x, the first row) of a slice of whole rows, one after the other."""
    if node is None or node.op != "Slice" or any(each is not None and each.data is None for each in node.inputs[1:]):
        return None
    given = [node.constant(i) for i in (1, 2, 3, 4)]
    cuts = {at: (start, step) for at, start, _, step in slices(node, node.x.lengths, given)}
    row, step = cuts.get(0, (0, 1))
    whole = len(node.x.lengths) == 2 and node.x.lengths[1] == node.y.lengths[1] and cuts.get(1, (0, 1))[1] == 1
    return (node.x, row) if whole and step == 1 else None
