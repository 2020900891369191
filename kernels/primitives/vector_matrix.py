"""A row times a matrix: y = activation(W x + bias) for a single x, as heads of classifiers and models of one frame have it.

The matrix is read once and that is what it costs, so it lies packed in the order in which it is read, and threads take blocks of outputs.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from kernels.primitives.records import Record, address, integer
from kernels.primitives.row_products import RowProducts, packed, row_products
from kernels.primitives.vector_pass import VectorPass, bits, line
from kernels.runtime.ir import call
from kernels.runtime.machine import machine
from kernels.runtime.pointers import pointed
from kernels.runtime.regions import region
from kernels.runtime.scratch import handle

Array = np.ndarray

VECTORS = 4  # vectors of a block: more would leave nothing to share out
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


class Outputs(Record):
    """A task: a block of outputs."""

    product = address("of the micro-kernel; takes a RowProducts")
    activation = address("of the one that applies it, or copies; takes a VectorPass")
    activation_form = integer("its form")
    lanes = integer("numbers in a vector")
    itemsize = integer("bytes of a number")
    k = integer("inputs")
    columns = integer("outputs")
    p = integer("bits of the activation's first number")
    q = integer("bits of its second")


@region
def _run(block, thread, x, y, matrix, bias, work, geometry):
    """A block of outputs; all are handles but geometry: Outputs."""
    g = geometry[0]
    lanes, size, width = g.lanes, g.itemsize, VECTORS * g.lanes
    place, first = pointed(work) + block * width * size, block * width
    to, few = pointed(y) + first * size, min(width, g.columns - first)
    rows = pointed(matrix) + block * g.k * width * size
    call(
        g.product,
        RowProducts(
            lanes=lanes, itemsize=size, vectors=VECTORS, rows=1, y=place, y_row=0, y_group=0, x=pointed(x), x_row=0, matrix=rows, k=g.k,
            groups=1, blocks=1, source=pointed(bias) + first * size, source_row=0, source_group=0, columns=few, present=1,
        ),
    )  # fmt: skip
    call(
        g.activation,
        VectorPass(form=g.activation_form, lanes=lanes, itemsize=size, y=to, a=place, b=place, c=place, numbers=few, p=g.p, q=g.q),
    )  # fmt: skip


def fits(columns: int, count: int, itemsize: int, activation: tuple[str, float] | None) -> bool:
    """Whether blocks of outputs are not mostly empty, and the activation is a pass."""
    width = VECTORS * machine().lanes(itemsize)
    padded = -(-columns // width) * width
    small = padded * count * itemsize <= 1 << 15
    return (padded <= 1.5 * columns or small) and (activation is None or activation[0] in PASSES)


def vector_matrix(
    weight: Array, bias: Array | None, activation: tuple[str, float] | None, threads: int
) -> tuple[Callable[[Array, Array, Array], Callable[[], None]], int]:
    """(what binds x, y and scratch to a run, bytes of scratch) for weight (out, in)."""
    columns, count = weight.shape
    size, lanes = weight.itemsize, machine().lanes(weight.itemsize)
    blocks = -(-columns // (VECTORS * lanes))
    matrix = packed(weight, 1, 1, blocks, VECTORS)
    biases = np.zeros(columns, weight.dtype) if bias is None else np.ascontiguousarray(bias, weight.dtype)
    follow = following(activation, lanes, size)
    if activation is None:
        follow["activation"], follow["activation_form"] = line("copy", lanes, size)
    product = row_products(VECTORS, 1, lanes, size)
    geometry = Outputs.packed(product=product, lanes=lanes, itemsize=size, k=count, columns=columns, **follow)
    launch = _run.ready(0, 0, 0, 0, 0, geometry)
    threads = threads if matrix.nbytes > SHARED else 1

    def bind(x: Array, y: Array, scratch: Array) -> Callable[[], None]:
        places = handle(x), handle(y), handle(matrix), handle(biases), handle(scratch)

        def run(keep_alive: tuple[Array, ...] = (x, y, matrix, biases, scratch)) -> None:
            launch(threads, blocks, *places, geometry)

        return run

    return bind, blocks * VECTORS * lanes * size
