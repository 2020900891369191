"""The recurrent half of LSTM, GRU and RNN layers: h R^T for some rows at a time, gates, new state, step after step (`recurrent_steps`).

The products with the input of all steps are one matrix product beforehand, with which the sums of `row_products` begin. Rows of a batch and
the two directions are independent, so threads take those. Where there are fewer than threads and a step reads much, threads take parts of
the state, each with its columns of R, which stay in its own cache; then a step is a region of its own, since it needs all of the state
before.
Reference: S. Hochreiter and J. Schmidhuber, "Long short-term memory", Neural Computation 9(8), 1997; peepholes: F. Gers and
J. Schmidhuber, "Recurrent nets that time and count", IJCNN 2000; K. Cho et al., arXiv 1406.1078.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from kernels.cost.calibration import threads_for
from kernels.primitives.recurrent_steps import REGIONS, Steps
from kernels.primitives.row_products import packed, row_products
from kernels.primitives.vector_pass import line
from kernels.runtime.machine import machine
from kernels.runtime.scratch import handle, whole

Array = np.ndarray

VECTORS = 8  # vectors of a block of columns at most: as many sums as two units of four cycles keep busy
NARROW = 4  # the same of more rows than have room for so many: a vector of R from the second-level cache serves them all
ROWS = 8  # rows of a task at most
CYCLES = 1.5  # of a vector of R that comes from the second-level cache
PASSES = ("fill", "mul", "sub", "fma")
ACTIVATIONS = ("sigmoid", "tanh", "relu")  # that gates and states may have
ROLES = {"LSTM": ("gate", "new", "seen"), "GRU": ("gate", "new"), "RNN": ("new",)}  # of activations, in ONNX's order
AT_ONCE = {"LSTM": 4, "GRU": 2, "RNN": 1}  # gates of the matrix that a step begins with


class Direction(NamedTuple):
    """What one direction of a layer multiplies its state with. recurrent: (gates * hidden, hidden). inner: the bias that a GRU that is
    linear before its reset adds to R h. backwards: from the last step to the first. activations: of ACTIVATIONS, as ONNX has them for its
    kind. peepholes: (3 * hidden), what an LSTM's input, output and forget gates multiply its cells with."""

    recurrent: Array
    inner: Array | None
    backwards: bool
    activations: Sequence[str]
    peepholes: Array | None = None


class Ends(NamedTuple):
    """What one direction reads and writes besides its products. y (steps, batch, hidden), last axis contiguous; its steps per step and row
    in numbers. h and c (batch, hidden): the state before, which becomes the state after; c of an LSTM only."""

    y: Array
    by_step: int
    by_row: int
    h: Array
    c: Array | None


def _passes(of_roles: dict[str, str], lanes: int, size: int) -> dict[str, int]:
    """The fields of a record for passes by their roles."""
    found = {role: line(name, lanes, size) for role, name in of_roles.items()}
    return {role: at for role, (at, _) in found.items()} | {f"{role}_form": form for role, (_, form) in found.items()}


def _lines(numbers: Array, chunks: int, rows: int, wide: int) -> Array:
    """Three times `hidden` numbers as (chunks, 3, rows, wide): for each part a line a gate, the same in all rows, zeros past the last."""
    each = np.zeros((3, chunks * wide), numbers.dtype)
    each[:, : len(numbers) // 3] = numbers.reshape(3, -1)
    return np.repeat(each.reshape(3, chunks, 1, wide).swapaxes(0, 1), rows, axis=2)


class Recurrence:
    """All directions of an "LSTM", "GRU" or "RNN" layer: `bind(before, ends, scratch)`.

    before (steps, batch, directions * gates * hidden): products with the input and biases, direction by direction. chunks: parts of the
    state that threads take.
    """

    def __init__(self, kind: str, directions: Sequence[Direction], steps: int, batch: int, threads: int) -> None:
        columns, hidden = directions[0].recurrent.shape
        dtype, gru = directions[0].recurrent.dtype, kind == "GRU"
        size, lanes = dtype.itemsize, machine().lanes(dtype.itemsize)
        alone, gates = batch * len(directions), columns // hidden
        self._threads = threads if steps * hidden * columns * alone > 1 << 18 else 1
        at_once = not gru or directions[0].inner is not None  # whether all products of a step are with the state before
        many = -(-hidden // lanes)
        parts = threads_for(hidden * gates * many * CYCLES, self._threads) // alone if at_once else 1
        of_a_part = -(-many // max(1, parts))
        sums = 24 if machine().registers > 16 else 12  # that stay in registers
        most = min(ROWS, -(-alone // self._threads))
        blocks = -(-of_a_part // (VECTORS if most * VECTORS <= sums else NARROW))
        vectors = -(-of_a_part // blocks)
        self.chunks = chunks = -(-many // (blocks * vectors))
        groups = -(-batch // min(most, sums // vectors))
        rows, wide = -(-batch // groups), blocks * vectors * lanes
        line_bytes, states = rows * wide * size, len(directions) * groups * 2
        self._own, self._own_bytes = whole(states * chunks * line_bytes), whole((1 + gates) * line_bytes) + whole(line_bytes)
        self._tasks, self._steps = len(directions) * groups * chunks, steps
        self._turns = [(-1, steps)] if chunks == 1 else [(-1, 0), *((i, i + 1) for i in range(steps))]
        product, first = row_products(vectors, rows, lanes, size), AT_ONCE[kind]
        self._packed: list[list[Array | None]] = []
        records = []
        for each in directions:
            matrix = packed(each.recurrent[: first * hidden], first, chunks, blocks, vectors)
            last = packed(each.recurrent[first * hidden :], 1, chunks, blocks, vectors) if gru else None
            inner = None if each.inner is None else np.ascontiguousarray(each.inner)
            peepholes = None if each.peepholes is None else _lines(each.peepholes, chunks, rows, wide)
            self._packed.append([matrix, last, inner, peepholes])
            roles = dict.fromkeys(ROLES["LSTM"], "fill") | dict(zip(ROLES[kind], each.activations))  # nothing calls those of other kinds
            records.append(Steps.packed(
                steps=steps, hidden=hidden, backwards=each.backwards, batch=batch, rows=rows, groups=groups, chunks=chunks, wide=wide,
                blocks=blocks, lanes=lanes, before_row=len(directions) * columns, by_step=0, by_row=0, before=0, y=0, h=0, c=0, lengths=0,
                matrix=handle(matrix), last=handle(last), inner=handle(inner), peepholes=handle(peepholes), work=0, own=self._own,
                own_bytes=self._own_bytes, product=product, **_passes({name: name for name in PASSES} | roles, lanes, size),
            ))  # fmt: skip
        self._records = np.concatenate(records)
        self._launch = REGIONS[kind].ready(self._records, size, 0, 0)
        self._width, self._size = columns, size

    @property
    def scratch_bytes(self) -> int:
        """Bytes of scratch that a run uses."""
        return self._own + self._own_bytes * self._tasks

    def bind(self, before: Array, ends: Sequence[Ends], scratch: Array, lengths: Array | None = None) -> Callable[[], None]:
        """What runs it on these arrays, an `Ends` for each direction. lengths (batch): steps of each row, int32; behind them y is zero."""
        records, products_of = self._records.copy(), []
        for i, end in enumerate(ends):
            products_of.append(before[..., i * self._width :])
            records["before"][i], records["y"][i], records["h"][i] = handle(products_of[-1]), handle(end.y), handle(end.h)
            records["c"][i], records["work"][i] = handle(end.c), handle(scratch)
            records["by_step"][i], records["by_row"][i], records["lengths"][i] = end.by_step, end.by_row, handle(lengths)
        launch, threads, tasks, size, turns = self._launch, self._threads, self._tasks, self._size, self._turns

        def run(keep_alive: Any = (products_of, ends, scratch, lengths, self)) -> None:
            for first, end in turns:
                launch(threads, tasks, records, size, first, end)

        return run
