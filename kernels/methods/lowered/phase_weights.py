"""Weights of a transposed layer's sub-problems: of each phase those taps of the layer's own that it sees, where its window has them.

    weight [in][out][tap]            in: the layer's input channels, which a sub-problem sums over
       i: a0 a1 a2 a3   ─►   out [out][phase][in][place in the window]      phase 0: … a2 a0 of i, a2 a0 of i + 1 …
                                                                            phase 1: … a3 a1 of i, a3 a1 of i + 1 …

Lanes run along what is written, and each fetches its own number: a vector's worth of input channels repeats the same places, so one small
table serves all.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from kernels.cost.calibration import threads_for
from kernels.methods.lowered.transposed_overlap import Overlap
from kernels.methods.lowered.transposed_phases import SubProblem
from kernels.primitives.records import Record, address, integer
from kernels.primitives.transpose import Transpose, transpose
from kernels.problem.conv import Conv, ConvTranspose
from kernels.problem.operands import Operands
from kernels.runtime import micro_kernel
from kernels.runtime.ir import VectorBuilder, call, i64, split
from kernels.runtime.jit import njit
from kernels.runtime.leases import packed_weights
from kernels.runtime.machine import machine
from kernels.runtime.micro_kernel import Fixed, emitter
from kernels.runtime.pointers import pointed
from kernels.runtime.regions import region
from kernels.runtime.scratch import handle

Array = np.ndarray

BLOCK = 32  # output channels of a task, whose numbers of an input channel lie side by side: whole cache lines
TAKEN = 1.0  # cycles for each number to be taken


class Take(NamedTuple):
    """What taking the taps of one output channel and some input channels takes."""

    lanes: Fixed  # numbers in a vector
    itemsize: Fixed  # bytes of a number
    dst: int  # address of the first phase's
    phase: int  # numbers from phase to phase of it
    phases: int
    places: int  # of a window: vectors for `lanes` input channels
    src: int  # address of the channel's taps
    table: int  # address of where each lane's number lies in src, [phase][vector], negative for none
    numbers: int  # of a phase


@emitter
def _emit(w: VectorBuilder, p: Take) -> None:
    b = w.b
    size = b.mul(p.places, i64(p.lanes))  # numbers of a whole phase
    with w.loop(p.phases) as phase:
        to, table = w.pointer(p.dst, b.mul(phase, p.phase)), b.add(p.table, b.mul(b.mul(phase, size), i64(8)))
        with w.loop(b.sdiv(b.add(p.numbers, i64(p.lanes - 1)), i64(p.lanes))) as vector:
            first = b.mul(vector, i64(p.lanes))
            inside = w.between(first, i64(0), p.numbers)
            places = w.load_indices(b.add(table, b.mul(first, i64(8))))
            there = b.and_(inside, b.icmp_signed(">=", places, w.splat_index(i64(0))))
            w.store_first(w.gather(w.addresses(p.src, places), there), w.at(to, first), inside)


@njit
def _take(p):
    _emit(p, ())


class Taken(Record):
    """Tasks of `take_taps`: some output channels of a group."""

    take = address("of the micro-kernel; takes a Take")
    lanes = integer("numbers in a vector")
    itemsize = integer("bytes of a number")
    ins = integer("input channels of a group")
    outs = integer("output channels of a group")
    taps = integer("of the layer's kernel")
    phases = integer("of an output channel")
    places = integer("of a phase's window")
    table = address("of where lanes find their numbers")


@region
def take_taps(task, thread, weight, out, geometry):
    """One task from weight (groups, ins, outs, taps) to out (groups, outs, phases, ins, places), both handles."""
    p = geometry[0]
    size, lanes, each = p.itemsize, p.lanes, p.ins * p.places
    g, block = split(task, (p.outs + BLOCK - 1) // BLOCK)
    first = block * BLOCK
    for i in range(0, p.ins, lanes):  # what is read lies side by side by output channel, what is written by input channel
        for o in range(first, min(first + BLOCK, p.outs)):
            call(
                p.take,
                Take(
                    lanes=lanes, itemsize=size, dst=pointed(out) + ((g * p.outs + o) * p.phases * each + i * p.places) * size, phase=each,
                    phases=p.phases, places=p.places, src=pointed(weight) + ((g * p.ins + i) * p.outs + o) * p.taps * size, table=p.table,
                    numbers=min(lanes, p.ins - i) * p.places,
                ),
            )  # fmt: skip


@region
def transpose_weights(task, thread, weight, out, kernel, lanes, size, ins, outs):
    """A block of output channels of a group of out (groups, outs, ins) from weight (groups, ins, outs), both handles."""
    g, block = split(task, (outs + BLOCK - 1) // BLOCK)
    place, first = g * ins * outs, block * BLOCK
    source, to = pointed(weight) + (place + first) * size, pointed(out) + (place + first * ins) * size
    call(
        kernel,
        Transpose(
            lanes=lanes, itemsize=size, dst=to, dst_pitch=ins, src=source, src_pitch=outs, rows=ins, columns=min(BLOCK, outs - first),
        ),
    )  # fmt: skip


@functools.lru_cache(maxsize=512)
def taps_of(problem: ConvTranspose, sub: SubProblem) -> Array:
    """[phase][position in the window] of a sub-problem: flat kernel taps, -1 where a phase has none."""
    flat = np.zeros((1, 1), np.int64)
    for axis, k in zip(sub.axes, problem.kernel):
        own = np.array(axis.taps)
        joined = flat[:, None, :, None] * k + own[None, :, None, :]
        absent = (flat[:, None, :, None] < 0) | (own[None, :, None, :] < 0)
        flat = np.where(absent, -1, joined).reshape(len(flat) * len(own), -1)
    return flat


def _taken(problem: ConvTranspose, taps: Array) -> tuple[Array, Array]:
    """The record of `take_taps`, and the table that it points into."""
    lanes, ins, outs = machine().lanes(problem.itemsize), problem.c_in // problem.groups, problem.c_out // problem.groups
    table = np.where(taps[:, None] < 0, -1, taps[:, None] + np.arange(lanes)[:, None] * outs * problem.taps).astype(np.int64)
    table = np.ascontiguousarray(table)  # [phase][input channel][place]
    take = micro_kernel.address(_take, Take, lanes=lanes, itemsize=problem.itemsize)
    record = Taken.packed(
        take=take, lanes=lanes, itemsize=problem.itemsize, ins=ins, outs=outs, taps=problem.taps, phases=len(taps), places=taps.shape[1],
        table=table.ctypes.data,
    )  # fmt: skip
    return record, table


def _taker(problem: ConvTranspose, sub: SubProblem | Overlap, threads: int) -> Callable[[Array, Array], None]:
    """What writes a sub-problem's weights from the layer's."""
    groups, ins, outs, numbers = problem.groups, problem.c_in // problem.groups, problem.c_out // problem.groups, sub.conv.weight_shape
    used, tasks = threads_for(TAKEN * math.prod(numbers), threads), groups * -(-outs // BLOCK)
    if problem.taps == 1 and math.prod(numbers) == math.prod(problem.weight_shape):
        size, lanes = problem.itemsize, machine().lanes(problem.itemsize)
        rest = transpose(lanes, size), lanes, size, ins, outs
        launch = transpose_weights.ready(0, 0, *rest)
        return lambda given, weight: launch(used, tasks, handle(given), handle(weight), *rest)
    record, table = _taken(problem, taps_of(problem, sub) if isinstance(sub, SubProblem) else sub.taps(problem))
    launch = take_taps.ready(0, 0, record)

    def take(given: Array, weight: Array, keep_alive: Array = table) -> None:
        launch(used, tasks, handle(given), handle(weight), record)

    return take


def taking(problem: ConvTranspose, sub: SubProblem | Overlap, threads: int) -> Callable[[Operands], Operands]:
    """What makes of the layer's operands those of a sub-problem: weights (c_out, phases; c_in/groups, *window), and what there is
    per output channel repeated for its phases."""
    take, shape, each = _taker(problem, sub, threads), sub.conv.weight_shape, sub.conv.c_out // problem.c_out

    def operands_of(operands: Operands) -> Operands:
        assert operands.weight is not None
        weight = packed_weights.take(shape, operands.weight.dtype)
        take(operands.weight, weight)
        others = operands[1:] if each == 1 else (None if value is None else np.repeat(value, each) for value in operands[1:])
        return Operands(weight, *others)

    return operands_of


def packing_cycles(conv: Conv) -> float:
    """Estimated cycles of one core to take a sub-problem's weights."""
    return TAKEN * float(math.prod(conv.weight_shape))
