"""A chain of element-by-element operations in one pass over memory, as NumExpr does it: a program of `vector_pass` lines on blocks that
stay in the first-level cache. No chain is compiled: only its operations are, once a machine.

Arrays of any strides take part, broadcast ones with stride 0. Axes that lie behind each other in all arrays are joined; the last two of
what is left make blocks of up to BLOCK numbers. An operand that is contiguous there is read and written in place, any other goes through a
buffer, which a block that sees the same numbers again finds filled. Bools and integers become floats on the way in and back on the way out.
Method: F. Alted, NumExpr, https://github.com/pydata/numexpr (since 2009).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from kernels.cost.calibration import threads_for
from kernels.primitives.repeat import Repeat, repeat
from kernels.primitives.transpose import Transpose, transpose
from kernels.primitives.vector_math import ARITY, CYCLES
from kernels.primitives.vector_pass import VectorPass, bits, line
from kernels.runtime.byte_copy import copy_bytes
from kernels.runtime.ir import call, read_index, split
from kernels.runtime.jit import njit
from kernels.runtime.machine import machine
from kernels.runtime.pointers import pointed, read_number, write_index, write_number
from kernels.runtime.regions import region
from kernels.runtime.scratch import handle

Array = np.ndarray

BLOCK = 1024  # numbers a block: a dozen blocks of float32 fit a first-level cache
SQUARE = 32  # columns of a block where something is transposed on its way in
SHARES = 4  # runs of blocks that each thread takes, so that one that is held up does fewer
DENORMALS = {"log", "power", "power_even", "power_odd", "max", "min"}  # operations that the smallest numbers matter to
CODES = {"float32": 0, "float64": 1, "bool": 2, "uint8": 2, "int32": 3, "int64": 4}
OUTER = 6  # axes beside the two that make blocks
# A description is int64s: a head, OUTER lengths, the operands, the operations. Where in the head what lies,
HEAD = 17
INPUTS, OUTPUTS, STEPS, OUTERS, LENGTH, ROWS, BLOCK_ROWS, BLOCK_COLUMNS = range(8)
BLOCKS, SLOTS, SCRATCH, SHARE, RUN, LANES, FILL, FILL_FORM, REPEAT = range(8, HEAD)
# where in an operand (from FAR on its strides along the outer axes),
ARRAY, CODE, IN_PLACE, PITCH, STRIDE, TRANSPOSING, FAR = range(7)
OPERAND = FAR + OUTER
# and where in an operation.
KERNEL, FORM, TO, A, B, C, P, Q, STEP = range(9)


@dataclasses.dataclass(frozen=True)
class Operation:
    """slot[to] = name(slot[a], slot[b], slot[c]) with numbers p and q. Slots are the inputs, then whatever has been made."""

    name: str
    to: int
    slots: tuple[int, ...]
    p: float = 0.0
    q: float = 0.0


Placed = tuple[str, int, list[int], float, float]  # an operation on buffers


@dataclasses.dataclass(frozen=True)
class Layout:
    """Shape-free facts of an array: its strides in numbers along the program's axes (0 where it is broadcast), and its dtype's name."""

    strides: tuple[int, ...]
    dtype: str


@njit
def _get(address, code, zero):
    """One number of the type that a code stands for, in the computed type."""
    if code == 0:
        return type(zero)(read_number(address, np.float32(0)))
    if code == 1:
        return type(zero)(read_number(address, np.float64(0)))
    if code == 2:
        return type(zero)(read_number(address, np.uint8(0)))
    if code == 3:
        return type(zero)(read_number(address, np.int32(0)))
    return type(zero)(read_number(address, np.int64(0)))


@njit
def _put(address, code, value):
    """One number into the type that a code stands for."""
    if code == 0:
        write_number(address, np.float32(value))
    elif code == 1:
        write_number(address, np.float64(value))
    elif code == 2:
        write_number(address, np.uint8(value != 0))
    elif code == 3:
        write_number(address, np.int32(value))
    else:
        write_number(address, np.int64(value))


@njit
def _bytes(code):
    """Bytes of a number of the type that a code stands for."""
    return 4 if code == 0 or code == 3 else 1 if code == 2 else 8


class Part(NamedTuple):
    """What a block sees of an array: rows x columns numbers of any type and strides."""

    code: int  # of the type
    rows: int
    pitch: int  # numbers from row to row
    columns: int
    stride: int  # numbers from column to column


class Helpers(NamedTuple):
    """What brings numbers into a block."""

    transposing: int  # address of what transposes a matrix whose columns are rows here, 0 for none
    repeat: int  # address of what repeats a number of each row along it
    fill: int  # address of the pass that fills a line, for numbers of other types
    form: int  # its form
    cell: int  # address of eight bytes that may be written
    lanes: int


@njit
def _load(to, size, source, part, helpers, zero):
    """A Part into a block of numbers of `size` bytes."""
    transposing, lanes = helpers.transposing, helpers.lanes
    code, rows, pitch, count, stride = part
    step, own = stride * _bytes(code), pitch * _bytes(code)
    if transposing:
        call(
            transposing,
            Transpose(lanes=lanes, itemsize=size, dst=to, dst_pitch=count, src=source, src_pitch=stride, rows=count, columns=rows),
        )  # fmt: skip
        return
    if stride == 0 and code == (0 if size == 4 else 1):
        call(helpers.repeat, Repeat(lanes=lanes, itemsize=size, y=to, x=source, rows=rows, step=pitch, numbers=count))
        return
    for r in range(rows):
        place, first = to + r * count * size, source + r * own
        if stride == 0 and (pitch == 0 or count >= lanes):
            write_number(helpers.cell, np.float64(_get(first, code, zero)))
            p, numbers = read_index(helpers.cell, 0), rows * count if pitch == 0 else count
            call(
                helpers.fill,
                VectorPass(form=helpers.form, lanes=lanes, itemsize=size, y=place, a=place, b=place, c=place, numbers=numbers, p=p, q=0),
            )  # fmt: skip
            if pitch == 0:
                return
        elif stride == 0:
            value = _get(first, code, zero)
            for i in range(count):
                write_number(place + i * size, value)
        elif code == (0 if size == 4 else 1) and stride == 1:
            copy_bytes(place, first, count * size)
        elif code == (0 if size == 4 else 1):
            for i in range(count):
                write_number(place + i * size, read_number(first + i * step, zero))
        else:
            for i in range(count):
                write_number(place + i * size, _get(first + i * step, code, zero))


@njit
def _store(source, size, to, part, zero):
    """A block into a Part."""
    code, rows, pitch, count, stride = part
    step, own = stride * _bytes(code), pitch * _bytes(code)
    for r in range(rows):
        place, first = source + r * count * size, to + r * own
        if code == (0 if size == 4 else 1) and stride == 1:
            copy_bytes(first, place, count * size)
        elif code == (0 if size == 4 else 1):
            for i in range(count):
                write_number(first + i * step, read_number(place + i * size, zero))
        else:
            for i in range(count):
                _put(first + i * step, code, read_number(place + i * size, zero))


@region
def _run(task, thread, description, zero, size):
    """A run of blocks of a program; description: the handle of an array as `VectorProgram.bind` fills it."""
    d = pointed(description)
    inputs, outputs, steps, outers = read_index(d, INPUTS), read_index(d, OUTPUTS), read_index(d, STEPS), read_index(d, OUTERS)
    length, rows_in_all = read_index(d, LENGTH), read_index(d, ROWS)
    rows_at_once, block = read_index(d, BLOCK_ROWS), read_index(d, BLOCK_COLUMNS)
    blocks, slots, scratch, share, at_once = (
        read_index(d, BLOCKS), read_index(d, SLOTS), read_index(d, SCRATCH), read_index(d, SHARE), read_index(d, RUN)
    )  # fmt: skip
    lanes, fill, fill_form, repeating = read_index(d, LANES), read_index(d, FILL), read_index(d, FILL_FORM), read_index(d, REPEAT)
    columns, row_blocks = (length + block - 1) // block, (rows_in_all + rows_at_once - 1) // rows_at_once
    operands = inputs + outputs
    each = 8 * OPERAND
    lengths = d + 8 * HEAD
    described = lengths + 8 * OUTER
    program = described + operands * each
    pointers = pointed(scratch) + thread * share
    seen = pointers + 8 * slots  # address, rows and columns that each operand's buffer holds
    places = seen + 24 * operands  # indices along the outer axes
    cell = places + 8 * OUTER
    buffers = cell + 8
    for slot in range(slots):
        write_index(pointers + 8 * slot, buffers + slot * BLOCK * size)
    for o in range(operands):
        write_index(seen + 24 * o, 0)
    for number in range(task * at_once, min((task + 1) * at_once, blocks)):
        rest, column = split(number, columns)
        rest, row_block = split(rest, row_blocks)
        for k in range(outers):
            rest, i = split(rest, read_index(lengths, outers - 1 - k))
            write_index(places + 8 * (outers - 1 - k), i)
        column *= block
        row = row_block * rows_at_once
        count, rows = min(block, length - column), min(rows_at_once, rows_in_all - row)
        for o in range(operands):
            at = described + o * each
            code, pitch, stride = read_index(at, CODE), read_index(at, PITCH), read_index(at, STRIDE)
            offset = row * pitch + column * stride
            for k in range(outers):
                offset += read_index(places, k) * read_index(at, FAR + k)
            address = pointed(read_index(at, ARRAY)) + offset * _bytes(code)
            memory = seen + 24 * o
            if read_index(at, IN_PLACE):
                write_index(pointers + 8 * o, address)
            elif o >= inputs:
                write_index(memory, address)
            else:
                held = read_index(memory, 1) * read_index(memory, 2)
                alike = read_index(memory, 1) == rows and read_index(memory, 2) == count
                if read_index(memory, 0) == address and (alike or (pitch == 0 and stride == 0 and rows * count <= held)):
                    continue
                part = Part(code=code, rows=rows, pitch=pitch, columns=count, stride=stride)
                helpers = Helpers(
                    transposing=read_index(at, TRANSPOSING), repeat=repeating, fill=fill, form=fill_form, cell=cell, lanes=lanes
                )  # fmt: skip
                _load(read_index(pointers, o), size, address, part, helpers, zero)
                write_index(memory, address)
                write_index(memory + 8, rows)
                write_index(memory + 16, count)
        for s in range(steps):
            at = program + 8 * STEP * s
            to, a = read_index(pointers, read_index(at, TO)), read_index(pointers, read_index(at, A))
            b, c = read_index(pointers, read_index(at, B)), read_index(pointers, read_index(at, C))
            form, p, q = read_index(at, FORM), read_index(at, P), read_index(at, Q)
            call(
                read_index(at, KERNEL),
                VectorPass(form=form, lanes=lanes, itemsize=size, y=to, a=a, b=b, c=c, numbers=rows * count, p=p, q=q),
            )  # fmt: skip
        for o in range(inputs, operands):
            at = described + o * each
            if not read_index(at, IN_PLACE):
                part = Part(code=read_index(at, CODE), rows=rows, pitch=read_index(at, PITCH), columns=count, stride=read_index(at, STRIDE))
                _store(read_index(pointers, o), size, read_index(seen + 24 * o, 0), part, zero)


def joined(shape: Sequence[int], strides: Sequence[Sequence[int]], order: Sequence[int]) -> tuple[list[int], list[list[int]]]:
    """(lengths, strides of each array) of the axes in this order, without those of length 1, neighbours joined where all arrays allow.

    >>> joined((2, 3, 4), [(12, 4, 1), (0, 0, 1)], (0, 1, 2))
    ([6, 4], [[4, 1], [0, 1]])
    """
    lengths: list[int] = []
    kept: list[list[int]] = [[] for _ in strides]
    for axis in order:
        if shape[axis] == 1:
            continue
        if lengths and all(found[-1] == each[axis] * shape[axis] for found, each in zip(kept, strides)):
            lengths[-1] *= shape[axis]
            for found, each in zip(kept, strides):
                found[-1] = each[axis]
        else:
            lengths.append(shape[axis])
            for found, each in zip(kept, strides):
                found.append(each[axis])
    return lengths or [1], [found or [1] for found in kept]


class VectorProgram:
    """Operations on arrays of one shape (broadcast), planned for their layouts; `bind` gives what runs it on arrays that lie so.

    `outputs` are the slots that are handed out. Raises ValueError where the axes cannot be joined to OUTER + 2.
    """

    def __init__(
        self, dtype: np.dtype, shape: Sequence[int], inputs: Sequence[Layout], outputs: Sequence[tuple[int, Layout]],
        operations: Sequence[Operation], threads: int,
    ) -> None:  # fmt: skip
        self.dtype = np.dtype(dtype)
        size, lanes = self.dtype.itemsize, machine().lanes(self.dtype.itemsize)
        layouts = [*inputs, *(layout for _, layout in outputs)]
        first = outputs[0][1].strides
        order = sorted(range(len(shape)), key=lambda axis: (-abs(first[axis]), axis))
        lengths, strides = joined(shape, [layout.strides for layout in layouts], order)
        if len(lengths) > OUTER + 2:
            raise ValueError(f"{len(lengths)} axes, of which none can be joined, are more than {OUTER + 2}")
        *outer, rows, count = [1] * (2 - len(lengths)) + lengths
        cycles = sum(CYCLES[each.name] for each in operations) + 4 * len(layouts)
        self.threads = threads_for(cycles * math.prod(shape) / lanes, threads)
        own = 0 if size == 4 else 1
        # operands whose columns lie as rows do here: blocks are squares, so that a transpose reads whole cache lines of them
        transposed = [
            len(each) > 1 and each[-2] == 1 and each[-1] > 1 and CODES[layout.dtype] == own and min(rows, count) > 1
            for layout, each in zip(layouts[: len(inputs)], strides)
        ]
        block = max(SQUARE, BLOCK // rows) if any(transposed) else BLOCK
        at_once = max(min(BLOCK // min(max(count, 1), block), rows), 1)
        while self.threads > 1 and at_once > 1 and math.prod(outer) * -(-rows // at_once) < 2 * self.threads:
            at_once = -(-at_once // 2)
        blocks = math.prod(outer) * -(-rows // at_once) * -(-count // block)
        run = blocks if self.threads == 1 else max(blocks // (SHARES * self.threads), 1)
        self._tasks = -(-blocks // run)
        steps, slots = self._placed(len(inputs), [slot for slot, _ in outputs], operations)
        self._scratch = 8 * (slots + 3 * len(layouts) + OUTER + 1) + slots * BLOCK * size
        self._scratch += -self._scratch % 64
        fill, fill_form = line("fill", lanes, size)
        head = {
            INPUTS: len(inputs), OUTPUTS: len(outputs), STEPS: len(steps), OUTERS: len(outer), LENGTH: count, ROWS: rows,
            BLOCK_ROWS: at_once, BLOCK_COLUMNS: block, BLOCKS: blocks, SLOTS: slots, SCRATCH: 0, SHARE: self._scratch, RUN: run,
            LANES: lanes, FILL: fill, FILL_FORM: fill_form, REPEAT: repeat(lanes, size),
        }  # fmt: skip
        numbers = [*(head[i] for i in range(HEAD)), *outer, *[0] * (OUTER - len(outer))]
        for i, (layout, each) in enumerate(zip(layouts, strides)):
            *far, pitch, stride = [0] * (2 - len(each)) + each
            code = CODES[layout.dtype]
            direct = code == own and stride == 1 and (at_once == 1 or (pitch == count and count <= block))
            direct |= code == own and count == 1 and pitch == 1 and rows > 1
            transposing = transpose(lanes, size) if i < len(inputs) and transposed[i] else 0
            numbers += [0, code, int(direct), pitch, stride, transposing, *far, *[0] * (OUTER - len(far))]
        for name, to, sources, p, q in steps:
            address, form = line(name, lanes, size)
            sources = [*sources, *sources[:1] * (3 - len(sources))]
            numbers += [address, form, to, *sources, bits(p), bits(q)]
        self._description = np.array(numbers, np.int64)
        self._count = len(layouts)
        zero = self.dtype.type(0)
        keeps = not operations or any(each.name in DENORMALS for each in operations)
        self._launch = (_run.exact if keeps else _run).ready(0, zero, size)
        self._rest = zero, size

    @property
    def scratch_bytes(self) -> int:
        """Bytes of scratch that a run uses."""
        return self._scratch * self.threads

    @staticmethod
    def _placed(inputs: int, outputs: list[int], operations: Sequence[Operation]) -> tuple[list[Placed], int]:
        """(steps with the buffers that they read and write, buffers in all): results that are handed out have a place of their own, others
        share places in turn."""
        place = {slot: slot for slot in range(inputs)}
        handed: dict[int, int] = {}
        copies = []
        for i, slot in enumerate(outputs):
            if slot < inputs or slot in handed:
                copies.append(("copy", inputs + i, slot))
            else:
                handed[slot] = inputs + i
        last = {slot: i for i, each in enumerate(operations) for slot in each.slots}
        last |= {slot: len(operations) for _, _, slot in copies}
        free: list[int] = []
        total = inputs + len(outputs)
        steps = []
        for i, each in enumerate(operations):
            sources = [place[slot] for slot in each.slots]
            for slot in set(each.slots):
                if last[slot] == i and place[slot] >= inputs + len(outputs):
                    free.append(place[slot])
            if each.to in handed:
                place[each.to] = handed[each.to]
            elif free:
                place[each.to] = free.pop()
            else:
                place[each.to] = total
                total += 1
            steps.append((each.name, place[each.to], sources, each.p, each.q))
        steps += [(name, to, [place[slot]], 0.0, 0.0) for name, to, slot in copies]
        return steps, total

    def bind(self, arrays: Sequence[Array], scratch: Array) -> Callable[[], None]:
        """What runs the program on these arrays, inputs then outputs, with scratch of at least `scratch_bytes`."""
        description = self._description.copy()
        description[SCRATCH] = handle(scratch)
        start = HEAD + OUTER
        for i, array in enumerate(arrays):
            description[start + i * OPERAND + ARRAY] = handle(array)
        launch, threads, tasks, address, rest = self._launch, self.threads, self._tasks, handle(description), self._rest

        def run(keep_alive: Any = (description, scratch, *arrays)) -> None:
            launch(threads, tasks, address, *rest)

        return run


__all__ = ["ARITY", "Layout", "Operation", "VectorProgram", "joined"]
