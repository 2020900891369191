"""A layer whose windows slide along time, block after block: what it keeps of the past, which outputs a block completes, and as which
problem they are computed.

Positions are relative to the oldest input that is kept, so that what happens depends on a few small numbers (`At`) and repeats: plans and
arrays made for one state serve whenever it comes back. Padding is never stored: while windows still reach before the signal, the problem
that is computed has that padding itself, and so has the last one at the end.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from kernels.methods.fft.segments import Segments
from kernels.problem.conv import Conv, ConvTranspose, Problem
from kernels.problem.errors import RefusedError
from kernels.problem.halo import Slide
from kernels.problem.pool import AdaptivePool, Pool
from kernels.runtime.locks import cached_property


class At(NamedTuple):
    """Between two blocks: inputs kept, inputs still to come that no window sees, padding that the next window reaches into, outputs of a
    transposed layer to the left of the next one that the kept inputs also reach, and by how many outputs the first segment is short."""

    kept: int
    skip: int
    before: int
    crop: int
    lead: int = 0


class Move(NamedTuple):
    """One block: the inputs that no window sees, how many are then there with those kept, the problem to compute on them (None: no output
    is complete), its outputs, how many inputs are not needed any more, the state afterwards, and by how much the first segment is short."""

    skipped: int
    inputs: int
    problem: Problem | None
    outputs: int
    dropped: int
    after: At
    lead: int = 0


@dataclasses.dataclass(frozen=True)
class Sliding:
    """A problem along one of its spatial axes (counted from the end), of whatever length. segments: that its outputs are computed in."""

    problem: Problem
    axis: int
    segments: Segments | None = None

    @cached_property
    def slide(self) -> Slide:
        """The window along the axis. Raises RefusedError where windows would see nothing but padding."""
        problem, i = self.problem, self.axis
        if isinstance(problem, AdaptivePool):
            return Slide()
        assert isinstance(problem, Conv | Pool)
        kernel, stride, dilation, (before, after) = problem.kernel[i], problem.stride[i], problem.dilation[i], problem.padding[i]
        if isinstance(problem, ConvTranspose):
            return Slide(kernel, stride, dilation, before, after, transposed=True, more=problem.output_padding[i])
        ceil = isinstance(problem, Pool) and problem.ceil_mode
        together, lead = (self.segments.outputs, self.segments.lead) if self.segments else (1, 0)
        slide = Slide(kernel, stride, dilation, before, after, ceil=ceil, together=together, lead=lead)
        if ceil and self._overhangs_elsewhere():
            raise RefusedError("ceil_mode overhangs along another axis than time too; pad that axis at its end instead")
        if max(before, after) >= slide.reach:
            raise RefusedError(
                f"padding {(before, after)} is as long as the dilated kernel {slide.reach} along time, so that outputs would see no input; "
                f"use at most {slide.reach - 1} and put the other zeros into the signal"
            )
        return slide

    def _overhangs_elsewhere(self) -> bool:
        """Whether rounding up changes the output along another axis, which has to stay as it is while windows along this one do not end."""
        others = [j for j in range(len(self.problem.size)) if j != self.axis % len(self.problem.size)]
        assert isinstance(self.problem, Pool)
        down = dataclasses.replace(self.problem, ceil_mode=False)
        return any(down.out_shape[2 + j] != self.problem.out_shape[2 + j] for j in others)

    def begin(self) -> At:
        """Before the first block."""
        slide = self.slide
        return At(0, 0, 0, slide.before) if slide.transposed else At(0, 0, slide.before, 0, slide.lead)

    def of_length(self, inputs: int, padding: tuple[int, int] = (0, 0), more: int = 0, *, ceil: bool = False) -> Problem:
        """The problem on so many inputs."""
        problem, i = self.problem, self.axis % len(self.problem.size)

        def put(values: tuple, value: object) -> tuple:
            return (*values[:i], value, *values[i + 1 :])

        size = put(problem.size, inputs)
        if isinstance(problem, AdaptivePool):
            return dataclasses.replace(problem, size=size, out_size=put(problem.out_size, inputs))
        if isinstance(problem, ConvTranspose):
            changed = put(problem.padding, padding)
            return dataclasses.replace(problem, size=size, padding=changed, output_padding=put(problem.output_padding, more))
        if isinstance(problem, Pool):
            return dataclasses.replace(problem, size=size, padding=put(problem.padding, padding), ceil_mode=ceil)
        return dataclasses.replace(problem, size=size, padding=put(problem.padding, padding))

    def advance(self, at: At, fresh: int) -> Move:
        """What a block of so many inputs completes."""
        slide = self.slide
        skipped = min(at.skip, fresh)
        inputs = at.kept + fresh - skipped
        at = at._replace(kept=inputs, skip=at.skip - skipped)
        if not inputs:
            return Move(skipped, 0, None, 0, 0, at)
        if slide.transposed:
            count = inputs * slide.stride - slide.held - at.crop
            if count <= 0:
                return Move(skipped, inputs, None, 0, 0, at)
            rest = (inputs - 1) * slide.stride + slide.reach - at.crop - count
            problem = self.of_length(inputs, (at.crop, max(rest, 0)), max(-rest, 0))
            end = at.crop + count  # what the next output does not see, and all but one input, may go
            dropped = max(0, min(-((slide.reach - 1 - end) // slide.stride), end // slide.stride, inputs - 1))
            return Move(skipped, inputs, problem, count, dropped, At(inputs - dropped, 0, 0, end - dropped * slide.stride))
        count = max(0, (at.before + inputs - slide.reach) // slide.stride + 1)
        count = dataclasses.replace(slide, lead=at.lead).whole(count)
        if not count:
            return Move(skipped, inputs, None, 0, 0, at)
        start = count * slide.stride - at.before  # of the next window
        dropped = min(max(start, 0), inputs)
        after = At(inputs - dropped, max(start - inputs, 0), max(-start, 0), 0)
        return Move(skipped, inputs, self.of_length(inputs, (at.before, 0)), count, dropped, after, at.lead)

    def finish(self, at: At) -> Move:
        """What the end completes."""
        slide, inputs = self.slide, at.kept
        done = At(0, 0, 0, 0)
        if slide.transposed:
            count = (inputs - 1) * slide.stride + slide.reach + slide.more - slide.after - at.crop
            problem = self.of_length(inputs, (at.crop, slide.after), slide.more) if inputs and count > 0 else None
        else:
            count = dataclasses.replace(slide, before=at.before).length(inputs)
            problem = self.of_length(inputs, (at.before, slide.after), ceil=slide.ceil) if inputs and count > 0 else None
        return Move(0, inputs, problem, count if problem else 0, inputs, done, at.lead)

    def bounds(self, first: int, end: int, n: int) -> tuple[int, int]:
        """The inputs [low, high) of n from which the outputs [first, end) are computed."""
        slide = self.slide
        if slide.transposed:
            low = max(0, min(-((slide.reach - 1 - first - slide.before) // slide.stride), (first + slide.before) // slide.stride, n - 1))
            return low, max(low + 1, min(n, (end - 1 + slide.before) // slide.stride + 1))
        low, high = slide.needs(first, end)
        return max(low, 0), n if slide.ceil and end == slide.length(n) else min(high, n)

    def section(self, first: int, end: int, n: int) -> Problem:
        """The problem that computes outputs [first, end) of a whole signal of n inputs, from those of `bounds`."""
        slide, (low, high) = self.slide, self.bounds(first, end, n)
        if slide.transposed:
            crop = first + slide.before - low * slide.stride
            rest = (high - low - 1) * slide.stride + slide.reach - crop - (end - first)
            return self.of_length(high - low, (crop, max(rest, 0)), max(-rest, 0))
        below, above = slide.needs(first, end)
        if slide.ceil and end == slide.length(n):  # only the last window may overhang
            return self.of_length(high - low, (low - below, slide.after), ceil=True)
        return self.of_length(high - low, (low - below, above - high))
