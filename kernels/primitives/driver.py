"""What the drivers share: the loop over tasks, the record that compiled code reads, operands as it reads them, the launcher."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from kernels.cost.gemm import even
from kernels.primitives.activations import codes, lines
from kernels.primitives.post_ops import activates_maxima
from kernels.primitives.prepared import Pack, Run
from kernels.primitives.records import Record, address, integer
from kernels.problem.conv import Conv
from kernels.problem.operands import Array, Operands
from kernels.runtime.ir import read_index, split
from kernels.runtime.jit import njit
from kernels.runtime.machine import machine
from kernels.runtime.pointers import pointed, write_index
from kernels.runtime.regions import Region, region
from kernels.runtime.scratch import HEADER, Scratch, handle

TileOf = Callable[[int, int, int, int], int]
Packed = tuple[Array | None, ...]  # weight, bias, scale, shift as a driver reads them


@njit
def epilogue_of(g, operands, j):
    """Addresses of channel j's bias, scale and shift, 0 where there is none; operands: those of weights, biases, scales and shifts."""
    first = j * g.itemsize
    _, bias, scale, shift = operands
    return bias + first if bias else 0, scale + first if scale else 0, shift + first if shift else 0


class Task(NamedTuple):
    """Which part of a convolution a task makes: of an image, a group, a block of rows and columns, some output channels."""

    image: int
    group: int
    row_block: int
    column_block: int
    oc_split: int


@njit
def task_at(task, tasks, oc_splits, groups, row_blocks, column_blocks):
    """The number of a task, of so many of each kind, as a Task: those of one thread share weights."""
    oc_split, rest = split(task, split(tasks, oc_splits)[0])
    rest, column_block = split(rest, column_blocks)
    rest, row_block = split(rest, row_blocks)
    image, group = split(rest, groups)
    return Task(image=image, group=group, row_block=row_block, column_block=column_block, oc_split=oc_split)


@njit
def kept_task_at(task, oc_splits, groups, row_blocks, column_blocks):
    """The same where those of one thread share a block of input, which it keeps packed."""
    block, oc_split = split(task, oc_splits)
    whole = task_at(block, block + 1, 1, groups, row_blocks, column_blocks)
    return Task(image=whole.image, group=whole.group, row_block=whole.row_block, column_block=whole.column_block, oc_split=oc_split)


@njit
def kept(place, task, oc_splits):
    """Whether a thread's scratch holds the packed block of a task already, as `place` in it says, of which a call clears the first byte;
    then it will."""
    block = split(task, oc_splits)[0] * 256 + 1
    if read_index(place, 0) == block:
        return True
    write_index(place, block)
    return False


@njit
def share(number, count, i):
    """(first, after the last) of a part's share of so many."""
    return split(i * number, count)[0], split((i + 1) * number, count)[0]


def every_task(run_task: Any) -> Region:
    """The region of a driver's compiled `run_task`. geometry is the record of `launcher`, the other arrays are handles, operands that of
    the handles of weights, biases, scales and shifts; each thread has its part of the scratch."""

    def run_tasks(task, thread, x, out, scratch, geometry, operands):
        at = pointed(operands)
        addresses = pointed(read_index(at, 0)), pointed(read_index(at, 1)), pointed(read_index(at, 2)), pointed(read_index(at, 3))
        run_task(task, pointed(x), pointed(out), addresses, geometry, pointed(scratch) + thread * geometry[0].scratch_bytes)

    # compiled code is kept under this name
    run_tasks.__module__, run_tasks.__qualname__ = run_task.__module__, "run_tasks"
    return region(run_tasks)


def padded(array: Array | None, length: int) -> Array | None:
    """The array with zeros after it along its first axis, or None."""
    if array is None or len(array) == length:
        return array
    result = np.zeros((length, *array.shape[1:]), array.dtype)
    result[: len(array)] = array
    return result


def tile_table(outs: int, m: int, n_tables: Array, lanes: int, itemsize: int, tile_of: TileOf) -> Array:
    """Addresses of the tiles that `outs` channels by vectors cut as `cuts` says need, by [m][n]."""
    _, base, extra = even(outs, m)
    widths = {width + more for _, width, longer in n_tables.tolist() for more in range(1 + (longer > 0))}
    table = np.zeros((m + 2, max(widths) + 1), np.int64)
    for height in {base, base + (extra > 0)}:
        for width in widths:
            table[height, width] = tile_of(height, width, lanes, itemsize)
    return table


class OutputBlocks(Record):
    """Blocks of outputs."""

    rows = integer("output rows of a block")
    columns = integer("output columns of a block")
    row_blocks = integer("blocks down the output")
    column_blocks = integer("blocks across the output")


class Convolution(Record):
    """What any driver of a convolution is told: sizes and activation."""

    itemsize = integer("bytes of a number")
    lanes = integer("numbers in a vector")
    groups = integer("of channels")
    c_in = integer("input channels")
    ins = integer("of a group")
    c_out = integer("output channels")
    outs = integer("of a group")
    h = integer("input rows")
    w = integer("input columns")
    oh = integer("output rows that are computed")
    ow = integer("output columns that are computed")
    pad_h = integer("rows of zeros before the first")
    pad_w = integer("columns of zeros before the first")
    sh = integer("rows that a window moves by")
    sw = integer("columns that a window moves by")
    activation = integer("a code of ACTIVATIONS, applied in registers")
    slope = integer("bits of a float64")
    form = integer("one of FORMS, an activation that tiles do not know; 0: none")
    activation_pass = address("of the micro-kernel that applies it; takes an ActivationPass")
    activates_maxima = integer("whether it is applied to what a pool made of the sums")
    tasks = integer("of the whole convolution")
    scratch_bytes = address("of a thread's scratch, from one thread's to the next")


def common(problem: Conv, oh: int, ow: int) -> dict[str, int]:
    """Fields of a Convolution, of which so many outputs are computed, but for `tasks` and `scratch_bytes`."""
    size, lanes = problem.itemsize, machine().lanes(problem.itemsize)
    form, activation, slope = codes(problem.activation)
    h, w = problem.size
    return {
        "itemsize": size, "lanes": lanes, "groups": problem.groups, "c_in": problem.c_in, "ins": problem.c_in // problem.groups,
        "c_out": problem.c_out, "outs": problem.c_out // problem.groups, "h": h, "w": w, "oh": oh, "ow": ow,
        "pad_h": problem.padding[0][0], "pad_w": problem.padding[1][0], "sh": problem.stride[0], "sw": problem.stride[1],
        "activation": activation, "slope": slope, "form": form, "activation_pass": lines(form, lanes, size) if form else 0,
        "activates_maxima": activates_maxima(problem),
    }  # fmt: skip


def launcher(
    tasks_of: Region, packed_operands: Callable[[Operands], Packed], threads: int, geometry: Array, scratch: Scratch, keep_alive: Any,
    cleared: int = 0,
) -> Pack:  # fmt: skip
    """The `pack` of a region with the arguments of `run_tasks`; geometry: its record, a Convolution; keep_alive: all that it points into.
    cleared: a byte of each thread's scratch that is 0 when a call begins, 0: none is. Arguments take 50 ns each, so whatever no operand
    changes is in the record, operands are one, and handles are taken in place."""
    launch, tasks, each = tasks_of.ready(0, 0, 0, geometry, 0), int(geometry["tasks"][0]), int(geometry["scratch_bytes"][0])

    def pack(operands: Operands) -> Run:
        packed = packed_operands(operands)
        handles = np.array([handle(array) for array in packed], np.int64)
        addresses = handle(handles)

        def run(x: Array, out: Array, keep_alive: Any = (packed, handles, keep_alive)) -> None:
            buffer = scratch.take()
            if cleared:
                buffer[cleared::each] = 0
            launch(threads, tasks, id(x) + HEADER, id(out) + HEADER, id(buffer) + HEADER, geometry, addresses)
            scratch.give(buffer)

        return run

    return pack
