"""Joins, paddings and choices: what is not written in place already is copied there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kernels.network.graph import Node
from kernels.network.lowering import Lowering, lower_by_numpy, lowers
from kernels.network.operators.shaping import pad_pairs, text
from kernels.network.views import Array, View


@lowers("Concat")
def _concat(lowering: Lowering, node: Node) -> None:
    home = lowering.home(node.y)
    assert home is not None, "every concatenation has a place beforehand"
    lowering.views[node.y] = home
    axis, start = int(node.attributes["axis"]) % len(node.y.lengths), 0
    for value in [each for each in node.inputs if each is not None]:
        part = home.part(axis, start, value.lengths[axis])
        lowering.copy(node, lowering.view(value), part)
        start += value.lengths[axis]


@lowers("Choose")
def _choose(lowering: Lowering, node: Node) -> None:
    condition, *results = (lowering.view(value) for value in node.inputs if value is not None)
    y = lowering.new(node.y)
    for taken, result in zip((True, False), results):
        lowering.when = condition, taken
        lowering.copy(node, result, y)
    lowering.when = None


@lowers("Pad")
def _pad(lowering: Lowering, node: Node) -> None:
    pairs = pad_pairs(node, len(node.x.lengths))
    mode = text(node.attributes.get("mode", "constant"))
    fill = node.constant(2)
    known = fill is not None or len(node.inputs) < 3 or node.inputs[2] is None
    shape = node.x.lengths
    if min(map(min, pairs)) < 0 or not known or mode == "wrap" or (mode == "reflect" and any(max(p) >= n for p, n in zip(pairs, shape))):
        lower_by_numpy(lowering, node)
        return
    x, y = lowering.view(node.x), lowering.new(node.y, _wanted(lowering, node))
    inner = y
    for axis, ((before, _), n) in enumerate(zip(pairs, shape)):
        inner = inner.part(axis, before, n)
    lowering.copy(node, x, inner)
    number = 0 if fill is None else np.ravel(fill)[0]
    borders = _borders(y, pairs, shape)
    if mode == "constant":
        places = [to for to, _ in borders]
        if places:
            lowering.step(node, [], places, lambda arrays, scratch: _filler(arrays, number), "fill")
        return
    for to, (axis, n, after) in borders:  # in the order of axes, so that corners are filled from borders
        before = pairs[axis][0]
        inner = _inside(y, pairs, shape, axis)
        if mode == "edge":
            source = inner.part(axis, before + (n - 1 if after else 0), 1).expanded(to.shape)
        else:
            source = inner.part(axis, before + n - 2 if after else 2 * before, to.shape[axis], -1)
        lowering.copy(node, source, to)


def _wanted(lowering: Lowering, node: Node) -> tuple[int, ...] | None:
    """The order that readers want, else that in which the input lies."""
    if lowering.home(node.y) is not None:
        return None
    return lowering.orders.get(node.y, lowering.view(node.x).order())


def _borders(y: View, pairs: list[tuple[int, int]], shape: tuple[int, ...]) -> list[tuple[View, tuple[int, int, bool]]]:
    """The parts of y outside the input, axis by axis: those of later axes reach over the whole length of earlier ones."""
    found = []
    for axis, ((before, after), n) in enumerate(zip(pairs, shape)):
        inner = _inside(y, pairs, shape, axis)
        if before:
            found.append((inner.part(axis, 0, before), (axis, n, False)))
        if after:
            found.append((inner.part(axis, before + n, after), (axis, n, True)))
    return found


def _inside(y: View, pairs: list[tuple[int, int]], shape: tuple[int, ...], axis: int) -> View:
    """y without the borders of the axes behind this one."""
    for later in range(axis + 1, len(shape)):
        y = y.part(later, pairs[later][0], shape[later])
    return y


def _filler(arrays: list[Array], number: Any) -> Callable[[], None]:
    def run() -> None:
        for array in arrays:
            array[...] = number

    return run
