"""Where windows lie: the padding that keeps a size, and how much of the input one output of a stack of layers sees.

Lengths are counted in positions of the input (frames, bins, samples), and in seconds and hertz where their spacing is told.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from kernels.problem.conv import Conv, ConvTranspose
from kernels.problem.conv import same_padding as same_padding_of_axis
from kernels.problem.errors import ProblemError, shown
from kernels.problem.halo import Field, Slide
from kernels.problem.options import Ints, check_positive, flag, padding_pairs, per_axis, real, several
from kernels.problem.pool import Pool
from kernels.problem.window import Pairs, Size, dilated

_FIELDS = "kernel_size", "stride", "dilation", "padding", "transposed", "output_padding"
_DEFAULTS = None, 1, 1, 0, False, 0


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
    lower = flag(op, "lower", lower)
    axes = len(size) if several(size) and len(size) else 1  # type: ignore[arg-type]
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
    first and middle position of output 0's field; a start below 0 lies in padding. After a transposed layer, whose outputs lie between the
    inputs, these may be fractions: nothing outside of them is seen, and how much inside takes turns with the stride's phases.
    """

    size: tuple[float, ...]
    stride: tuple[float, ...]
    start: tuple[float, ...]
    centre: tuple[float, ...]
    seconds: Span | None = None
    hertz: Span | None = None


class _Window(NamedTuple):
    """One sliding window, one number per axis; what users write at first."""

    kernel: Any
    stride: Any
    dilation: Any
    padding: Any
    transposed: Any = False
    output_padding: Any = 0


def _of_problem(problem: Conv | Pool) -> Iterator[_Window]:
    """The windows of a problem: its own, and the pool that follows it."""
    axes = int(problem.op[-2])
    own = _Window(problem.kernel[-axes:], problem.stride[-axes:], problem.dilation[-axes:], problem.padding[-axes:])
    yield own._replace(transposed=True, output_padding=problem.output_padding[-axes:]) if isinstance(problem, ConvTranspose) else own
    if isinstance(problem, Conv) and problem.pool:
        _, kernel, stride = problem.pool
        yield _Window(kernel[-axes:], stride[-axes:], (1,) * axes, ((0, 0),) * axes)


def _of_layer(layer: Any) -> Iterator[_Window]:
    """The windows of a layer."""
    if isinstance(layer, Conv | Pool):
        yield from _of_problem(layer)
    elif isinstance(layer, Mapping):
        if set(layer) - set(_FIELDS) or "kernel_size" not in layer:
            raise ProblemError(f"receptive_field: layer {dict(layer)!r} must have kernel_size and may have {', '.join(_FIELDS[1:])}")
        yield _Window(*(layer.get(name, default) for name, default in zip(_FIELDS, _DEFAULTS)))
    elif isinstance(layer, Sequence) and not isinstance(layer, str) and 1 <= len(layer) <= 4:
        yield _Window(*layer, *_DEFAULTS[len(layer) : 4])
    else:
        raise ProblemError(f"receptive_field: layer {shown(layer)} must be ({', '.join(_FIELDS[:4])}), a dict, a Conv or a Pool")


def _axes_of(windows: list[_Window], size: Ints | None) -> int:
    """The number of axes: the length of the first argument that is given per axis."""
    for value in (size, *(value for window in windows for value in window)):
        if (isinstance(value, np.ndarray) and value.ndim) or (several(value) and not isinstance(value, str)):
            return len(value)
    return 1


def _before(window: _Window, size: Size | None) -> tuple[Size, Size | None]:
    """(padding before, size of the output or None) of a window on an input of `size`, which "same" of a stride depends on."""
    kernel, stride, dilation, padding, transposed, more = window
    op = "receptive_field"
    reach = tuple(map(dilated, kernel, dilation))
    if transposed:
        if isinstance(padding, str) and padding.startswith("same"):  # size * stride outputs
            excess = [max(r - s, 0) for r, s in zip(reach, stride)]
            padding = [(e // 2, e - e // 2)[:: -1 if padding == "same_lower" else 1] for e in excess]
            more = tuple(max(s - r, 0) for r, s in zip(reach, stride))
        pairs = padding_pairs(op, padding, (1,) * len(kernel), kernel, stride, dilation)
        longer = None if size is None else tuple((n - 1) * s - sum(p) + r + m for n, s, p, r, m in zip(size, stride, pairs, reach, more))
        return tuple(before for before, _ in pairs), longer
    if isinstance(padding, str) and size is None and max(stride) > 1:
        raise ProblemError(f'{op}: padding="{padding}" with stride {stride} depends on the size of the input; pass size=')
    # at stride 1 "same" is the same for every size
    pairs = padding_pairs(op, padding, size or (1,) * len(kernel), kernel, stride, dilation)
    out = None
    if size is not None:
        out = tuple((n + sum(p) - r) // s + 1 for n, p, r, s in zip(size, pairs, reach, stride))
        if min(out) < 1:
            raise ProblemError(f"{op}: kernel {kernel} (dilation {dilation}) does not fit size {size} with padding {pairs}; pad more")
    return tuple(before for before, _ in pairs), out


def receptive_field(
    layers: Sequence[Any], *, size: Ints | None = None, hop: float | None = None, sample_rate: float | None = None,
    window: float | None = None, bin_hz: float | None = None, axes: Sequence[str] | None = None, hop_length: float | None = None,
) -> list[ReceptiveField]:  # fmt: skip
    """The receptive field after each layer: the largest component of the input that one output can see whole.

    layers: from input to output, each (kernel_size, stride, dilation, padding) of which the last three may be left out, a dict of these
    names, of a transposed layer with transposed=True and its output_padding, or a Conv or Pool problem; each number may be one per axis.
    size: spatial size of the input, needed where padding="same" meets a stride.

    hop (samples from frame to frame; 1 for raw audio) and sample_rate (hertz) add `seconds`: position p lies at p * hop / sample_rate, and
    one frame covers `window` samples (default: hop). bin_hz (hertz from bin to bin) adds `hertz`; for mel or constant-Q bins it is the
    spacing around the frequency of interest. axes names each axis "time", "frequency" or otherwise; by default ("time",) or
    ("frequency", "time"). hop_length is librosa's name for hop. Raises ProblemError for arguments that make no layers.

    The arithmetic is that of `halo`.
    Definition: A. Araujo, W. Norris, J. Sim, "Computing receptive fields of convolutional neural networks", Distill, 2019.

    >>> fields = receptive_field([(3, 1, 1, 1), (2, 2), (3, 1, 1, 1)])
    >>> [(field.size, field.stride, field.start) for field in fields]
    [((3,), (1,), (-1,)), ((4,), (2,), (-1,)), ((8,), (2,), (-3,))]
    >>> receptive_field([((3, 7), (1, 2))], hop=512, sample_rate=22050, bin_hz=10.0)[-1].hertz
    Span(size=30.0, stride=10.0, start=0.0, centre=10.0)
    """
    op = "receptive_field"
    if not isinstance(layers, Iterable) or isinstance(layers, str | bytes | np.ndarray):
        raise ProblemError(f"{op}: layers is a {type(layers).__name__}, must be a list of layers")
    stacks = [list(_of_layer(layer)) for layer in layers]
    number = _axes_of([part for stack in stacks for part in stack], size)
    names = tuple(axes) if axes is not None else ("frequency", "time")[-number:]
    if len(names) != number:
        raise ProblemError(f"{op}: axes is {names} for {number} axes; name each of them")
    if hop_length is not None:
        if hop is not None:
            raise ProblemError(f"{op}: hop is {hop} and hop_length {hop_length}, two names of one number; pass one")
        hop = hop_length
    hop, sample_rate, window, bin_hz = (
        None if value is None else real(op, name, value, above=0.0)
        for name, value in (("hop", hop), ("sample_rate", sample_rate), ("window", window), ("bin_hz", bin_hz))
    )
    if (hop is None) != (sample_rate is None) or (hop is None and window is not None):
        raise ProblemError(f"{op}: hop is {hop}, sample_rate {sample_rate}, window {window}; seconds need hop and sample_rate both")
    for name, value, axis in (("hop", hop, "time"), ("bin_hz", bin_hz, "frequency")):
        if value is not None and axis not in names:
            raise ProblemError(f"{op}: {name} is told, but axes {names} have no {axis!r}; pass axes=")

    seen = (Field(),) * number
    now = None if size is None else per_axis(op, "size", size, number)
    fields = []
    for stack in stacks:
        for one in stack:
            kernel, stride, dilation = (per_axis(op, name, value, number) for name, value in zip(_FIELDS[:3], one))
            more, transposed = per_axis(op, "output_padding", one.output_padding, number), flag(op, "transposed", one.transposed)
            check_positive(op, kernel, stride, dilation)
            before, now = _before(_Window(kernel, stride, dilation, one.padding, transposed, more), now)
            slides = (Slide(k, s, d, p, transposed=transposed) for k, s, d, p in zip(kernel, stride, dilation, before))
            seen = tuple(field.then(slide) for field, slide in zip(seen, slides))
        sizes, steps, starts, centres = zip(*((field.size, field.stride, field.start, field.centre) for field in seen))
        field = ReceptiveField(_plain(sizes), _plain(steps), _plain(starts), tuple(map(float, centres)))
        if hop is not None and sample_rate is not None:
            width = hop if window is None else window
            field = dataclasses.replace(field, seconds=_span(field, names.index("time"), hop / sample_rate, width / sample_rate))
        if bin_hz is not None:
            field = dataclasses.replace(field, hertz=_span(field, names.index("frequency"), bin_hz, bin_hz))
        fields.append(field)
    return fields


def _plain(values: tuple[Fraction, ...]) -> tuple[float, ...]:
    """Whole numbers as int, others as float."""
    return tuple(int(value) if value.denominator == 1 else float(value) for value in values)


def _span(field: ReceptiveField, axis: int, spacing: float, width: float) -> Span:
    """The field along one axis where positions are `spacing` apart and each covers `width`."""
    size = (field.size[axis] - 1) * spacing + width
    return Span(size, field.stride[axis] * spacing, field.start[axis] * spacing, field.centre[axis] * spacing)
