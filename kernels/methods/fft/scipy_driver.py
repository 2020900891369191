"""Driver of convolution by SciPy's transforms, of one axis or both and of any length: whole tiles are gathered, transformed, multiplied by
NumPy's complex matrix products or a plain loop, transformed back and scattered. It serves what is too long for the codelets of
`methods.fft.codelets`, and two-dimensional kernels where transforming both axes saves most."""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np

from kernels.methods.fft.scipy_blocking import BLOCK_BYTES, Axis, Layout, layout
from kernels.primitives.prepared import Prepared, Run
from kernels.problem.arrays import frozen
from kernels.problem.conv import Conv
from kernels.problem.operands import Operands
from kernels.runtime.blas import bounded
from kernels.runtime.jit import njit
from kernels.runtime.regions import region
from kernels.runtime.scratch import Scratch

Array = np.ndarray

SUMMED_BY_BLAS = 8  # summands below which a plain loop beats a call of BLAS (measured: 4x at 1, level at 8)


BLOCK = 16  # columns of one task: a cache line of float32


@njit
def gather_columns(x, tiles, plane, begin, end, image, top, left, steps, phases):
    """Columns begin to end of one plane; arguments as for `gather`."""
    tile_h, tile_w = tiles.shape[:2]
    height, width = x.shape[2:]
    channel, phase = plane // phases.shape[0], plane % phases.shape[0]
    for th in range(tile_h):
        down = phases[phase, 0] + th * steps[0]
        for tw in range(tile_w):
            across = phases[phase, 1] + tw * steps[1]
            for q in range(begin, end):
                h, w = top[q] + down, left[q] + across
                inside = 0 <= h < height and 0 <= w < width
                tiles[th, tw, plane, q] = x[image[q], channel, h, w] if inside else 0


@region
def gather(task, thread, x, tiles, image, top, left, steps, phases):
    """Fill a block of tiles (th, tw, planes, columns) from x (n, c_in, h, w). Column q starts at (top[q], left[q]) of image[q], plane
    c * phases + p at phases[p] from there; neighbours in a tile are `steps` apart. What lies on padding is 0."""
    columns = tiles.shape[3]
    blocks = (columns + BLOCK - 1) // BLOCK
    begin = task % blocks * BLOCK
    end = min(begin + BLOCK, columns)
    gather_columns(x, tiles, task // blocks, begin, end, image=image, top=top, left=left, steps=steps, phases=phases)


@njit
def scatter_columns(tiles, out, bias, channel, begin, end, image, top, left, valid):
    """Columns begin to end of one output channel; arguments as for `scatter`."""
    height, width = out.shape[2:]
    for th in range(valid[0]):
        for tw in range(valid[1]):
            for q in range(begin, end):
                h, w = top[q] + th, left[q] + tw
                if h < height and w < width:
                    out[image[q], channel, h, w] = tiles[th, tw, channel, q] + bias[channel]


@region
def scatter(task, thread, tiles, out, bias, image, top, left, valid):
    """A block of out (n, c_out, oh, ow) from tiles (th, tw, c_out, columns), of which valid (h, w) positions are outputs, plus bias
    (c_out,)."""
    columns = tiles.shape[3]
    blocks = (columns + BLOCK - 1) // BLOCK
    begin = task % blocks * BLOCK
    end = min(begin + BLOCK, columns)
    scatter_columns(tiles, out, bias, task // blocks, begin, end, image=image, top=top, left=left, valid=valid)


@region
def spread(f, thread, spectra, unfolded, offsets, stride, length, outputs):
    """Unfold a frequency of spectra (f, planes, tiles * length) into (f, planes * taps, tiles * outputs): output v of a tap is at
    v*stride + offset."""
    planes, taps, items = spectra.shape[1], offsets.shape[0], spectra.shape[2] // length
    for row in range(planes * taps):
        source, target, offset = spectra[f, row // taps], unfolded[f, row], offsets[row % taps]
        for item in range(items):
            for v in range(outputs):
                target[item * outputs + v] = source[item * length + offset + v * stride]


@region
def products(f, thread, weight, spectra, result):
    """A frequency of result (f, groups, outs, columns) = weight (f, groups, outs, summands) x spectra (f, groups, summands, columns); few
    summands."""
    groups, outs, summands = weight.shape[1:]
    for g in range(groups):
        for j in range(outs):
            target = result[f, g, j]
            for k in range(summands):
                factor, source = weight[f, g, j, k], spectra[f, g, k]
                if k == 0:
                    for q in range(target.shape[0]):
                        target[q] = factor * source[q]
                else:
                    for q in range(target.shape[0]):
                        target[q] += factor * source[q]


@functools.partial(region, counts=True)  # as np.dot wants
def matrix_products(task, thread, weight, spectra, result):  # type: ignore[no-untyped-def]
    """The same by BLAS, one product a frequency and group. The frequencies are shared out here and BLAS stays on one thread: a threaded
    product of this size ends in a wait of its own, and hundreds of them a call are at the mercy of whatever else the cores do."""
    groups = weight.shape[1]
    f, g = task // groups, task % groups
    np.dot(weight[f, g], spectra[f, g], result[f, g])


def gather_tasks(tiles: Array) -> int:
    """Tasks of `gather` and `scatter`: blocks of columns of every plane of tiles (th, tw, planes, columns)."""
    return tiles.shape[2] * -(-tiles.shape[3] // BLOCK)


def _positions(axis: Axis) -> tuple[Array, Array, Array]:
    """For each tap of an axis: its position in the transform, the number of its phase, its place among the taps of products."""
    pairs = np.array(axis.taps, np.int64)
    phase = np.searchsorted(axis.phases, pairs[:, 0])
    return (pairs[:, 1], phase, 0 * phase) if axis.transformed else (0 * phase, phase, np.arange(len(pairs)))


def spectra_of(taken: Layout, weight: Array, threads: int) -> Array:
    """Conjugate spectra of weight (c_out, c_in/groups, kh, kw) as (f, groups, c_out/groups, summands): planes of `gather`, then taps."""
    from scipy import fft

    problem, (h, w) = taken.problem, taken.axes
    summands = taken.planes * taken.direct_taps
    result = np.empty((*taken.frequencies, problem.c_out, summands), np.result_type(weight.dtype, np.complex64))
    position, phase, tap = zip(*(_positions(axis) for axis in (h, w)))
    fanned = (len(h.phases), len(w.phases)) + tuple(1 if axis.transformed else len(axis.taps) for axis in (h, w))
    step = max(1, BLOCK_BYTES * problem.c_out // max(taken.weight_bytes, 1))  # a few output channels at a time bound the memory of this
    for first in range(0, problem.c_out, step):
        some = weight[first : first + step]
        sparse = np.zeros((*taken.transform, *some.shape[:2], *fanned), weight.dtype)
        sparse[position[0][:, None], position[1], :, :, phase[0][:, None], phase[1], tap[0][:, None], tap[1]] = some.transpose(2, 3, 0, 1)
        axes = tuple(i for i, axis in enumerate((h, w)) if axis.transformed)
        spectrum = fft.rfftn(sparse, axes=axes, workers=threads)
        np.conjugate(spectrum.reshape(*taken.frequencies, len(some), summands), out=result[:, :, first : first + step])
    return result.reshape(-1, problem.groups, problem.c_out // problem.groups, summands)


def columns_of(taken: Layout, inputs: bool) -> tuple[Array, Array, Array]:
    """(image, top, left) of each column of all tiles: where it starts in the input, or in the output."""
    problem = taken.problem
    starts = []
    for axis, stride, (before, _) in zip(taken.axes, problem.stride, problem.padding):
        tile = np.arange(axis.tiles) * axis.outputs
        within = np.arange(1 if axis.transformed else axis.length if inputs else axis.outputs)
        starts.append((tile * stride - before)[:, None] + within if inputs else tile[:, None] + within)
    top, left = starts
    shape = problem.n, len(top), len(left), top.shape[1], left.shape[1]  # image, tile along h, along w, position along h, along w
    image = np.arange(problem.n).reshape(-1, 1, 1, 1, 1)
    spread_out = image, top.reshape(1, len(top), 1, -1, 1), left.reshape(1, 1, len(left), 1, left.shape[1])
    return tuple(np.broadcast_to(array, shape).ravel() for array in spread_out)  # type: ignore[return-value]


def prepare_tiles(problem: Conv, threads: int) -> Prepared:
    """The origin of every tile, and scratch for one cache block of tiles."""
    from scipy import fft  # 0.35 s at import, needed by this method only

    taken = layout(problem)
    assert taken is not None
    origins, targets = columns_of(taken, inputs=True), columns_of(taken, inputs=False)
    (h, w), transform, frequencies = taken.axes, taken.transform, taken.frequencies
    axes = tuple(i for i, axis in enumerate((h, w)) if axis.transformed)
    lengths = tuple(transform[i] for i in axes)
    steps = h.step, w.step
    phases = np.array(list(itertools.product(h.phases, w.phases)), np.int64)
    valid = (h.outputs if h.transformed else 1), (w.outputs if w.transformed else 1)
    rest = next((axis for axis in (h, w) if not axis.transformed), h)
    offsets = np.array([offset for _, offset in rest.taps], np.int64)
    (gathered, produced), planes, groups = taken.columns, taken.planes * problem.groups, problem.groups
    f, summands, real = math.prod(frequencies), taken.planes * taken.direct_taps, np.dtype(problem.dtype)
    pairs = np.result_type(real, np.complex64)
    kept, lent = taken.item_bytes
    scratch = Scratch(kept * taken.block_tiles + 2 * real.itemsize)  # complex numbers start at an even count of reals

    def run_block(x: Array, out: Array, weight: Array, bias: Array, memory: Array, first: int, last: int) -> None:
        """Tiles first to last, from input to output."""
        inputs, outputs = (last - first) * gathered, (last - first) * produced
        used = math.prod(transform) * planes * inputs
        tiles = memory[:used].reshape(*transform, planes, inputs)
        gather(threads, gather_tasks(tiles), x, tiles, *(array[first * gathered : last * gathered] for array in origins), steps, phases)
        spectra = fft.rfftn(tiles, axes=axes, workers=threads).reshape(f, planes, inputs)
        rest_of = memory[used + used % 2 :]
        complex_room = rest_of[: rest_of.size // 2 * 2].view(pairs)
        if taken.unfolds:
            unfolded = complex_room[: f * groups * summands * outputs].reshape(f, groups * summands, outputs)
            spread(threads, f, spectra, unfolded, offsets, rest.stride, gathered, produced)
            spectra, complex_room = unfolded, complex_room[unfolded.size :]
        spectra = spectra.reshape(f, groups, summands, outputs)
        result = complex_room[: f * problem.c_out * outputs].reshape(f, groups, -1, outputs)
        if summands < SUMMED_BY_BLAS:
            products(threads, f, weight, spectra, result)
        else:
            with bounded(1, "scipy"):
                matrix_products(threads, f * groups, weight, spectra, result)
        result = result.reshape(*frequencies, problem.c_out, outputs)
        back = fft.irfftn(result, s=lengths, axes=axes, workers=threads, overwrite_x=True)
        scatter(threads, gather_tasks(back), back, out, bias, *(array[first * produced : last * produced] for array in targets), valid)

    def compile_regions() -> None:
        """Each region on no tiles, with the types that `run_block` calls it with."""
        x, y = frozen(np.empty((0, *problem.x_shape[1:]), real)), np.empty((0, *problem.conv_shape[1:]), real)
        none, tile, complex_tile = slice(0), np.empty((*transform, planes, 0), real), np.empty((f, planes, 0), pairs)
        gather(threads, 0, x, tile, *(array[none] for array in origins), steps, phases)
        if taken.unfolds:
            spread(threads, 0, complex_tile, np.empty((f, groups * summands, 0), pairs), offsets, rest.stride, gathered, produced)
        shapes = (0, groups, problem.c_out // groups, summands), (0, groups, summands, 1), (0, groups, problem.c_out // groups, 1)
        no_frequencies = [np.empty(shape, pairs) for shape in shapes]
        (products if summands < SUMMED_BY_BLAS else matrix_products)(threads, 0, *no_frequencies)
        tile = np.empty((*transform, problem.c_out, 0), real)
        scatter(threads, 0, tile, y, np.zeros(problem.c_out, real), *(array[none] for array in targets), valid)

    compile_regions()

    def pack(operands: Operands) -> Run:
        assert operands.weight is not None
        weight = spectra_of(taken, operands.weight, threads)
        bias = np.zeros(problem.c_out, real) if operands.bias is None else operands.bias

        def run(x: Array, out: Array) -> None:
            buffer = scratch.take()
            for first in range(0, taken.items, taken.block_tiles):
                run_block(frozen(x), out, weight, bias, buffer.view(real), first, min(first + taken.block_tiles, taken.items))
            scratch.give(buffer)

        return run

    names = " and ".join(f"{problem.axes[i]} ({transform[i]} long, {taken.axes[i].tiles} tiles)" for i in axes)
    note = f"transforms along {names}; {taken.weight_bytes / 1e6:.3g} MB of spectra; {taken.block_tiles} of {taken.items} tiles at a time"
    return Prepared(pack, scratch.nbytes + lent * taken.block_tiles, note)
