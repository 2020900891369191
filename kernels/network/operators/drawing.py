"""Random numbers, anew in each call unless the node has a seed: what synthesisers and noise layers put in."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from kernels.network.graph import Node
from kernels.network.operators.registry import Array, Meta, operator


def _infer(node: Node) -> list[Meta]:
    return [(node.x.lengths, np.dtype(node.attributes.get("dtype", node.x.kind)))]


def _generator(node: Node) -> np.random.Generator:
    seed = node.attributes.get("seed")
    return np.random.default_rng(None if seed is None else struct.unpack("Q", struct.pack("d", float(seed)))[0])


@operator("RandomNormalLike", infer=_infer, drawn=True)
def _normal(node: Node, x: Array) -> Any:
    numbers = _generator(node).standard_normal(x.shape)
    return (numbers * node.attributes.get("scale", 1.0) + node.attributes.get("mean", 0.0)).astype(node.y.kind)


@operator("RandomUniformLike", infer=_infer, drawn=True)
def _uniform(node: Node, x: Array) -> Any:
    return _generator(node).uniform(node.attributes.get("low", 0.0), node.attributes.get("high", 1.0), x.shape).astype(node.y.kind)
