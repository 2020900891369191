"""How a convolution by transforms of one axis is divided: the axis, transforms of what length, what lies in the lanes, the product's tile.

Along the transformed axis segments overlap by the kernel's reach and yield length - reach outputs each (overlap-save); a stride splits
input and kernel into phases that join the channels (polyphase). On the other axis the taps stay, each reading spectra some columns further;
its stride makes phases too. A column is one line of one image, segment and position on the other axis; `columns_of` says how many a segment
has, halo included. A kernel longer than a transform is cut into partitions, which play the other axis' part (partitioned convolution). As
many segments as the third-level cache holds are a cache block. The estimate counts cycles of one core.
Reference: J. J. Shynk, "Frequency-domain and multirate adaptive filtering", IEEE Signal Processing Magazine 9(1), 1992.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from kernels.cost.calibration import threads_for
from kernels.cost.classes import Anew, by_class
from kernels.cost.gemm import tallest
from kernels.cost.memory import L2_BYTES, L3_BYTES, MEMORY_BYTES, STREAMED, far_cycles, handed_cycles
from kernels.cost.tables import row
from kernels.cost.variants import rivals
from kernels.methods.fft.scipy_blocking import layout
from kernels.methods.fft.segments import Segments
from kernels.problem.conv import Conv
from kernels.runtime.locks import cached_property
from kernels.runtime.machine import machine

LONGEST = 1024  # two buffers of vectors of this length still fit the second-level cache; SciPy does longer ones
LENGTHS = sorted({
    2 * 2**a * 3**b * 5**c for a in range(10) for b in range(6) for c in range(4) if 8 <= 2 * 2**a * 3**b * 5**c <= LONGEST
})  # fmt: skip
SPECTRA_BYTES = 256 << 20  # bytes of input spectra at a time where a kernel is cut into partitions
SCIPY = "scipy"  # the variant that is not divided here
CALL, LAUNCH = 40, 27000  # cycles to call a micro-kernel and start its loops, to launch a region
ANY = 10000  # what it costs any method that several threads share its work, which no estimate counts
BESIDE, ALONG = 12.0, 10.0  # cycles to load or store a vector, by how its numbers lie in memory
APART = {False: 25.0, True: 14.0}  # the same one by one: gathers take 10 cycles on Granite Rapids
HIDDEN = 0.35  # of the shorter of products and reading, what the longer does not hide
# what transforms, and products of complex numbers, take of the cycles counted here, by whether a mesh is between caches: cycles were
# counted on Zen 4 and 5, the factors fitted on Granite Rapids; see README
TRANSFORMING, MULTIPLYING = {False: 1.0, True: 0.65}, {False: 1.0, True: 1.1}
TRANSPOSED = 8.0  # more where lanes hold channels: without it such transforms took 1.1 to 1.5 of the estimate where others took 1.0


@dataclasses.dataclass(frozen=True)
class Taps:
    """One axis' taps by phase: tap i of the kernel is at `index[i]` of phase `phase[i]`."""

    phase: tuple[int, ...]
    index: tuple[int, ...]

    @cached_property
    def phases(self) -> tuple[int, ...]:
        """Phases that some tap sees."""
        return tuple(sorted(set(self.phase)))

    @cached_property
    def reach(self) -> int:
        """Positions of a phase from its first tap to its last."""
        return max(self.index)


def taps(problem: Conv, axis: int) -> Taps:
    """The taps of one axis."""
    return _taps(problem.kernel[axis], problem.stride[axis], problem.dilation[axis])


@functools.lru_cache(maxsize=64)
def _taps(kernel: int, stride: int, dilation: int) -> Taps:
    """The same for every length of input."""
    index, phase = zip(*(divmod(i * dilation, stride) for i in range(kernel)))
    return Taps(phase, index)


@dataclasses.dataclass(frozen=True)
class Blocking:
    """axis: the transformed one. length: of a transform. outputs: of one. segments: on the axis. oc_lanes: lanes hold output channels (and,
    of the input, channels), not columns. block_segments: of a cache block, of all images. m, n: the GEMM tile, rows by vectors. tiles: of m
    rows in a task. partitions: of `outputs` taps each that a long kernel is cut into, 0: it is whole; a segment has `span` transforms then.
    cycles: the estimate."""

    axis: int
    length: int
    outputs: int
    segments: int
    oc_lanes: bool
    block_segments: int
    m: int
    n: int
    tiles: int
    partitions: int = 0
    span: int = 1
    cycles: float = math.inf


def variant_of(block: Blocking) -> str:
    """What tells blockings apart for measuring: the axis, what lies in the lanes, the transform's length."""
    return f"{'hw'[block.axis]} {'blocks' if block.partitions else 'channels' if block.oc_lanes else 'columns'} {block.length}"


def variant_names(problem: Conv, threads: int) -> list[str]:
    """Variants that are estimated not much higher than the best, SciPy's route among them; by the estimates for one thread."""
    block, by_scipy = best(problem, threads), layout(problem)
    own = variant_of(block) if block and by_lines(problem) else SCIPY
    costs = [(variant_of(block), block.cycles) for block in itertools.chain(candidates(problem, 1), partitioned(problem, 1))]
    return rivals(costs + ([(SCIPY, by_scipy.cycles)] if by_scipy else []), own)


def _resized(old: Conv, block: Blocking | None, problem: Conv, threads: int, variant: str = "") -> Blocking | None:
    """The blocking of another problem of the class for this one: the same length of transforms."""
    if block is None:
        return None
    if Segments.read(variant):
        raise Anew
    spec, out = machine(), problem.conv_size[block.axis]
    reach, column = taps(problem, block.axis).reach, problem.c_in * frequencies(block.length) * 2 * problem.itemsize
    phases = len(taps(problem, block.axis).phases)
    if block.partitions:
        pieces = -(-out // block.outputs)
        span = min(pieces, max(2 * block.partitions, spec.l3 // 3 // (column * phases)))
        new = dataclasses.replace(block, span=span, segments=-(-pieces // span))
    else:
        outputs = min(block.length - reach, out)
        new = dataclasses.replace(block, outputs=outputs, segments=-(-out // outputs))
        if new.segments != block.segments and block.segments == 1:
            raise Anew
        segment = (problem.conv_size[1 - block.axis] + taps(problem, 1 - block.axis).reach) * column * phases
        segment *= len(taps(problem, 1 - block.axis).phases)
        new = dataclasses.replace(new, block_segments=max(1, min(problem.n * new.segments, spec.l3 // 3 // segment)))
        if block.oc_lanes:
            rows = new.block_segments * columns_of(problem, new)
            m = tallest(rows, block.m)
            new = dataclasses.replace(new, m=m, tiles=-(-rows // m))
    return dataclasses.replace(new, cycles=float(_cycles(problem, new, threads)))


def _same_route(old: Conv, block: Blocking | None, problem: Conv, variant: str = "") -> Blocking | None:
    """The route of another problem of the class."""
    return None if block is None else best(problem, 1, variant)


@by_class(_resized)
def best(problem: Conv, threads: int, variant: str = "") -> Blocking | None:
    """The blocking with the lowest estimate; None where there is none. variant: of this one, if there is one."""
    if fixed := Segments.read(variant):
        found = [*candidates(problem, threads, fixed)]
    elif variant:
        found = [*candidates(problem, threads), *partitioned(problem, threads)]
        found = [block for block in found if variant_of(block) == variant] or found
    else:
        found = [*(row(block, int(np.argmin(block.cycles))) for block in table(problem, threads)), *partitioned(problem, threads)]
    return min(found, key=lambda block: block.cycles, default=None)


@by_class(_same_route)
def by_lines(problem: Conv, variant: str = "") -> Blocking | None:
    """The blocking for one thread, or None where SciPy's transforms are estimated lower, or are the only variant."""
    block, other = best(problem, 1, variant), layout(problem)
    if variant:
        return None if variant == SCIPY else block
    return block if block and (other is None or block.cycles <= other.cycles) else None


def best_shared(problem: Conv, threads: int, variant: str = "") -> tuple[int, Blocking | None]:
    """How many of so many threads to take, all or one, and the blocking for them: short layers are done before spectra have gone from core
    to core."""
    alone, shared = best(problem, 1, variant), best(problem, threads, variant)
    return (threads, shared) if alone and shared and shared.cycles < alone.cycles else (1, alone)


def lost_cycles(problem: Conv, threads: int) -> float:
    """What so many threads lose together by sharing the problem, or by leaving it to one, where it is long enough for several."""
    alone = by_lines(problem)
    if alone is None or threads_for(alone.cycles, threads) == 1:
        return 0.0
    return threads * (min(alone.cycles, float(_cycles(problem, alone, threads))) - ANY) - alone.cycles


def frequencies(length: int) -> int:
    """Frequencies of a real line."""
    return length // 2 + 1


def columns_of(problem: Conv, block: Blocking) -> int:
    """Columns of a segment."""
    if block.partitions:
        return block.span + block.partitions - 1
    return problem.conv_size[1 - block.axis] + taps(problem, 1 - block.axis).reach


def shifts(problem: Conv, block: Blocking) -> Taps:
    """Where the spectra that one column sums lie: by tap of the other axis, or partition of the kernel, the phase and how many columns
    on."""
    return Taps((0,) * block.partitions, tuple(range(block.partitions))) if block.partitions else taps(problem, 1 - block.axis)


def summands(problem: Conv, block: Blocking) -> int:
    """Products that are summed at each frequency."""
    return problem.c_in // problem.groups * len(taps(problem, block.axis).phases) * len(shifts(problem, block).index)


def table(problem: Conv, threads: int, fixed: Segments | None = None) -> list[Blocking]:
    """Every blocking of whole kernels that is considered, with its estimate: one record for each axis and what lies in the lanes, whose
    other fields are arrays. fixed: into these segments."""
    spec = machine()
    lanes, size = spec.lanes(problem.itemsize), problem.itemsize
    outs, found = problem.c_out // problem.groups, []
    for axis in (0, 1):
        along, across, out = taps(problem, axis), taps(problem, 1 - axis), problem.conv_size[axis]
        if along.reach == 0 or (fixed and fixed.axis != axis):
            continue
        planes = problem.c_in * len(along.phases) * len(across.phases)
        columns = problem.conv_size[1 - axis] + across.reach
        for oc_lanes in sorted({False, problem.groups == 1 and problem.kernel[1 - axis] == 1}):
            if fixed and fixed.oc_lanes != oc_lanes:
                continue
            rows = []
            divided = [(length, min(length - along.reach, out)) for length in lengths(out, along.reach)]
            for length, outputs in [(fixed.length, fixed.outputs)] if fixed else divided:
                if outputs > length - along.reach:
                    continue
                segments, f = -(-out // outputs), frequencies(length)
                segment = columns * planes * f * 2 * size
                block_segments = max(1, min(problem.n * segments, spec.l3 // 3 // segment))
                for n in (1, 2, 3, 4):
                    most = (spec.registers - 2 - 2 * n) // (2 * n)
                    products = block_segments * columns if oc_lanes else outs
                    if most < 1:
                        continue
                    for m in {tallest(products, most), tallest(products, min(most, 4))}:
                        row_tiles = -(-products // m)
                        for kept in (spec.l1, spec.l2 // 3):  # what a task's products may take
                            tiles = row_tiles if oc_lanes else tallest(row_tiles, max(1, kept // (f * m * 2 * n * lanes * size)))
                            rows.append((length, outputs, segments, block_segments, m, n, tiles))
            if rows:
                length, outputs, segments, block_segments, m, n, tiles = np.array(rows, np.int64).T
                block = Blocking(
                    axis=axis, length=length, outputs=outputs, segments=segments, oc_lanes=oc_lanes, block_segments=block_segments,
                    m=m, n=n, tiles=tiles,
                )  # fmt: skip
                found.append(dataclasses.replace(block, cycles=_cycles(problem, block, threads)))
    return found


def candidates(problem: Conv, threads: int, fixed: Segments | None = None) -> Iterator[Blocking]:
    """The same one by one."""
    return (row(block, i) for block in table(problem, threads, fixed) for i in range(np.size(block.m)))


def partitioned(problem: Conv, threads: int) -> Iterator[Blocking]:
    """Blockings of one long line whose kernel is cut into partitions: the taps of one read spectra one column further than those of the one
    before. T. G. Stockham, "High-speed convolution and correlation", AFIPS 1966, section on long kernels."""
    spec, along, out = machine(), taps(problem, 1), problem.conv_size[1]
    lanes, size, outs = spec.lanes(problem.itemsize), problem.itemsize, problem.c_out // problem.groups
    if problem.size[0] > 1 or problem.kernel[0] > 1 or any(problem.padding[0]):
        return
    for length in (256, 512, 1024):
        outputs = length // 2
        partitions, pieces, f = along.reach // outputs + 1, -(-out // outputs), frequencies(length)
        if partitions < 2:
            continue
        column = problem.c_in * len(along.phases) * f * 2 * size
        span = min(pieces, max(2 * partitions, spec.l3 // 3 // column))
        if column * (span + partitions) > SPECTRA_BYTES:
            continue
        for n in (1, 2, 3, 4, 6):  # 6: a fifth quicker than 4 where a group has one output channel
            most = (spec.registers - 2 - 2 * n) // (2 * n)
            if most < 1:
                continue
            m = tallest(outs, most)
            tiles = tallest(-(-outs // m), max(1, spec.l2 // 3 // (f * m * 2 * n * lanes * size)))
            block = Blocking(
                axis=1, length=length, outputs=outputs, segments=-(-pieces // span), oc_lanes=False, block_segments=1, m=m, n=n,
                tiles=tiles, partitions=partitions, span=span,
            )  # fmt: skip
            yield dataclasses.replace(block, cycles=float(_cycles(problem, block, threads)))


def lengths(out: int, reach: int) -> list[int]:
    """Lengths that are considered: the shortest for each number of segments, as long as one is not mostly overlap."""
    found = set()
    for segments in (*range(1, 17), 20, 24, 32, 48, 64, 96, 128):
        length = next((length for length in LENGTHS if length >= -(-out // segments) + reach), None)
        if length is not None and (length >= reach * 9 / 8 or out <= length - reach):
            found.add(length)
    if out > LONGEST:
        found |= {length for length in LENGTHS if length >= 2 * reach}
    return sorted(length for length in found if length > reach)


def transform_cycles(length: Any) -> Any:
    """Cycles, for one length or an array of them, of a transform of one vector of real lines, and of the step to or from its spectrum.
    Measured: 845 for 64, 1480 for 128, 2350 for 192, 4480 for 320, 7600 for 432, 9000 for 512, 20000 for 1024; from 320 on the step reads
    past the first-level cache."""
    return length * (12.0 + 2.5 * np.maximum(0.0, np.log2(length / 128)))


def _cycles(problem: Conv, block: Blocking, threads: int) -> Any:
    """Estimated cycles of the slowest thread; an array for a record of many blockings."""
    spec = machine()
    lanes, size, groups = spec.lanes(problem.itemsize), problem.itemsize, problem.groups
    along, across = taps(problem, block.axis), shifts(problem, block)
    f, phases = frequencies(block.length), len(along.phases) * len(across.phases)
    outs, summed = problem.c_out // groups, summands(problem, block)
    cache_blocks = -(-problem.n * block.segments // block.block_segments)
    columns = np.minimum(block.block_segments, problem.n * block.segments) * columns_of(problem, block)
    if block.oc_lanes:
        vectors = -(-problem.c_out // lanes)
        tasks_in, tasks_out = columns * -(-problem.c_in * phases // lanes), -(-vectors // block.n)
        lines, read, weights = columns * np.minimum(block.n, vectors), 0.0, f * summed * tasks_out * block.n * lanes * 2.0 * size
    else:
        vectors, oc_blocks = -(-columns // lanes), -(-outs // (block.tiles * block.m))
        tasks_in, tasks_out = problem.c_in * phases * vectors, groups * oc_blocks * -(-vectors // block.n)
        lines = -(-outs // oc_blocks) * np.minimum(block.n, vectors)
        read = f * problem.c_in // groups * phases * (block.n * lanes + across.reach) * 2.0 * size
        weights = f * summed * problem.c_out * 2.0 * size
    in_step, out_step = (problem.stride[0] * problem.size[1], problem.conv_size[1]) if block.axis == 0 else (problem.stride[1], 1)
    beside = block.axis == 0 and problem.stride[1] == 1
    loaded, stored = (BESIDE if beside else ALONG if step == 1 else APART[spec.mesh] for step in (in_step, out_step))
    if block.oc_lanes:  # channels, which lie apart, side by side in the lanes
        loaded, stored = loaded + TRANSPOSED, stored + TRANSPOSED
    spectra = 2.0 * f * problem.c_in * phases * columns * size
    transforming = TRANSFORMING[spec.mesh]
    into = transforming * (transform_cycles(block.length) + block.length * loaded + 2 * f * _bytes_per(spectra)) + 4 * CALL
    loads = 2.0 * block.n + block.m + 1.0
    tap = np.maximum(np.maximum(2.0 * block.m * block.n, loads), 8.0) + 0.5  # each sum waits for two FMAs of four cycles
    made = 2.0 * f * block.tiles * block.m * block.n  # vectors of products
    kept = made * np.where(made * lanes * size <= spec.l1, 1.0, 4.0)
    products = MULTIPLYING[spec.mesh] * (f * block.tiles * (summed * tap + 4 * block.m + 20) + kept)
    per_task = weights / (tasks_out if block.oc_lanes else groups * oc_blocks)
    per_weight = _bytes_per(weights) / 64
    if block.oc_lanes:  # whole lines in order, not numbers
        per_weight = np.minimum(per_weight, far_cycles(weights, STREAMED[spec.mesh], spec))
    reading = read * _bytes_per(spectra) / 64 + per_task * per_weight
    if block.oc_lanes:  # every further tile of columns reads the weights anew, from the second-level cache
        reading += per_task * (block.tiles - 1) / L2_BYTES
    back = lines * (transforming * (transform_cycles(block.length) + block.outputs * stored) + 4 * CALL)
    out = np.maximum(products, reading) + HIDDEN * np.minimum(products, reading) + back + kept + 500
    shared = 2 * LAUNCH + handed_cycles(spectra, threads, spec) if threads > 1 else 0.0
    # what of x and y memory takes, the cache being shared with the spectra, hides behind nothing: 10 ms of 26 (convtasnet.dw8)
    ends = (math.prod(problem.x_shape) + math.prod(problem.conv_shape)) * size
    far = ends / threads * (far_cycles(ends + spectra, MEMORY_BYTES, spec) - 1 / L3_BYTES[spec.mesh])
    return far + cache_blocks * (-(-tasks_in // threads) * into + -(-tasks_out // threads) * out + shared)


def _bytes_per(total: Any) -> Any:
    """Cycles to read or write 64 bytes of an array of `total` bytes."""
    spec = machine()
    return np.where(total < spec.l2 / 2, 64 / L2_BYTES, 64 * far_cycles(total, MEMORY_BYTES, spec))
