"""Col2Im: blocks that overlap are added where they lie, as dual-path networks put their chunks together again."""

from __future__ import annotations

import itertools
import math
from typing import Any, NamedTuple

import numpy as np

from kernels.network.graph import Node
from kernels.network.operators.registry import Array, Meta, operator, whole
from kernels.problem.errors import ProblemError


class Blocks(NamedTuple):
    """How blocks lie along each axis of an image."""

    image: list[int]
    block: list[int]
    strides: list[int]
    dilations: list[int]
    before: list[int]  # padding
    behind: list[int]
    counts: list[int]  # blocks


def blocks(node: Node) -> Blocks:
    """Of a Col2Im. Raises ProblemError where they are not those of its input."""
    image, block = whole(node, 1), whole(node, 2)
    if image is None or block is None:
        raise ProblemError(f"{node.op} {node.label!r}: its shape depends on image and block, which are not constant")
    axes = len(image)
    strides, dilations = (list(node.attributes.get(name, [1] * axes)) for name in ("strides", "dilations"))
    pads = list(node.attributes.get("pads", [0] * 2 * axes))
    before, behind = pads[:axes], pads[axes:]
    counts = [(n + a + b - d * (k - 1) - 1) // s + 1 for n, k, s, d, a, b in zip(image, block, strides, dilations, before, behind)]
    shape = node.x.lengths
    if len(shape) != 3 or shape[1] % math.prod(block) or shape[2] != math.prod(counts) or min(counts) < 1:
        raise ProblemError(f"{node.op} {node.label!r}: x has shape {shape}, image {image} is {counts} blocks of {block}")
    return Blocks(image, block, strides, dilations, before, behind, counts)


def _infer(node: Node) -> list[Meta]:
    found = blocks(node)
    return [((node.x.lengths[0], node.x.lengths[1] // math.prod(found.block), *found.image), node.x.kind)]


@operator("Col2Im", infer=_infer)
def _col2im(node: Node, x: Array, image: Array, block: Array) -> Any:
    b = blocks(node)
    n, channels = x.shape[0], x.shape[1] // math.prod(b.block)
    columns = x.reshape(n, channels, *b.block, *b.counts)
    y = np.zeros((n, channels, *(size + before + behind for size, before, behind in zip(b.image, b.before, b.behind))), x.dtype)
    for at in itertools.product(*map(range, b.block)):
        place: tuple[Any, ...] = (
            ...,
            *(slice(i * d, i * d + (c - 1) * s + 1, s) for i, d, c, s in zip(at, b.dilations, b.counts, b.strides)),
        )
        term: tuple[Any, ...] = (slice(None), slice(None), *at)
        y[place] += columns[term]
    inside: tuple[Any, ...] = (..., *(slice(before, before + size) for size, before in zip(b.image, b.before)))
    return y[inside]
