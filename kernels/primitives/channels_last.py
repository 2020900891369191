"""Channels last: arrays (n, *spatial, c) for methods that know channels first, transposed in blocks on all threads.

The input is transposed into scratch before a method runs and its output out of scratch afterwards, one pass over memory each.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from kernels.cost.calibration import threads_for
from kernels.primitives.prepared import Prepared, Run
from kernels.primitives.transpose import Transpose, transpose
from kernels.problem.conv import Problem
from kernels.problem.operands import Operands
from kernels.runtime.ir import call, split
from kernels.runtime.machine import machine
from kernels.runtime.pointers import pointed
from kernels.runtime.regions import region
from kernels.runtime.scratch import Scratch, handle, whole

Array = np.ndarray

BLOCK = 4  # vectors along either side of a thread's block: both it and its transposed form lie in the first-level cache
CYCLES = 12  # a vector: its shuffles, its way from the second-level cache and back


@region
def _run(task, thread, x, out, kernel, lanes, size, images, rows, columns, side):
    """A block of side x side numbers of x (images, rows, columns) as out (images, columns, rows), both handles."""
    down, across = (rows + side - 1) // side, (columns + side - 1) // side
    rest, j = split(task, across)
    image, i = split(rest, down)
    r, c = i * side, j * side
    start = image * rows * columns
    to, source = pointed(out) + (start + c * rows + r) * size, pointed(x) + (start + r * columns + c) * size
    call(
        kernel,
        Transpose(
            lanes=lanes, itemsize=size, dst=to, dst_pitch=rows, src=source, src_pitch=columns, rows=min(side, rows - r),
            columns=min(side, columns - c),
        ),
    )  # fmt: skip


def transposing(shape: tuple[int, int, int], itemsize: int, threads: int) -> Callable[[Array, Array], None]:
    """Compile x (images, rows, columns) -> out (images, columns, rows), contiguous arrays of elements of 4 or 8 bytes in any shape."""
    lanes = machine().lanes(itemsize)
    threads = threads_for(CYCLES * math.prod(shape) / lanes, threads)
    fixed = transpose(lanes, itemsize), lanes, itemsize, *shape, BLOCK * lanes
    launch, (images, rows, columns) = _run.ready(0, 0, *fixed), shape
    tasks = images * -(-rows // (BLOCK * lanes)) * -(-columns // (BLOCK * lanes))

    def run(x: Array, out: Array) -> None:
        launch(threads, tasks, handle(x), handle(out), *fixed)

    return run


class _Array:
    """An array of canonical `shape` that the user holds with its channels last; `start`: where in scratch its canonical form lies."""

    def __init__(self, shape: tuple[int, ...], dtype: str, start: int, threads: int, *, inwards: bool) -> None:
        n, channels, *size = shape
        positions = math.prod(size)
        self.shape, self.dtype, self.start = shape, np.dtype(dtype), start
        self.alike = 1 in (channels, positions)  # one order in memory
        self.end = start if self.alike else start + math.prod(shape) * self.dtype.itemsize
        if not self.alike:
            rows, columns = (positions, channels) if inwards else (channels, positions)
            self.transposing = transposing((n, rows, columns), self.dtype.itemsize, threads)

    def canonical(self, array: Array, buffer: Array) -> Array:
        """Where the canonical form of the user's array is, or will be."""
        return (array if self.alike else buffer[self.start : self.end].view(self.dtype)).reshape(self.shape)


def channels_last(prepared: Prepared, problem: Problem, threads: int) -> Prepared:
    """`prepared` for arrays with channels last: x (n, *size, c_in), out and indices (n, *out_size, c_out)."""
    source = _Array(problem.x_shape, problem.dtype, 0, threads, inwards=True)
    result = _Array(problem.out_shape, problem.dtype, whole(source.end), threads, inwards=False)
    results = [result]
    if getattr(problem, "return_indices", False):
        results.append(_Array(problem.out_shape, "int64", whole(result.end), threads, inwards=False))
    scratch = Scratch(results[-1].end)

    def pack(operands: Operands) -> Run:
        compute = prepared.pack(operands)

        def run(x: Array, *outs: Array) -> None:
            buffer = scratch.take()
            y, inner = source.canonical(x, buffer), [each.canonical(out, buffer) for each, out in zip(results, outs)]
            if not source.alike:
                source.transposing(x, y)
            compute(y, *inner)
            for each, array, out in zip(results, inner, outs):
                if not each.alike:
                    each.transposing(array, out)
            scratch.give(buffer)

        return run

    note = f"{prepared.note}; channels last: {scratch.nbytes:,} bytes transposed" if scratch.nbytes else prepared.note
    return Prepared(pack, prepared.workspace_bytes + scratch.nbytes, note)
