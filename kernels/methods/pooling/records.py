"""What the drivers of pooling are told, a line a field."""

from __future__ import annotations

from kernels.primitives.records import Record, address, integer
from kernels.problem.pool import Pool
from kernels.runtime.machine import machine


class Task(Record):
    """What every task is told."""

    kernel = address("of the micro-kernel")
    kind = integer("MAXIMUM or SUM")
    lanes = integer("numbers in a vector")
    itemsize = integer("bytes of a number")


class Windows(Task):
    """Planes and the windows that move over them."""

    oh = integer("rows of an output plane")
    ow = integer("columns of an output plane")
    h = integer("rows of an input plane")
    w = integer("columns of an input plane")
    kh = integer("rows of a window")
    kw = integer("columns of a window")
    sh = integer("rows that it moves by")
    sw = integer("columns that it moves by")
    top = integer("rows of padding before the first")
    left = integer("columns of padding before the first")
    dh = integer("rows from tap to tap")
    dw = integer("columns from tap to tap")
    planes = integer("of the whole input")
    per_task = integer("planes of a task")


class PlaneWindows(Windows):
    """Tasks of `window.windows`; the micro-kernel takes a PoolPlane."""

    stride = integer("`stride` of a PoolPlane")
    window_rows = integer("`window_rows` of a PoolPlane")
    row_counts = address("of factors of the divisor, one for each output row")
    counts = address("of factors of the divisor, one for each output column")
    row_bytes = address("of a thread's scratch row, from one thread's to the next")


class MaximaWindows(Windows):
    """Tasks of `window.positions`; the micro-kernel takes an ArgmaxPlane."""

    stride = integer("`stride` of an ArgmaxPlane")


class WholeLines(Task):
    """Tasks of `window.lines`; the micro-kernel takes a PoolLines."""

    row_counts = address("of a factor of the divisor")
    counts = address("of another")
    lines = integer("of the whole input")
    per_task = integer("lines of a task")
    length = integer("numbers of a line")


class Strips(Windows):
    """Tasks of `narrow.strips`; the micro-kernel takes a PoolStrips."""

    divisor = address("of the number that sums are divided by")


class LanePlanes(Windows):
    """Tasks of `narrow.planes_in_lanes`; the micro-kernel takes a PoolPlanes."""

    load = address("of the micro-kernel that takes a LoadLines")
    store = address("of the micro-kernel that takes a StoreLines")
    row_counts = address("of factors of the divisor, one for each output row")
    counts = address("of factors of the divisor, one for each output column")
    lane_offsets = address("of where each lane's plane begins and ends, in and out: for all lanes, and for those of the last task")
    nothing = address("of a bias of zero")
    scratch_bytes = address("of a thread's scratch, from one thread's to the next")


def windows_of(problem: Pool) -> dict[str, int]:
    """Fields of Windows but for `kernel`, `kind` and `per_task`."""
    (oh, ow), (h, w), (kh, kw), (sh, sw), (dh, dw) = (
        problem.out_size, problem.size, problem.kernel, problem.stride, problem.dilation
    )  # fmt: skip
    (top, _), (left, _) = problem.padding
    return {
        "lanes": machine().lanes(problem.itemsize), "itemsize": problem.itemsize, "oh": oh, "ow": ow, "h": h, "w": w, "kh": kh, "kw": kw,
        "sh": sh, "sw": sw, "top": top, "left": left, "dh": dh, "dw": dw, "planes": problem.n * problem.c_in,
    }  # fmt: skip
