"""Random problems of every operation, with every option that applies, by every implementation that takes them, against float64."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import hypothesis
import hypothesis.strategies as st
import layers
import numpy as np
import pytest
import reference

import kernels

Array = np.ndarray
Draw = Callable[[st.SearchStrategy[Any]], Any]
BOUNDS = {"float16": 2e-3, "float32": 1e-4, "float64": 1e-10}  # of the largest value before an activation caps it
SLOWEST = 2e5  # operations that plain Python may take


@dataclasses.dataclass
class Problem:
    """A call, its arrays channels first, and its answer: values (and positions), with the size that rounding errors are a share of."""

    op: str
    operands: list[Array]
    options: dict[str, Any]
    expected: tuple[Array, ...]
    size: float
    flops: float


def pairs(draw: Draw, axes: int, most: int) -> list[tuple[int, int]]:
    return [(draw(st.integers(0, most)), draw(st.integers(0, most))) for _ in range(axes)]


def lengths(draw: Draw, axes: int, *most: int) -> tuple[int, ...]:
    return tuple(draw(st.integers(1, limit)) for limit in most[-axes:])


def values(draw: Draw, shape: tuple[int, ...], dtype: str) -> Array:
    return np.random.default_rng(draw(st.integers(0, 2**31))).standard_normal(shape).astype(dtype)


def spatial(draw: Draw, kernel: Any, dilation: Any, padding: Any) -> tuple[int, ...]:
    """Lengths that the kernel fits on, with its padding."""
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilation)]
    most = (3, 7, 40)[-len(spans) :]
    return tuple(max(1, span - sum(pair)) + draw(st.integers(0, limit)) for span, pair, limit in zip(spans, padding, most))


def epilogue(draw: Draw, op: str, y: Array, operands: list[Array], dtype: str) -> tuple[dict[str, Any], Array, float]:
    """Options of what follows a convolution, the result, and the largest value on the way."""
    c_out, axes = y.shape[1], y.ndim - 2
    column = (-1, *[1] * axes)
    more: dict[str, Any] = {}
    if draw(st.booleans()):
        operands.append(values(draw, (c_out,), dtype))
        y = y + operands[-1].astype(np.float64).reshape(column)
    for name, step in (("scale", np.multiply), ("shift", np.add)):
        if draw(st.integers(0, 3)) == 0:
            more[name] = values(draw, (c_out,), dtype)
            y = step(y, more[name].astype(np.float64).reshape(column))
    size = float(np.abs(y).max(initial=0))
    if draw(st.booleans()):
        kind = draw(st.sampled_from(sorted(reference.ACTIVATIONS)))
        slope = draw(st.sampled_from([0.01, 0.3])) if kind == "leaky_relu" else 1.0
        more["activation"] = (kind, slope) if kind == "leaky_relu" else kind
        y = reference.activate(y, kind, slope)
    window = tuple(min(length, draw(st.integers(1, 3))) for length in y.shape[2:])
    if draw(st.integers(0, 2)) == 0:
        stride = draw(st.sampled_from([None, (1,) * axes, tuple(k + 1 for k in window)]))
        kind = draw(st.sampled_from(["max", "avg"]))
        more["pool"] = (kind, window, stride)
        y = pool(kind, y, window, stride or window, [(0, 0)] * axes, (1,) * axes, False)
    return more, y, size


def pool(kind: str, x: Array, *window: Any) -> Array:
    return reference.max_pool(x, *window)[0] if kind == "max" else reference.avg_pool(x, *window, True, None)


def convolution(draw: Draw, op: str, dtype: str) -> Problem:
    axes, transposed = int(op[-2]), "transpose" in op
    groups, ins, outs = draw(st.integers(1, 3)), draw(st.sampled_from([1, 2, 5, 8])), draw(st.sampled_from([1, 2, 4, 9]))
    kernel, stride, dilation = lengths(draw, axes, 3, 3, 6), lengths(draw, axes, 2, 3, 4), lengths(draw, axes, 2, 2, 4)
    if draw(st.booleans()):  # what methods that transform ask for
        kernel, stride, dilation = (3,) * axes, (1,) * axes, (1,) * axes
    options: dict[str, Any] = {"stride": stride, "dilation": dilation, "groups": groups}
    if transposed:
        size = lengths(draw, axes, 3, 5, 12)
        more = tuple(draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation))
        full = [(n - 1) * s + (k - 1) * d + 1 + o for n, k, s, d, o in zip(size, kernel, stride, dilation, more)]
        crops = [(p[0], min(p[1], length - 1 - p[0])) for p, length in zip(pairs(draw, axes, 3), full) if p[0] < length]
        hypothesis.assume(len(crops) == axes)
        options |= {"padding": crops, "output_padding": more}
        shape = groups * ins, outs, *kernel
    else:
        padding = pairs(draw, axes, draw(st.sampled_from([0, 2, 9])))
        size = spatial(draw, kernel, dilation, padding)
        options["padding"] = padding
        shape = groups * outs, ins, *kernel
    x, weight = values(draw, (draw(st.integers(0, 2)), groups * ins, *size), dtype), values(draw, shape, dtype)
    operands = [x, weight]
    options["flip"] = draw(st.booleans())
    slid = np.flip(weight, tuple(range(2, 2 + axes))) if options["flip"] else weight
    if transposed:
        y = reference.conv_transpose(x, slid, None, stride, crops, more, dilation, groups)
    else:
        y = reference.conv(x, slid, None, stride, padding, dilation, groups)
    flops = 2 * max(x.size * outs, y.size * ins) * math.prod(kernel)
    chosen, y, size_ = epilogue(draw, op, y, operands, dtype)
    return Problem(op, operands, options | chosen, (y,), size_, flops)


def pooling(draw: Draw, op: str, dtype: str) -> Problem:
    axes, kind = (int(op[-2]) if op[-1] == "d" else draw(st.integers(1, 2))), "max" if "max" in op else "avg"
    channels = draw(st.integers(1, 3))
    if op.startswith(("adaptive", "global")):
        size = lengths(draw, axes, 6, 9, 40)
        x = values(draw, (draw(st.integers(0, 2)), channels, *size), dtype)
        whole = op.startswith("global")
        outputs = (1,) * axes if whole else lengths(draw, axes, 4, 6, 17)
        answer = reference.adaptive_pool(x, outputs, kind) if not whole else whole_planes(x, kind)
        options: dict[str, Any] = {} if whole else {"output_size": outputs}
    else:
        kernel, stride, dilation = lengths(draw, axes, 3, 4, 9), lengths(draw, axes, 3, 4, 9), lengths(draw, axes, 1, 2, 3)
        padding = [(draw(st.integers(0, (k - 1) * d)), draw(st.integers(0, (k - 1) * d))) for k, d in zip(kernel, dilation)]
        ceil = draw(st.booleans())
        x = values(draw, (draw(st.integers(0, 2)), channels, *spatial(draw, kernel, dilation, padding)), dtype)
        options = {"kernel_size": kernel, "stride": stride, "padding": padding, "dilation": dilation, "ceil_mode": ceil}
        window = kernel, stride, padding, dilation, ceil
        if kind == "max":
            answer = reference.max_pool(x, *window)
        else:
            counted, divisor = draw(st.booleans()), draw(st.sampled_from([None, None, 3, -2]))
            options |= {"count_include_pad": counted, "divisor_override": divisor}
            answer = (reference.avg_pool(x, *window, counted, divisor),)
    if kind == "max" and not op.startswith("global") and draw(st.booleans()):
        options["return_indices"] = True
    else:
        answer = answer[:1]
    flops = math.prod(answer[0].shape) * math.prod(options.get("kernel_size", x.shape[2:]))
    return Problem(op, [x], options, answer, float(np.abs(x).max(initial=0)), flops)


def whole_planes(x: Array, kind: str) -> tuple[Array, ...]:
    spatial_axes = tuple(range(2, x.ndim))
    wide = x.astype(np.float64)
    return ((wide.max if kind == "max" else wide.mean)(axis=spatial_axes, keepdims=True),)


def last(problem: Problem) -> Problem:
    """The same call with channels last: x (n, *spatial, c), weight (*kernel, c_in/groups, c_out), which holds the groups in either case."""
    x, *others = problem.operands
    if others:
        weight = others[0]
        if "transpose" in problem.op:  # (c_in, c_out/groups, …): groups move from c_in to c_out
            groups = problem.options["groups"]
            weight = weight.reshape(groups, -1, *weight.shape[1:]).swapaxes(0, 1).reshape(-1, groups * weight.shape[1], *weight.shape[2:])
            others[0] = np.moveaxis(weight, (0, 1), (-2, -1))
        else:
            others[0] = np.moveaxis(weight, (1, 0), (-2, -1))
    turned = tuple(np.moveaxis(part, 1, -1) for part in problem.expected)
    operands = [np.moveaxis(x, 1, -1), *others]
    return dataclasses.replace(problem, operands=operands, options=problem.options | {"layout": "channels_last"}, expected=turned)


@pytest.mark.parametrize("op", layers.OPS)
@hypothesis.given(data=st.data(), dtype=st.sampled_from(sorted(BOUNDS)), channels_last=st.booleans(), batched=st.booleans())
@hypothesis.settings(max_examples=20)
def test_every_implementation(op: str, data: st.DataObject, dtype: str, channels_last: bool, batched: bool) -> None:
    problem = (convolution if op.startswith("conv") else pooling)(data.draw, op, dtype)
    problem = last(problem) if channels_last else problem
    x, *others = problem.operands
    expected = problem.expected
    if not batched and len(x) and not op.startswith("global"):
        x, expected = x[0], tuple(part[0] for part in expected)
    able = kernels.implementations(op, x.shape, *others, dtype=dtype, **problem.options)
    assert able["naive"] is None
    for name in ["auto", *(name for name, sentence in able.items() if sentence is None and (name != "naive" or problem.flops < SLOWEST))]:
        answer = getattr(kernels, op)(x, *others, implementation=name, **problem.options)
        answer = answer if isinstance(answer, tuple) else (answer,)
        assert [part.shape for part in answer] == [part.shape for part in expected]
        assert [part.dtype.name for part in answer] == [dtype, "int64"][: len(answer)]
        if op.startswith("conv") or "avg" in op:
            error = float(np.abs(answer[0].astype(np.float64) - expected[0]).max(initial=0))
            assert error <= BOUNDS[dtype] * (1 + problem.size), f"{name}: {error}"
        else:  # maxima are inputs, or -inf where a dilated window saw none
            assert np.array_equal(answer[0], expected[0]), name
            seen = np.isfinite(expected[0])
            assert all(np.array_equal(a[seen], b[seen]) for a, b in zip(answer[1:], expected[1:])), name
