"""A row times a matrix: y = activation(W x + bias) for a single x, as heads of classifiers and models of one frame have it.

The matrix is read once and that is what it costs, so it lies packed in the order in which it is read, and threads take blocks of outputs.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba.core import types

from kernels.primitives.recurrence import packed, products
from kernels.primitives.vector_pass import bits, line
from kernels.runtime.ir import call
from kernels.runtime.jit import address
from kernels.runtime.machine import machine
from kernels.runtime.pointers import pointed
from kernels.runtime.regions import region
from kernels.runtime.scratch import handle

Array = np.ndarray

WIDE = 4  # vectors of a block: more would leave nothing to share out
SHARED = 1 << 18  # bytes of a matrix from which another thread is worth waking: it comes from the second-level cache, or from farther
# activations by the name of a pass
PASSES = {"relu": "relu", "leaky_relu": "leaky_relu", "elu": "elu", "gelu": "gelu", "gelu_tanh": "gelu_tanh", "sigmoid": "sigmoid",
          "tanh": "tanh", "silu": "silu", "relu6": "clip"}  # fmt: skip


@region
def _run(block, thread, x, y, matrix, bias, work, product, add, add_form, bend, bend_form, lanes, size, count, columns, wide, p, q):
    """A block of outputs."""
    width = wide * lanes
    place, first = pointed(work) + block * width * size, block * width
    to, few = pointed(y) + first * size, min(width, columns - first)
    call(product, (lanes, size, wide, place, pointed(x), pointed(matrix) + block * count * width * size, count, 1))
    call(add, (add_form, lanes, size, to, place, pointed(bias) + first * size, place, few, p, q))
    if bend:
        call(bend, (bend_form, lanes, size, to, to, to, to, few, p, q))


def fits(columns: int, count: int, itemsize: int, activation: tuple[str, float] | None) -> bool:
    """Whether blocks of outputs are not mostly empty, and the activation is a pass."""
    width = WIDE * machine().lanes(itemsize)
    padded = -(-columns // width) * width
    small = padded * count * itemsize <= 1 << 15
    return (padded <= 1.5 * columns or small) and (activation is None or activation[0] in PASSES)


def vector_matrix(
    weight: Array, bias: Array | None, activation: tuple[str, float] | None, threads: int
) -> tuple[Callable[[Array, Array, Array], Callable[[], None]], int]:
    """(what binds x, y and scratch to a run, bytes of scratch) for weight (out, in)."""
    columns, count = weight.shape
    size, lanes = weight.itemsize, machine().lanes(weight.itemsize)
    matrix, blocks = packed(weight, WIDE)
    held = np.zeros(columns, weight.dtype) if bias is None else np.ascontiguousarray(bias, weight.dtype)
    name, slope = activation or ("", 0.0)
    bend = line(PASSES[name], lanes, size) if name else (0, 0)
    p, q = (0.0, 6.0) if name == "relu6" else (slope, 0.0)
    product = address(products, (lanes, size, WIDE), (types.int64,) * 5)
    fixed = (product, *line("add", lanes, size), *bend, lanes, size, count, columns, WIDE, bits(p), bits(q))
    launch = _run.ready(0, 0, 0, 0, 0, *fixed)
    threads = threads if matrix.nbytes > SHARED else 1

    def bind(x: Array, y: Array, scratch: Array) -> Callable[[], None]:
        places = handle(x), handle(y), handle(matrix), handle(held), handle(scratch)

        def run(kept: tuple[Array, ...] = (x, y, matrix, held, scratch)) -> None:
            launch(threads, blocks, *places, *fixed)

        return run

    return bind, blocks * WIDE * lanes * size
