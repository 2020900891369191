"""Products of matrices that both change from call to call, as attention has them: y[i] = a[i] b[i] for many matrices of one shape.

A task packs some columns of one b, vectors of each row side by side, into scratch that stays in the second-level cache, and multiplies them
with rows of a where they lie (`panel_tile`). A b that stays is packed once; a row or a whole matrix may be added in registers, and an
activation applied to a panel of a block of rows while it is in the first-level cache. BLAS is not used: its threads and these fight
for cores, and products of 109x64 by 64x109 took 5 to 40 ms each. Packing b and not a follows K. Goto and R. van de Geijn, "Anatomy of
high-performance matrix multiplication", ACM TOMS 34 (2008), with the parts of the two changed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from kernels.cost.calibration import calibration, threads_for
from kernels.primitives.activations import ActivationPass, codes, lines
from kernels.primitives.panel_tile import PanelTile, panel_tile
from kernels.primitives.records import Record, address, integer
from kernels.primitives.transpose import Transpose, transpose
from kernels.runtime.byte_copy import copy_bytes
from kernels.runtime.constants import made
from kernels.runtime.ir import call, read_index, split
from kernels.runtime.machine import machine
from kernels.runtime.pointers import pointed, read_number, write_number
from kernels.runtime.regions import region
from kernels.runtime.scratch import handle, whole

Array = np.ndarray

ROWS = 8  # rows of a tile, whose addresses stay in registers
DEEP = 512  # terms summed before the next are packed
PACKED = 1 << 18  # bytes of packed columns, which share the second-level cache with rows of a
TASKS = 3  # tasks a thread, so that one that is held up does fewer
BLOCK = 8  # tiles of rows that a panel is multiplied with, lying in the first-level cache, before the next panel
FEWEST = 4  # rows of tiles of a task where rows are shared out
CALL, NEXT, TASK = 90, 23, 300  # cycles to call tiles, for each of them beside its sums, for a task


class MatrixStrides(NamedTuple):
    """Numbers from row to row and from column to column, r being what is added. That of a's, y's and r's columns must be 1."""

    a_row: int
    b_row: int
    b_column: int
    y_row: int
    r_row: int = 0


class Columns(Record):
    """A task: some columns of one product, for some rows."""

    tile = address("of the micro-kernel for ROWS rows; takes a PanelTile")
    edge = address("of the one for the rows that are left, or 0")
    transpose = address("of the micro-kernel that packs b where its columns are contiguous, or 0; takes a Transpose")
    m = integer("rows of a tile")
    wide = integer("vectors of a tile")
    lanes = integer("numbers in a vector")
    itemsize = integer("bytes of a number")
    rows = integer("of a")
    columns = integer("of b")
    deep = integer("terms that are summed at a time, at most")
    blocks = integer("in how many pieces")
    steps = address("of where in a row of a each piece begins, and how many numbers it has: two int64s each")
    panels = integer("of `wide` vectors of columns, of one product")
    at_once = integer("panels of a task")
    part = integer("rows of a task, a multiple of m")
    block = integer("rows that a panel is multiplied with before the next, a multiple of m")
    a_row = integer("numbers from row to row of a")
    b_row = integer("of b")
    b_column = integer("numbers from column to column of b")
    y_row = integer("numbers from row to row of y")
    places = address("of where each product's a, b, y and r begin: four int64s each, in numbers")
    share = integer("bytes of a thread's scratch")
    constant = address("of b packed already, [piece][panel][row][column], or 0")
    bias = address("of a row that is added, which fills whole panels, or 0")
    r_row = integer("numbers from row to row of the matrix that is added")
    activation = address("of the micro-kernel that applies it, or 0; takes an ActivationPass")
    activation_form = integer("its form")
    activation_code = integer("what it does besides")
    slope = integer("bits of a float64")


@region
def _run(task, thread, a, b, y, r, scratch, zero, geometry):
    """Pack columns, multiply; a, b, y, r (what is added, or 0) and scratch are handles, geometry: Columns."""
    g = geometry[0]
    size, width = g.itemsize, g.wide * g.lanes
    rest, part = split(task, (g.rows + g.part - 1) // g.part)
    product, group = split(rest, (g.panels + g.at_once - 1) // g.at_once)
    panel = group * g.at_once
    panels = min(g.at_once, g.panels - panel)
    place = g.places + 32 * product
    from_a = pointed(a) + read_index(place, 0) * size
    from_b = pointed(b) + read_index(place, 1) * size
    to = pointed(y) + read_index(place, 2) * size
    from_r = pointed(r) + read_index(place, 3) * size if r else 0
    packed = pointed(scratch) + thread * g.share
    first_row, end_row = part * g.part, min((part + 1) * g.part, g.rows)
    start = panel * width
    first = 0
    for block in range(g.blocks):
        in_row, deep = read_index(g.steps, 2 * block), read_index(g.steps, 2 * block + 1)
        if g.constant:
            packed = g.constant + (block * g.panels + panel) * g.deep * width * size
        for i in range(0 if g.constant else panels):
            column = (panel + i) * width
            count = min(width, g.columns - column)
            source = from_b + (first * g.b_row + column * g.b_column) * size
            into = packed + i * g.deep * width * size
            if g.transpose:
                call(
                    g.transpose,
                    Transpose(
                        lanes=g.lanes, itemsize=size, dst=into, dst_pitch=width, src=source, src_pitch=g.b_column, rows=count, columns=deep
                    ),
                )  # fmt: skip
            elif g.b_column == 1:
                for k in range(deep):
                    copy_bytes(into + k * width * size, source + k * g.b_row * size, count * size)
            else:
                for k in range(deep):
                    for j in range(count):
                        number = read_number(source + (k * g.b_row + j * g.b_column) * size, zero)
                        write_number(into + (k * width + j) * size, number)
        last = block + 1 == g.blocks
        for row in range(first_row, end_row, g.block):
            rows = min(g.block, end_row - row)
            full, left = rows // g.m, rows % g.m
            for i in range(panels):
                column = start + i * width
                bias = g.bias + column * size if block == 0 and g.bias else 0
                for tile, top, times in ((g.tile, row, full), (g.edge, row + full * g.m, int(left > 0))):
                    if times:
                        at = to + (top * g.y_row + column) * size
                        added, r_row = (at, g.y_row) if block else (from_r + (top * g.r_row + column) * size if r else 0, g.r_row)
                        call(
                            tile,
                            PanelTile(
                                m=g.m, n=g.wide, lanes=g.lanes, itemsize=size, k=deep, a=from_a + (top * g.a_row + in_row) * size,
                                a_row=g.a_row * size, b=packed + i * g.deep * width * size, y=at, y_row=g.y_row * size,
                                columns=min(width, g.columns - column), bias=bias, r=added, r_row=r_row * size, times=times,
                                a_step=g.m * g.a_row * size, r_step=g.m * r_row * size, y_step=g.m * g.y_row * size,
                            ),
                        )  # fmt: skip
                if last and g.activation:
                    call(
                        g.activation,
                        ActivationPass(
                            form=g.activation_form, lanes=g.lanes, itemsize=size, y=to + (row * g.y_row + column) * size, pitch=g.y_row,
                            lines=rows, numbers=min(width, g.columns - column), scale=0, shift=0, activation=g.activation_code,
                            slope=g.slope,
                        ),
                    )  # fmt: skip
        first += deep


def _wide(columns: int, lanes: int, rows: int) -> int:
    """Vectors of a tile: as many as registers hold, fewer where that leaves fewer of them empty."""
    vectors = -(-columns // lanes)
    most = max(1, min(3, (machine().registers - 2) // (rows + 1)))
    return min(range(1, most + 1), key=lambda wide: (-(-vectors // wide) * (wide + 0.35), -wide))


def _shares(tiles: int, panels: int, most: int, count: int, threads: int, tile: float, packing: float) -> tuple[int, int]:
    """(panels, rows of tiles) of a task, so that threads end together: of `tiles` by `panels` for each of `count` products, at most `most`
    panels at a time. tile, packing: cycles that a tile takes, and that packing a panel takes in every task."""
    if threads == 1:
        return most, tiles
    found = []
    for parts in (1, 2, 3, 4, 6, 8):
        high = -(-tiles // parts)
        if parts > 1 and high < FEWEST:
            break
        for at_once in {-(-panels // groups) for groups in range(-(-panels // most), panels + 1)}:
            tasks = count * -(-panels // at_once) * -(-tiles // high)
            cycles = -(-tasks // threads) * (high * (at_once * (tile + NEXT) + CALL) + at_once * packing + TASK)
            found.append((tasks < TASKS * threads, cycles, at_once, high))
    _, _, at_once, high = min(found)
    return at_once, high


class After(NamedTuple):
    """What a product with a constant b does besides. pieces: where in a row of a the numbers lie that meet b's rows, as (first, how many);
    all together without. A convolution whose channels lie last is such a product: its rows overlap, and pieces are taps."""

    b: Array  # (depth, columns)
    bias: Array | None = None
    activation: tuple[str, float] | None = None  # one of vector_matrix.PASSES
    pieces: Sequence[tuple[int, int]] = ()


class MatrixProduct:
    """Products of (rows, depth) by (depth, columns) for each row of `places`: where a, b, y and perhaps r, which is added, begin. Planned
    for strides."""

    def __init__(
        self, dtype: np.dtype, rows: int, depth: int, columns: int, strides: MatrixStrides, places: Sequence[tuple[int, ...]],
        threads: int, after: After | None = None,
    ) -> None:  # fmt: skip
        dtype = np.dtype(dtype)
        size, lanes = dtype.itemsize, machine().lanes(dtype.itemsize)
        m = min(ROWS if machine().registers > 16 else 4, rows)
        wide = _wide(columns, lanes, m)
        width, count = wide * lanes, len(places)
        pieces = [
            (start + i, min(DEEP, count - i)) for start, count in (after and after.pieces) or [(0, depth)] for i in range(0, count, DEEP)
        ]
        panels, deep = -(-columns // width), max(n for _, n in pieces)
        cycles = count * math.prod((rows + 4, panels * wide, depth)) / 1.5
        self._threads = threads_for(cycles, threads)
        self.seconds = cycles / self._threads / calibration().clock
        most, tiles = max(1, min(panels, PACKED // (deep * width * size))), -(-rows // m)
        at_once, high = _shares(tiles, panels, most, count, self._threads, depth * m * wide / 2, 0.0 if after else 1.5 * depth * wide)
        part = high * m
        self._tasks = count * -(-panels // at_once) * -(-rows // part)
        share = 0 if after else whole(at_once * deep * width * size + lanes * size)
        self.scratch_bytes = share * self._threads
        table = np.zeros((count, 4), np.int64)
        table[:, : len(places[0])] = places
        turned = strides.b_row == 1 and strides.b_column != 1
        packed, bias, follow = _constant(dtype, after, panels, pieces, width, lanes)
        steps = np.array(pieces, np.int64)
        geometry = Columns.packed(
            tile=panel_tile(m, wide, lanes, size), edge=panel_tile(rows % m, wide, lanes, size) if rows % m else 0,
            transpose=transpose(lanes, size) if turned and not after else 0, m=m, wide=wide, lanes=lanes, itemsize=size, rows=rows,
            columns=columns, deep=deep, blocks=len(steps), steps=steps.ctypes.data, panels=panels, at_once=at_once, part=part,
            block=BLOCK * m, places=table.ctypes.data, share=share,
            constant=_address(packed), bias=_address(bias), **follow, **strides._asdict(),
        )  # fmt: skip
        self._fixed = dtype.type(0), geometry
        self._kept = table, packed, bias, steps
        self._launch = _run.ready(0, 0, 0, 0, 0, *self._fixed)

    def bind(self, a: Array, b: Array | None, y: Array, scratch: Array, r: Array | None = None) -> Callable[[], None]:
        """What computes y; the arrays begin where `places` count from. b is None where it is constant; r: what is added, which may be y."""
        launch, threads, tasks, fixed = self._launch, self._threads, self._tasks, self._fixed
        places = handle(a), handle(b), handle(y), handle(r), handle(scratch)

        def run(keep_alive: tuple[object, ...] = (a, b, y, r, scratch, self._kept)) -> None:
            launch(threads, tasks, *places, *fixed)

        return run


def _address(array: Array | None) -> int:
    return 0 if array is None else int(array.ctypes.data)


def _constant(
    dtype: np.dtype, after: After | None, panels: int, pieces: list[tuple[int, int]], width: int, lanes: int
) -> tuple[Any, Any, dict[str, int]]:  # fmt: skip
    """(b packed, the row that is added, the record's fields of the activation)."""
    if after is None:
        return None, None, _following(None, lanes, dtype.itemsize)
    columns, heights = after.b.shape[1], tuple(n for _, n in pieces)
    deep = max(heights)

    def panels_of(b: Array) -> Array:
        packed, first = np.zeros((len(pieces), panels, deep, width), dtype), 0
        padded = np.zeros((len(b), panels * width), dtype)
        padded[:, :columns] = b
        for to, n in zip(packed, heights):
            to[:, :n] = padded[first : first + n].reshape(n, panels, width).swapaxes(0, 1)
            first += n
        return packed

    packed = made((_constant, dtype, heights, panels, width), panels_of, after.b)
    bias = None
    if after.bias is not None:
        bias = np.zeros(panels * width, dtype)
        bias[:columns] = after.bias
    return packed, bias, _following(after.activation, lanes, dtype.itemsize)


def _following(activation: tuple[str, float] | None, lanes: int, itemsize: int) -> dict[str, int]:
    """Fields of the record that say which pass applies an activation."""
    form, code, slope = codes(activation)
    address = lines(form, lanes, itemsize) if activation else 0
    return {"activation": address, "activation_form": form, "activation_code": code, "slope": slope}
