"""What cannot stream, said before anything is planned: layers that need the whole signal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kernels.network.layers import Layer, named
from kernels.problem.errors import RefusedError
from kernels.problem.options import several
from kernels.streaming.lines import Line

# where arguments stand that are passed by position, after the input
_PLACES = {"conv": ("weight", "bias", "stride", "padding"), "pool": ("kernel_size", "stride", "padding")}


def check(lines: Sequence[Line], ndim: int, *, endless: bool = True) -> None:
    """Raise RefusedError, with its place, for a layer that needs the whole signal. ndim: axes of the input; endless: nobody knows how long
    the signal will be."""
    for line in lines:
        for where, each in line.layers:
            with named(where):
                _check(each, ndim, line.axis, endless)


def _check(each: Layer, ndim: int, axis: int, endless: bool) -> None:
    op, options = str(each.op), each.options
    if op.startswith("global"):
        raise RefusedError(f"{op} needs the whole signal; use {op[7:]}{ndim - 2}d with a kernel of a fixed length along time")
    if op.startswith("adaptive"):
        size: Any = options.get("output_size", each.args[0] if each.args else None)
        if not several(size) or size[axis] is not None:
            raise RefusedError(f"{op} shares the whole signal out into {size} windows; use a pool of a fixed length, or None for time")
    if op == "flatten":
        raise RefusedError("flatten mixes time with other axes; leave it out and use a convolution as long as what it flattened")
    if op == "linear" and axis == -1:
        raise RefusedError("linear works along the last axis, which is time; use a convolution of one tap, or another axis for time")
    if options.get("output_size") is not None and op.startswith("conv_transpose"):
        raise RefusedError(f"{op}: output_size is the length of a whole signal's result; use output_padding, which adds to it")
    if op == "batch_norm" and (at := options.get("axis", 1)) - ndim * (at >= 0) == axis:
        raise RefusedError("batch_norm along time has numbers for the positions of one length only; use it along channels")
    padding, stride = _argument(each, "padding"), _argument(each, "stride")
    if endless and isinstance(padding, str) and padding.startswith("same") and not op.startswith("conv_transpose"):
        if stride is None:
            stride = 1 if op.startswith("conv") else _argument(each, "kernel_size")
        along = (stride[axis] if len(stride) > 1 else stride[0]) if several(stride) else stride
        if along > 1:
            raise RefusedError(
                f'{op}: padding="{padding}" with stride {along} along time depends on how long the signal is; use (before, after) pairs'
            )


def _argument(each: Layer, name: str) -> Any:
    """An argument of a convolution or pool, None if it is not passed."""
    places = _PLACES["conv" if str(each.op).startswith("conv") else "pool"]
    at = places.index(name) if name in places else len(each.args)
    return each.options.get(name, each.args[at] if at < len(each.args) else None)
