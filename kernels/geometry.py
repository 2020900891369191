"""Where windows lie: the padding that keeps a size, and how much of the input one output of a stack of layers sees.

Lengths are counted in positions of the input (frames, bins, samples), and in seconds and hertz where their spacing is told.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from kernels.errors import ProblemError
from kernels.options import Ints, check_positive, padding_pairs, per_axis
from kernels.problem import Conv, Pairs, Pool, Size, dilated
from kernels.problem import same_padding as same_padding_of_axis

_FIELDS = "kernel_size", "stride", "dilation", "padding"


def same_padding(size: Ints, kernel_size: Ints, stride: Ints = 1, dilation: Ints = 1, *, lower: bool = False) -> Pairs:
    """((before, after), …), one pair per axis, with which a window yields ceil(size / stride) outputs; use it as `padding=`.

    size: the spatial size of the input, a number or one per axis; its length says how many axes. The others are a number or one per axis.
    The total is max((ceil(n/s) - 1)*s + (k - 1)*d + 1 - n, 0); the odd one goes after, or before if `lower`. Raises ProblemError for
    anything but positive whole numbers. Definition: TensorFlow's SAME, ONNX's SAME_UPPER and SAME_LOWER.

    >>> same_padding((96, 1366), (3, 4), stride=(1, 2))
    ((1, 1), (1, 1))
    >>> same_padding(10, 4), same_padding(10, 4, lower=True)
    (((1, 2),), ((2, 1),))
    """
    op = "same_padding"
    axes = len(size) if isinstance(size, Sequence) else 1
    length, kernel, step, spread = (
        per_axis(op, name, value, axes)
        for name, value in (("size", size), ("kernel_size", kernel_size), ("stride", stride), ("dilation", dilation))
    )
    check_positive(op, kernel, step, spread)
    if min(length) < 1:
        raise ProblemError(f"{op}: size is {size}, every number must be at least 1")
    return tuple(same_padding_of_axis(n, k, s, d, lower=lower) for n, k, s, d in zip(length, kernel, step, spread))


class Span(NamedTuple):
    """A receptive field along one axis, in seconds or hertz: its size, the step from output to output, and where output 0's starts and has
    its centre."""

    size: float
    stride: float
    start: float
    centre: float


@dataclasses.dataclass(frozen=True)
class ReceptiveField:
    """What one output sees of the input, in positions of it, one number per axis; `seconds` and `hertz` where the spacing was told.

    size: positions from the first to the last, both included. stride: positions from one output's field to the next one's. start, centre:
    first and middle position of output 0's field; a start below 0 lies in padding.
    """

    size: tuple[int, ...]
    stride: tuple[int, ...]
    start: tuple[int, ...]
    centre: tuple[float, ...]
    seconds: Span | None = None
    hertz: Span | None = None


class _Window(NamedTuple):
    """One sliding window, one number per axis."""

    kernel: Size
    stride: Size
    dilation: Size
    padding: Any


def _of_problem(problem: Conv | Pool) -> Iterator[_Window]:
    """The windows of a problem: its own, and the pool that follows it."""
    if problem.op.startswith("conv_transpose"):
        raise ProblemError(f"receptive_field: {problem.op} widens its input; count the layers before and after it separately")
    axes = int(problem.op[-2])
    yield _Window(problem.kernel[-axes:], problem.stride[-axes:], problem.dilation[-axes:], problem.padding[-axes:])
    if isinstance(problem, Conv) and problem.pool:
        _, kernel, stride = problem.pool
        yield _Window(kernel[-axes:], stride[-axes:], (1,) * axes, ((0, 0),) * axes)


def _of_layer(layer: Any) -> Iterator[Any]:
    """The windows of a layer; what users write comes out as a tuple of four."""
    if isinstance(layer, Conv | Pool):
        yield from _of_problem(layer)
    elif isinstance(layer, Mapping):
        unknown = set(layer) - set(_FIELDS)
        if unknown or "kernel_size" not in layer:
            raise ProblemError(f"receptive_field: layer {dict(layer)!r} must have kernel_size and may have {', '.join(_FIELDS[1:])}")
        yield tuple(layer.get(name, default) for name, default in zip(_FIELDS, (None, 1, 1, 0)))
    elif isinstance(layer, Sequence) and not isinstance(layer, str) and 1 <= len(layer) <= 4:
        yield (*layer, *(1, 1, 0)[len(layer) - 1 :])
    else:
        raise ProblemError(f"receptive_field: layer {layer!r} must be ({', '.join(_FIELDS)}), a dict of these, a Conv or a Pool")


def _axes_of(windows: list[tuple[Any, ...]], size: Ints | None) -> int:
    """The number of axes: the length of the first argument that is given per axis."""
    for value in (size, *(value for window in windows for value in window)):
        if isinstance(value, Sequence) and not isinstance(value, str):
            return len(value)
    return 1


def _before(window: _Window, size: Size | None) -> tuple[Size, Size | None]:
    """(padding before, size of the output or None) of a window on an input of `size`, which "same" of a stride depends on."""
    kernel, stride, dilation, padding = window
    op = "receptive_field"
    if isinstance(padding, str) and size is None and max(stride) > 1:
        raise ProblemError(f'{op}: padding="{padding}" with stride {stride} depends on the size of the input; pass size=')
    # at stride 1 "same" is the same for every size
    pairs = padding_pairs(op, padding, size or (1,) * len(kernel), kernel, stride, dilation)
    out = None
    if size is not None:
        out = tuple((n + sum(p) - dilated(k, d)) // s + 1 for n, p, k, s, d in zip(size, pairs, kernel, stride, dilation))
        if min(out) < 1:
            raise ProblemError(f"{op}: kernel {kernel} (dilation {dilation}) does not fit size {size} with padding {pairs}; pad more")
    return tuple(before for before, _ in pairs), out


def receptive_field(
    layers: Sequence[Any], *, size: Ints | None = None, hop: float | None = None, sample_rate: float | None = None,
    window: float | None = None, bin_hz: float | None = None, axes: Sequence[str] | None = None,
) -> list[ReceptiveField]:  # fmt: skip
    """The receptive field after each layer: the largest component of the input that one output can see whole.

    layers: from input to output, each (kernel_size, stride, dilation, padding) of which the last three may be left out, a dict of these
    names, or a Conv or Pool problem; each number may be one per axis. size: spatial size of the input, needed where padding="same" meets
    a stride.

    hop (samples from frame to frame; 1 for raw audio) and sample_rate (hertz) add `seconds`: position p lies at p * hop / sample_rate, and
    one frame covers `window` samples (default: hop). bin_hz (hertz from bin to bin) adds `hertz`; for mel or constant-Q bins it is the
    spacing around the frequency of interest. axes names each axis "time", "frequency" or otherwise; by default ("time",) or
    ("frequency", "time"). Raises ProblemError for arguments that make no layers.

    With effective kernels e = (k - 1)*d + 1: stride S_l = s_1 ⋯ s_l, size r_l = 1 + sum of (e_i - 1) S_(i-1), start -sum of p_i S_(i-1).
    Definition: A. Araujo, W. Norris, J. Sim, "Computing receptive fields of convolutional neural networks", Distill, 2019.

    >>> fields = receptive_field([(3, 1, 1, 1), (2, 2), (3, 1, 1, 1)])
    >>> [(field.size, field.stride, field.start) for field in fields]
    [((3,), (1,), (-1,)), ((4,), (2,), (-1,)), ((8,), (2,), (-3,))]
    >>> receptive_field([((3, 7), (1, 2))], hop=512, sample_rate=22050, bin_hz=10.0)[-1].hertz
    Span(size=30.0, stride=10.0, start=0.0, centre=10.0)
    """
    op = "receptive_field"
    stacks = [list(_of_layer(layer)) for layer in layers]
    number = _axes_of([part for stack in stacks for part in stack], size)
    names = tuple(axes) if axes is not None else ("frequency", "time")[-number:]
    if len(names) != number:
        raise ProblemError(f"{op}: axes is {names} for {number} axes; name each of them")
    if (hop is None) != (sample_rate is None) or (hop is None and window is not None):
        raise ProblemError(f"{op}: hop is {hop}, sample_rate {sample_rate}, window {window}; seconds need hop and sample_rate both")
    for name, value, axis in (("hop", hop, "time"), ("bin_hz", bin_hz, "frequency")):
        if value is not None and axis not in names:
            raise ProblemError(f"{op}: {name} is told, but axes {names} have no {axis!r}; pass axes=")

    reach, steps, start = (1,) * number, (1,) * number, (0,) * number
    now = None if size is None else per_axis(op, "size", size, number)
    fields = []
    for stack in stacks:
        for *numbers, padding in stack:
            kernel, stride, dilation = (per_axis(op, name, value, number) for name, value in zip(_FIELDS, numbers))
            check_positive(op, kernel, stride, dilation)
            before, now = _before(_Window(kernel, stride, dilation, padding), now)
            reach = tuple(r + (dilated(k, d) - 1) * s for r, k, d, s in zip(reach, kernel, dilation, steps))
            start = tuple(u - p * s for u, p, s in zip(start, before, steps))
            steps = tuple(a * b for a, b in zip(steps, stride))
        field = ReceptiveField(reach, steps, start, tuple(u + (r - 1) / 2 for u, r in zip(start, reach)))
        if hop is not None and sample_rate is not None:
            width = hop if window is None else window
            field = dataclasses.replace(field, seconds=_span(field, names.index("time"), hop / sample_rate, width / sample_rate))
        if bin_hz is not None:
            field = dataclasses.replace(field, hertz=_span(field, names.index("frequency"), bin_hz, bin_hz))
        fields.append(field)
    return fields


def _span(field: ReceptiveField, axis: int, spacing: float, width: float) -> Span:
    """The field along one axis where positions are `spacing` apart and each covers `width`."""
    size = (field.size[axis] - 1) * spacing + width
    return Span(size, field.stride[axis] * spacing, field.start[axis] * spacing, field.centre[axis] * spacing)
