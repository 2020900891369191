"""A row times a matrix: y = activation(W x + bias) for a single x, as heads of classifiers and models of one frame have it.

The matrix is read once and that is what it costs, so it lies packed in the order in which it is read, and threads take blocks of outputs.
Small layers behind it are done by the thread that finishes its last block: to launch one takes as long as to compute it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from kernels.primitives.records import Record, address, integer
from kernels.primitives.row_products import RowProducts, packed, row_products
from kernels.primitives.vector_pass import VectorPass, bits, line
from kernels.runtime.atomics import add
from kernels.runtime.constants import made
from kernels.runtime.ir import call
from kernels.runtime.jit import njit
from kernels.runtime.machine import machine
from kernels.runtime.pointers import pointed
from kernels.runtime.regions import region
from kernels.runtime.scratch import handle

Array = np.ndarray

VECTORS = 4  # vectors of a block at most: more would leave nothing to share out
AHEAD = 4096  # bytes that the matrix is prefetched ahead: a page, across whose end the hardware prefetches nothing by itself
SHARED = 1 << 17  # bytes of a matrix from which another thread is worth waking: in a network it comes from the last-level cache
# activations by the name of a pass
PASSES = {"relu": "relu", "leaky_relu": "leaky_relu", "elu": "elu", "gelu": "gelu", "gelu_tanh": "gelu_tanh", "sigmoid": "sigmoid",
          "tanh": "tanh", "silu": "silu", "relu6": "clip", "hardsigmoid": "hardsigmoid",
          "hardswish": "hardswish"}  # fmt: skip


def pass_numbers(name: str, slope: float) -> tuple[float, float]:
    """The two numbers that the pass of an activation takes."""
    return (0.0, 6.0) if name == "relu6" else (slope, 0.0)


def following(activation: tuple[str, float] | None, lanes: int, itemsize: int) -> dict[str, int]:
    """Fields of a record that say which pass applies an activation: its address (0: none), its form, the bits of its two numbers."""
    if not activation:
        return {"activation": 0, "activation_form": 0, "p": bits(0.0), "q": bits(0.0)}
    name, slope = activation
    address, form = line(PASSES[name], lanes, itemsize)
    p, q = pass_numbers(name, slope)
    return {"activation": address, "activation_form": form, "p": bits(p), "q": bits(q)}


class RowLayerRecord(Record):
    """A layer, computed by blocks of outputs."""

    x = address("of its handle")
    y = address("of its handle")
    matrix = address("of its handle")
    bias = address("of its handle")
    work = address("of the handle of scratch: a block's sums before the activation")
    blocks = integer("of outputs")
    product = address("of the micro-kernel; takes a RowProducts")
    activation = address("of the one that applies it, or copies; takes a VectorPass")
    activation_form = integer("its form")
    width = integer("numbers of a block: whole vectors")
    lanes = integer("numbers in a vector")
    itemsize = integer("bytes of a number")
    k = integer("inputs")
    columns = integer("outputs")
    p = integer("bits of the activation's first number")
    q = integer("bits of its second")


@njit
def _block(layers, layer, block):
    """A block of outputs of a layer."""
    g = layers[layer]
    lanes, size, width = g.lanes, g.itemsize, g.width
    place, first = pointed(g.work) + block * width * size, block * width
    to, few = pointed(g.y) + first * size, min(width, g.columns - first)
    rows = pointed(g.matrix) + block * g.k * width * size
    call(
        g.product,
        RowProducts(
            lanes=lanes, itemsize=size, vectors=0, rows=1, ahead=AHEAD, y=place, y_row=0, y_group=0, x=pointed(g.x), x_row=0,
            matrix=rows, k=g.k, groups=1, blocks=1, source=pointed(g.bias) + first * size, source_row=0, source_group=0, columns=few,
            present=1, from_end=0,
        ),
    )  # fmt: skip
    call(
        g.activation,
        VectorPass(form=g.activation_form, lanes=lanes, itemsize=size, y=to, a=place, b=place, c=place, numbers=few, p=g.p, q=g.q),
    )  # fmt: skip


@region
def _run(block, thread, unfinished, layers):
    """A block of outputs of the first layer, and behind the last of these the other layers; unfinished: a handle of how many blocks are not
    done, layers: a row of RowLayerRecord."""
    _block(layers, 0, block)
    if len(layers) > 1 and add(pointed(unfinished), -1) == 1:
        for layer in range(1, len(layers)):
            for i in range(layers[layer].blocks):
                _block(layers, layer, i)


def fits(columns: int, count: int, itemsize: int, activation: tuple[str, float] | None) -> bool:
    """Whether blocks of outputs are not mostly empty, and the activation is a pass."""
    blocks, width = _blocks(columns, machine().lanes(itemsize))
    padded = blocks * width
    small = padded * count * itemsize <= 1 << 15
    return (padded <= 1.5 * columns or small) and (activation is None or activation[0] in PASSES)


def _blocks(columns: int, lanes: int) -> tuple[int, int]:
    """How many blocks of outputs, and numbers of a block: few outputs have no more vectors than they fill."""
    width = min(VECTORS, -(-columns // lanes)) * lanes
    return -(-columns // width), width


class RowLayer(NamedTuple):
    """A layer of a single row as it runs: fields of its record but where its arrays are, the packed matrix, the biases."""

    fields: dict[str, int]
    matrix: Array
    biases: Array

    @property
    def small(self) -> bool:
        """Whether one thread does it sooner than it wakes another."""
        return self.matrix.nbytes <= SHARED


def row_layer(weight: Array, bias: Array | None, activation: tuple[str, float] | None) -> RowLayer:
    """A layer for weight (out, in)."""
    columns, count = weight.shape
    size, lanes = weight.itemsize, machine().lanes(weight.itemsize)
    blocks, width = _blocks(columns, lanes)
    biases = np.zeros(columns, weight.dtype) if bias is None else np.ascontiguousarray(bias, weight.dtype)
    follow = following(activation, lanes, size)
    if activation is None:
        follow["activation"], follow["activation_form"] = line("copy", lanes, size)
    product = row_products(width // lanes, 1, lanes, size, AHEAD)
    sizes = {"width": width, "lanes": lanes, "itemsize": size, "k": count, "columns": columns, "blocks": blocks}
    matrix = made((row_layer, width), lambda weight: packed(weight, 1, 1, blocks, width // lanes), weight)
    return RowLayer({"product": product, **sizes, **follow}, matrix, biases)


class RowLayers:
    """Layers of a single row one behind the other; all but the first are small."""

    def __init__(self, layers: Sequence[RowLayer], threads: int) -> None:
        self.layers, self._threads = tuple(layers), threads

    def then(self, layer: RowLayer) -> RowLayers:
        """The same and one more."""
        return RowLayers([*self.layers, layer], self._threads)

    @property
    def scratch_bytes(self) -> int:
        """Bytes of scratch that a run uses."""
        return max(each.fields["blocks"] * each.fields["width"] * each.fields["itemsize"] for each in self.layers)

    def bind(self, arrays: Sequence[Array], scratch: Array) -> Callable[[], None]:
        """What runs them on x, the last layer's y, and those of the layers before in order."""
        x, y, *hidden = arrays
        ends = [x, *hidden, y]
        records = [
            RowLayerRecord.packed(
                **each.fields, x=handle(ends[i]), y=handle(ends[i + 1]), matrix=handle(each.matrix), bias=handle(each.biases),
                work=handle(scratch),
            )
            for i, each in enumerate(self.layers)
        ]  # fmt: skip
        first = self.layers[0]
        threads, blocks, layers = 1 if first.small else self._threads, first.fields["blocks"], np.concatenate(records)
        unfinished = np.array([blocks])
        launch, counted = _run.ready(0, layers), handle(unfinished)

        def run(keep_alive: object = (self.layers, *arrays, scratch)) -> None:
            unfinished[0] = blocks  # whatever a call that was interrupted left there
            launch(threads, blocks, counted, layers)

        return run
