"""Whole networks as workloads: six published music models with random weights, written as a user of `kernels.sequence` would.

Each is a function from a source of weights to its layers; sizes are those of the catalogue, whose rows name the sources. Every contender
gets the same layers: ours as they stand, the peers as PyTorch calls or an ONNX graph made of `nodes`. Inputs are those of the first layer.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import lru_cache
from math import prod, sqrt
from typing import Any

import numpy as np

from benchmarks.workloads.catalogue import catalogue
from benchmarks.workloads.layer import FLOAT, Floats, Workload
from benchmarks.workloads.nodes import Node, nodes
from kernels import Layer, layer


class Draw:
    """Seeded weights, scaled so that numbers keep their size from layer to layer, as trained ones do."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def weight(self, *shape: int) -> Floats:
        return self.rng.standard_normal(shape, dtype=np.float32) * np.float32(sqrt(2 / prod(shape[1:])))

    def bias(self, count: int) -> Floats:
        return self.rng.standard_normal(count, dtype=np.float32) / 4

    def conv(self, c_out: int, c_in: int, *kernel: int, **options: Any) -> Layer:
        """A convolution whose output is as large as its input, unless told otherwise; an odd one of padding comes after."""
        padding = [((k - 1) // 2, k // 2) for k in kernel]
        return layer(f"conv{len(kernel)}d", self.weight(c_out, c_in, *kernel), self.bias(c_out), **{"padding": padding, **options})

    def norm(self, count: int, axis: int = 1) -> Layer:
        """A batch norm whose factors are positive, as nearly all trained ones are: maxima commute with it."""
        mean, var, gamma = self.bias(count), *(self.rng.uniform(0.5, 1.5, (2, count)).astype(np.float32))
        return layer("batch_norm", mean, var, gamma, self.bias(count), axis=axis)

    def linear(self, outputs: int, inputs: int) -> Layer:
        return layer("linear", self.weight(outputs, inputs), self.bias(outputs))

    def tags(self, outputs: int, inputs: int, gain: float) -> list[Layer]:
        """Probabilities; `gain` brings the sums to about 1, since a sigmoid at its ends would hide errors."""
        return [layer("linear", self.weight(outputs, inputs) * np.float32(gain), self.bias(outputs)), layer("activation", "sigmoid")]


RELU, ELU = layer("activation", "relu"), layer("activation", "elu")
FLATTEN = layer("flatten")


def vggish(draw: Draw) -> list[Layer]:
    """One patch of log-mel to an embedding of 128 numbers. The original flattens channels last, which permutes fc1's columns only."""
    layers: list[Layer] = []
    c_in = 1
    for c_out, pooled in ((64, True), (128, True), (256, False), (256, True), (512, False), (512, True)):
        layers += [draw.conv(c_out, c_in, 3, 3), RELU, *[layer("max_pool2d", 2)] * pooled]
        c_in = c_out
    fc1 = [draw.linear(4096, 512 * 6 * 4), RELU, draw.linear(4096, 4096), RELU]
    return [*layers, FLATTEN, *fc1, draw.linear(128, 4096)]


def cnn14(draw: Draw) -> list[Layer]:
    """10 s of log-mel to 527 tags; the batch norm in front is per mel band, and the last block's 1x1 pool is none."""
    layers = [draw.norm(64, axis=3)]
    c_in = 1
    for c_out in (64, 128, 256, 512, 1024, 2048):
        for c in (c_in, c_out):
            weight = draw.weight(c_out, c, 3, 3)
            layers += [layer("conv2d", weight, padding=1), draw.norm(c_out), RELU]
        layers += [layer("avg_pool2d", 2)] if c_out < 2048 else []
        c_in = c_out
    over_time = layer("add", [layer("global_max_pool")], [layer("global_avg_pool")])
    return [*layers, layer("avg_pool2d", (1, 2)), over_time, FLATTEN, draw.linear(2048, 2048), RELU, *draw.tags(527, 2048, 1 / 32)]


def choi_fcn5(draw: Draw) -> list[Layer]:
    """29 s of log-mel to 50 tags; the batch norm in front is per mel band."""
    layers = [draw.norm(96, axis=2)]
    c_in = 1
    for c_out, pool in ((32, (2, 4)), (128, (2, 4)), (128, (2, 4)), (192, (3, 5)), (256, (4, 4))):
        layers += [draw.conv(c_out, c_in, 3, 3), draw.norm(c_out), ELU, layer("max_pool2d", pool)]
        c_in = c_out
    return [*layers, FLATTEN, *draw.tags(50, 256, 1 / 64)]


def musicnn_frontend(draw: Draw) -> list[Layer]:
    """3 s of log-mel to 561 features a frame: two timbral and three temporal shapes side by side, each reduced over all of frequency."""

    def branch(c_out: int, height: int, width: int) -> list[Layer]:
        conv = draw.conv(c_out, 1, height, width, padding=[((height - 1) // 2, height // 2), (0, 0)])
        return [conv, RELU, draw.norm(c_out), layer("max_pool2d", (1, 96 - width + 1))]

    timbral = [branch(204, 7, 38), branch(204, 7, 67)]
    temporal = [branch(51, length, 1) for length in (128, 64, 32)]
    return [draw.norm(1), layer("concatenate", *timbral, *temporal)]


def samplecnn(draw: Draw) -> list[Layer]:
    """59,049 samples to 50 tags: every step divides time by three."""
    layers = [draw.conv(128, 1, 3, stride=3, padding=0), draw.norm(128), RELU]
    c_in = 128
    for c_out in (128, 128, 256, 256, 256, 256, 256, 256, 512):
        layers += [draw.conv(c_out, c_in, 3), draw.norm(c_out), RELU, layer("max_pool1d", 3)]
        c_in = c_out
    return [*layers, draw.conv(512, 512, 1), draw.norm(512), RELU, FLATTEN, *draw.tags(50, 512, 1 / 4)]


def crepe(draw: Draw) -> list[Layer]:
    """1024 samples to the probabilities of 360 pitches. The original flattens channels last, which permutes the last columns only."""
    layers = [draw.conv(1024, 1, 512, stride=4, padding=[(254, 254)]), RELU, draw.norm(1024), layer("max_pool1d", 2)]
    c_in = 1024
    for c_out in (128, 128, 128, 256, 512):
        layers += [draw.conv(c_out, c_in, 64), RELU, draw.norm(c_out), layer("max_pool1d", 2)]
        c_in = c_out
    return [*layers, FLATTEN, *draw.tags(360, 4 * 512, 1.0)]


@dataclass(frozen=True)
class Network(Workload):
    """A workload of many layers: its input is that of its first layer, whose row of the catalogue the other fields are."""

    build: Callable[[Draw], list[Layer]] | None = None

    @property
    def dims(self) -> int:
        return 1 if self.h == 1 else 2

    @property
    def layers(self) -> list[Layer]:
        """What `kernels.sequence` takes."""
        return _layers(self.id, self.build)

    @property
    def nodes(self) -> tuple[Node, ...]:
        return nodes(self.layers, self.x_shape)

    @property
    def out_shape(self) -> tuple[int, ...]:
        return self.nodes[-1].out_shape

    @property
    def flops(self) -> int:
        """Of convolutions, pools and products; what is done element by element is left out."""
        return sum(node.flops for node in self.nodes)

    @property
    def sums(self) -> tuple[int, ...]:
        """How many terms an output of each layer sums."""
        return tuple(terms for node in self.nodes for terms in node.sums)

    @property
    def bytes(self) -> int:
        """Compulsory traffic: input, all weights read once, output written once."""
        return FLOAT * (prod(self.x_shape) + sum(node.weights for node in self.nodes) + prod(self.out_shape))

    def describe(self) -> str:
        return f"network of {len(self.layers)} layers, {'x'.join(map(str, self.x_shape))} -> {'x'.join(map(str, self.out_shape))}"

    def cut(self, flops: int, *, spatial: bool = True) -> Workload:
        """Itself: there is no smaller one of its kind."""
        return self

    def shorter(self, flops: int) -> Workload:
        """Itself."""
        return self


@lru_cache(maxsize=1)  # contenders of one network run next to each other; VGGish's weights are 290 MB
def _layers(name: str, build: Callable[[Draw], list[Layer]]) -> list[Layer]:
    return build(Draw(zlib.crc32(name.encode())))


FIRST = {
    "vggish.conv1": vggish, "cnn14.b1c1": cnn14, "choi.fcn5.conv1": choi_fcn5, "musicnn.timbral38": musicnn_frontend,
    "samplecnn.conv1": samplecnn, "crepe.conv1": crepe,
}  # fmt: skip


@lru_cache(maxsize=1)
def networks() -> tuple[Network, ...]:
    """All six."""
    rows = {row.id: row for row in catalogue()}
    found = []
    for first, build in FIRST.items():
        row = {field.name: getattr(rows[first], field.name) for field in fields(Workload)}
        row |= {"id": f"network.{build.__name__.replace('_', '-')}", "layer": "all", "op": "network", "bias": False, "core": False}
        found.append(Network(**row, build=build))
    return tuple(found)
