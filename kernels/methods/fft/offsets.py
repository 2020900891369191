"""Where every line of a convolution by transforms of one axis begins."""

from __future__ import annotations

import math

import numpy as np

from kernels.methods.fft.blocking import Blocking, columns_of, shifts, taps
from kernels.primitives.lines import NEIGHBOURS
from kernels.problem.conv import Conv

Array = np.ndarray


def ways_of(offsets: Array, way: int) -> Array:
    """For each vector of offsets [base, …, limit][lane]: NEIGHBOURS where lanes with a limit lie side by side, -1 where no lane has one,
    else `way`. Lanes without a limit get the base that suits their neighbours."""
    base, live = offsets[:, 0], offsets[:, -1] > 0
    lane = np.arange(base.shape[1])
    first = live.argmax(1)
    level = base[np.arange(len(base)), first] - first
    near = np.all(~live | (base == level[:, None] + lane), axis=1)
    base[...] = np.where(near[:, None], level[:, None] + lane, base)
    return np.where(~live.any(1), -1, np.where(near, NEIGHBOURS, way))


def seen_until(problem: Conv, block: Blocking, first: Array) -> Array:
    """Where what the outputs of a segment see ends, for segments that begin at `first`. What a transform reads beyond counts as zero: no
    output may depend, not even in its rounding, on inputs that its segment does not see, so that a stream need not wait for them."""
    axis = block.axis
    seen = (block.outputs - 1) * problem.stride[axis] + (problem.kernel[axis] - 1) * problem.dilation[axis] + 1
    return np.clip(first + seen, 0, problem.size[axis])


def column_offsets(problem: Conv, block: Blocking, lanes: int) -> tuple[Array, Array]:
    """Where every column begins: (inputs [phase across][vector] of base, first, size by lane; outputs [vector] of base, count by lane),
    offsets in elements from the plane of channel 0 of image 0; each cache block begins with a new vector."""
    axis, other = block.axis, 1 - block.axis
    across, columns = shifts(problem, block), columns_of(problem, block)
    all_segments = problem.n * block.segments
    cache_blocks, columns_each = -(-all_segments // block.block_segments), -(-block.block_segments * columns // lanes) * lanes
    number = np.arange(columns_each)
    segment = (np.arange(cache_blocks)[:, None] * block.block_segments + number // columns).ravel()
    live = np.tile(number < block.block_segments * columns, cache_blocks) & (segment < all_segments)
    image, within, r = segment // block.segments, segment % block.segments, np.tile(number % columns, cache_blocks)
    pitch = (problem.size[1], 1)
    piece, beside, used = (within * block.span + r, 0 * r, block.span) if block.partitions else (within, r, problem.conv_size[other])
    first = piece * block.outputs * problem.stride[axis] - problem.padding[axis][0]
    limit = np.full_like(first, problem.size[axis]) if block.partitions else seen_until(problem, block, first)
    inputs = []
    for phase in across.phases:
        position = beside * problem.stride[other] + phase - problem.padding[other][0]
        exists = live & (position >= 0) & (position < problem.size[other])
        base = image * problem.c_in * math.prod(problem.size) + first * pitch[axis] + position * pitch[other]
        inputs.append(np.stack([base, first, np.where(exists, limit, 0)]))
    out_pitch = (problem.conv_size[1], 1)
    start = piece * block.outputs
    base = image * problem.c_out * math.prod(problem.conv_size) + start * out_pitch[axis] + beside * out_pitch[other]
    count = np.where(live & (r < used), np.clip(problem.conv_size[axis] - start, 0, block.outputs), 0)

    def by_vector(array: Array) -> Array:
        fields = array.reshape(*array.shape[:-1], -1, lanes)
        return np.ascontiguousarray(np.moveaxis(fields, -3, -2)).reshape(-1, array.shape[-2], lanes)

    return by_vector(np.stack(inputs)), by_vector(np.stack([base, count]))


def channel_offsets(problem: Conv, block: Blocking, lanes: int) -> tuple[Array, Array, Array, Array]:
    """The same where lanes hold channels: (inputs [vector of planes], outputs [vector of output channels], and what a column adds to
    them: input offset, first position and limit, output offset and count)."""
    along, axis = taps(problem, block.axis), block.axis
    area, pitch, out_pitch = math.prod(problem.size), (problem.size[1], 1), (problem.conv_size[1], 1)
    phases = np.array(along.phases)
    planes, channels = problem.c_in * len(phases), problem.c_out
    lane = np.arange(-(-planes // lanes) * lanes)
    channel, phase = lane // len(phases), phases[lane % len(phases)]
    inputs = np.stack([channel * area + phase * pitch[axis], phase, np.where(lane < planes, problem.size[axis], 0)])
    lane = np.arange(-(-channels // lanes) * lanes)
    outputs = np.stack([lane * math.prod(problem.conv_size), np.where(lane < channels, block.outputs, 0)])
    columns = columns_of(problem, block)
    number = np.arange(problem.n * block.segments * columns)
    image, segment, r = number // columns // block.segments, number // columns % block.segments, number % columns
    other = 1 - axis
    first = segment * block.outputs * problem.stride[axis] - problem.padding[axis][0]
    position = r * problem.stride[other] - problem.padding[other][0]
    start = segment * block.outputs
    outside = (position < 0) | (position >= problem.size[other])
    offset = image * problem.c_in * area + first * pitch[axis] + position * pitch[other]
    into = offset, np.where(outside, problem.size[axis], first), seen_until(problem, block, first)
    out = image * channels * math.prod(problem.conv_size) + start * out_pitch[axis] + r * out_pitch[other]
    count = np.minimum(problem.conv_size[axis] - start, block.outputs)
    by_vector = [np.ascontiguousarray(array.reshape(len(array), -1, lanes).swapaxes(0, 1)) for array in (inputs, outputs)]
    return by_vector[0], by_vector[1], np.stack(into, 1), np.stack([out, count], 1)
