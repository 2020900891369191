"""LSTM, GRU and RNN: one product for the inputs of all steps, then the compiled recurrence, the directions side by side."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from kernels.network.graph import Node, Value
from kernels.network.lower_layers import linear_step
from kernels.network.lowering import Lowering, lower_by_numpy, lowers
from kernels.network.operators.recurrent import GATES, activation_names
from kernels.network.operators.shaping import text
from kernels.network.views import Array, View
from kernels.primitives.recurrence import ACTIVATIONS, Direction, Ends, Recurrence


@lowers("LSTM", "GRU", "RNN")
def _recurrent(lowering: Lowering, node: Node) -> None:
    inputs: list[Value | None] = [*node.inputs, *[None] * (8 - len(node.inputs))]
    w, r, b, p = (node.constant(i) for i in (1, 2, 3, 7))
    if not _plain(node, inputs) or w is None or r is None or math.prod(node.x.lengths) == 0:
        lower_by_numpy(lowering, node)
        return
    directions, hidden = len(w), r.shape[2]
    steps, batch, _ = node.x.lengths
    dtype, gates = node.x.kind, GATES[node.op]
    home = lowering.home(node.outputs[0])
    rows = home is None or hidden == 1 or home.strides[-1] == 1  # states are handed out as rows, which an output in another order has not
    y = lowering.new(node.outputs[0], range(4), anywhere=rows)
    states = _states(lowering, node, inputs, (directions, batch, hidden), dtype)
    halves, each = [], []
    for d, names in enumerate(activation_names(node, directions)):
        bias = np.zeros(2 * gates * hidden, dtype) if b is None else b[d]
        half, inner = bias[: gates * hidden] + bias[gates * hidden :], None
        if node.op == "GRU" and node.attributes.get("linear_before_reset"):
            inner = bias[5 * hidden :]
            half = np.concatenate([half[: 2 * hidden], bias[2 * hidden : 3 * hidden]])
        halves.append(half)
        backwards = text(node.attributes.get("direction", "forward")) == "reverse" or d == 1
        peepholes = None if p is None else p[d]
        each.append(Direction(np.ascontiguousarray(r[d], dtype), inner, backwards, [name.lower() for name in names], peepholes))
    before = linear_step(lowering, node, lowering.view(node.x), w.reshape(-1, w.shape[2]), np.concatenate(halves))
    recurrence = Recurrence(node.op, each, steps, batch, lowering.settings.threads)
    writes = []
    for d in range(directions):
        part = y.part(1, d, 1)
        writes.append(View(part.buffer, part.offset, (steps, batch, hidden), (y.strides[0], y.strides[2], y.strides[3]), dtype))
        writes += [View(s.buffer, s.offset + d * s.strides[0], (batch, hidden), s.strides[1:], dtype) for s in states]
    lengths = inputs[4] if inputs[4] is not None and not _all_steps(inputs[4], steps) else None
    bind = _bind(recurrence, len(states), lengths is not None)
    method = "compiled recurrence" + (f", state in {recurrence.chunks} parts" if recurrence.chunks > 1 else "")
    reads = [before, *([lowering.ordered(node, lowering.view(lengths))] if lengths else [])]
    lowering.step(node, reads, writes, bind, method, scratch=recurrence.scratch_bytes)
    for value, state in zip(node.outputs[1:], states):
        if lowering.views.get(value) != state:
            lowering.copy(node, state, lowering.new(value))


def _all_steps(lengths: Value, steps: int) -> bool:
    """Whether it is known that every row has all steps."""
    return lengths.data is not None and bool((lengths.data >= steps).all())


def _bind(recurrence: Recurrence, states: int, some: bool) -> Callable[[list[Array], Array], Callable[[], Any]]:
    """Arrays are the products, `some` the rows' lengths, then for each direction y and its states."""

    def bind(arrays: list[Array], scratch: Array) -> Callable[[], Any]:
        before, lengths, ends = arrays[0], arrays[1] if some else None, []
        for i in range(1 + some, len(arrays), 1 + states):
            y, h, *c = arrays[i : i + 1 + states]
            ends.append(Ends(y, y.strides[0] // y.itemsize, y.strides[1] // y.itemsize, h, c[0] if c else None))
        return recurrence.bind(before, ends, scratch, lengths)

    return bind


def _plain(node: Node, inputs: list[Value | None]) -> bool:
    """Whether a layer has nothing that only NumPy does here: other activations, limits."""
    directions = inputs[2].lengths[0] if inputs[2] is not None else 1
    names = {name.lower() for each in activation_names(node, directions) for name in each}
    return (
        (inputs[4] is None or inputs[4].kind == np.int32) and names <= set(ACTIVATIONS)
        and all(each is None or each.data is not None for each in (inputs[3], inputs[7]))
        and not node.attributes.get("layout") and not node.attributes.get("clip") and not node.attributes.get("input_forget")
        and node.x.kind in (np.float32, np.float64)
    )  # fmt: skip


def _states(lowering: Lowering, node: Node, inputs: list[Value | None], shape: tuple[int, ...], dtype: np.dtype) -> list[View]:
    """h, and c of an LSTM, as they are before the first step: copies, which the recurrence makes those after the last."""
    found = []
    for given, value in ((inputs[5], 1), (inputs[6], 2))[: 2 if node.op == "LSTM" else 1]:
        if len(node.outputs) > value:
            state = lowering.new(node.outputs[value], range(3), anywhere=False)
        else:
            state = lowering.temporary(shape, dtype)
        if given is not None:
            lowering.copy(node, lowering.view(given), state)
        else:
            lowering.step(node, [], [state], lambda arrays, scratch: lambda: arrays[0].fill(0), "fill")
        found.append(state)
    return found
