"""Convolutions, pools and products become plans of this library's methods, on arrays with channels first or last, as they lie."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from kernels.cost.calibration import calibration
from kernels.dispatch.choices import choice_for
from kernels.dispatch.descriptor import Descriptor
from kernels.dispatch.measure import measure
from kernels.dispatch.plan import Plan
from kernels.network.graph import Node
from kernels.network.lower_products import convolution_as_rows, rows_of, rows_step, takes_rows
from kernels.network.lowering import Lowering, lowers
from kernels.network.operators.windows import window_request
from kernels.network.views import Array, View
from kernels.primitives.vector_matrix import fits, vector_matrix
from kernels.problem.conv import Conv, ConvTranspose, Problem, linear_problem
from kernels.problem.operands import Operands
from kernels.problem.options import Signature


def plan_of(lowering: Lowering, problem: Problem, signature: Signature, operands: Operands) -> Plan:
    """A plan of what "auto" takes, measured first where that was asked for."""
    settings = lowering.settings
    if settings.budget:
        measure(problem, settings.threads, settings.budget)
    return Plan(Descriptor(problem, signature, "auto", settings.threads), operands)


def _run(plan: Plan, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> Callable[[list[Array], Array], Callable[[], Any]]:
    """Binds a plan's bare run to arrays in the shapes that it takes."""

    def bind(arrays: list[Array], scratch: Array) -> Callable[[], Any]:
        x, y, run = arrays[0].reshape(x_shape), arrays[1].reshape(y_shape), plan.run
        return lambda: run(x, y)

    return bind


def _last(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[0], *shape[2:], shape[1])


def channels_last_order(rank: int) -> tuple[int, ...]:
    """The order of axes in memory of (N, C, *spatial) with channels last."""
    return (0, *range(2, rank), 1)


@lowers("Conv", "ConvTranspose", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool")
def _window(lowering: Lowering, node: Node) -> None:
    if ("Conv" in node.op and "weight" not in node.attributes) or len(node.outputs) > 1 or node.x.kind not in (np.float32, np.float64):
        from kernels.network.lowering import lower_by_numpy

        lower_by_numpy(lowering, node)  # weights that change, positions of maxima, integers
        return
    asked = window_request(node, node.attributes.get("weight"), node.attributes.get("bias"))
    problem, rank, x = asked.problem, len(node.x.lengths), lowering.view(node.x)
    if isinstance(problem, Conv):
        accuracy = "each" if node in lowering.settings.each else problem.accuracy
        more: dict[str, Any] = {name: node.attributes.get(name) for name in ("activation", "pool")}
        problem = dataclasses.replace(problem, accuracy=accuracy, **more)
    last = channels_last_order(rank)
    if not x.contiguous() and x.contiguous(last) and rank <= 4:
        if isinstance(problem, Conv) and convolution_as_rows(lowering, node, problem, x.transposed(last), asked.operands):
            return
        x_shape, y_shape = _last(problem.x_shape), _last(problem.out_shape)
        signature = Signature(x_shape, y_shape, np.dtype(problem.dtype), rank - 2, channels_last=True)
        plan = plan_of(lowering, problem, signature, asked.operands)
        y = lowering.new(node.y, last, anywhere=False)
        reads, writes = [x.transposed(last)], [y.transposed(last)]
    else:
        if isinstance(problem, Conv) and _as_frames(lowering, node, problem, x, asked.operands):
            return
        x = lowering.ordered(node, x)
        x_shape, y_shape = problem.x_shape, problem.out_shape
        plan = plan_of(lowering, problem, asked.signature, asked.operands)
        y = lowering.new(node.y, range(rank), anywhere=False)
        reads, writes = [x], [y]
    lowering.step(node, reads, writes, _run(plan, x_shape, y_shape), plan.implementation, plan.seconds, own=plan.workspace_bytes)


LONG, WIDE, MANY = 128, 64, 128  # taps, output channels and frames from which copied frames were measured to cost less


def _as_frames(lowering: Lowering, node: Node, problem: Conv, x: View, operands: Operands) -> bool:
    """A window of many taps that moves on by many along one axis, as transforms of frames do: its columns are copied out, each tap's
    numbers of all frames side by side, and become the channels of a layer of one tap. Direct sums then read whole vectors."""
    if isinstance(problem, ConvTranspose) or len(problem.size) != 2 or problem.size[0] != 1 or problem.kernel[0] != 1 or problem.groups > 1:
        return False
    if problem.pool or any(map(any, problem.padding)) or problem.c_in != 1 or problem.n == 0 or problem.stride[1] == 1:
        return False
    if problem.kernel[1] < LONG or problem.c_out < WIDE or problem.conv_size[1] < MANY:
        return False
    if not choice_for(problem, "auto", lowering.settings.threads).implementation.picks_strides:
        return False
    rank, taps, frames = len(x.shape), problem.kernel[1], problem.conv_size[1]
    strides = (x.strides[0], x.strides[1], x.strides[-1] * problem.dilation[1], x.strides[-1] * problem.stride[1])
    seen = View(x.buffer, x.offset, (problem.n, problem.c_in, taps, frames), strides, x.dtype)
    inner = dataclasses.replace(problem, c_in=problem.c_in * taps, size=(1, frames), kernel=(1, 1), stride=(1, 1), dilation=(1, 1))
    weight = None if operands.weight is None else operands.weight.reshape(problem.c_out, -1, 1, 1)
    columns = lowering.temporary(seen.shape, x.dtype)
    lowering.copy(node, seen, columns)
    signature = Signature(inner.x_shape, inner.out_shape, x.dtype, 2)
    plan = plan_of(lowering, inner, signature, operands._replace(weight=weight))
    y = lowering.new(node.y, range(rank), anywhere=False)
    lowering.step(node, [columns], [y], _run(plan, inner.x_shape, inner.out_shape), f"frames, {plan.implementation}", plan.seconds,
                  own=plan.workspace_bytes)  # fmt: skip
    return True


@lowers("Linear")
def _linear(lowering: Lowering, node: Node) -> None:
    """A convolution of one tap: positions are rows where the summed axis lies last in memory, else one image a matrix, channels first."""
    x, y_shape = lowering.view(node.x), node.y.lengths
    by_rows = node.attributes["axis"] == -1
    if not by_rows:
        x = x.swapped()
        y_shape = (*y_shape[:-2], y_shape[-1], y_shape[-2])
    rank = len(y_shape)
    swapped = (*range(rank - 2), rank - 1, rank - 2)
    rows = rows_of(x)
    if rows is not None and takes_rows(node, rows):
        rows_step(lowering, node, rows, _place(lowering, node, tuple(range(rank)), by_rows))
        return
    planes = rank > 1 and not x.contiguous() and x.contiguous(swapped)
    if not planes and not x.contiguous():
        first = x.strides[-1] != 1 and rank > 1 and x.strides[-2] == 1  # the axis before lies last: copy in that order
        x, planes = lowering.ordered(node, x, swapped if first else None), first
    weight, activation = node.attributes["weight"], node.attributes.get("activation")
    if math.prod(x.shape[:-1]) == 1 and fits(len(weight), weight.shape[1], x.dtype.itemsize, activation):
        _vector(lowering, node, x, _place(lowering, node, tuple(range(len(y_shape))), by_rows))
        return
    problem, signature, operands = _one_tap(lowering, node, x, planes)
    plan = plan_of(lowering, problem, signature, operands)
    wanted = swapped if planes else tuple(range(rank))
    y = _place(lowering, node, wanted, by_rows)
    reads, writes = ([x.swapped()], [y.swapped()]) if planes else ([x], [y])
    bind = _run(plan, signature.x_shape, signature.out_shape)
    lowering.step(node, reads, writes, bind, plan.implementation, plan.seconds, own=plan.workspace_bytes)


def _vector(lowering: Lowering, node: Node, x: View, y: View) -> None:
    """One row."""
    weight, bias = np.asarray(node.attributes["weight"], x.dtype), node.attributes["bias"]
    found, scratch_bytes = vector_matrix(weight, bias, node.attributes.get("activation"), lowering.settings.threads)
    seconds = weight.nbytes / calibration().bandwidth

    def bind(arrays: list[Array], scratch: Array) -> Callable[[], Any]:
        return found(arrays[0], arrays[1], scratch)

    lowering.step(node, [x], [y], bind, "row times matrix", seconds, scratch_bytes)


def linear_step(lowering: Lowering, node: Node, x: View, weight: Array, bias: Array | None) -> View:
    """A product with weight (out, in) along the last axis of x, as a step of another node: (…, out), contiguous."""
    inner = Node("Linear", node.inputs, node.outputs, {"weight": weight, "bias": bias, "axis": -1}, node.name)
    x = lowering.ordered(node, x)
    y = lowering.temporary((*x.shape[:-1], len(weight)), x.dtype)
    if math.prod(x.shape[:-1]) == 1 and fits(len(weight), weight.shape[1], x.dtype.itemsize, None):
        _vector(lowering, inner, x, y)
        return y
    rows = rows_of(x)
    if rows is not None and takes_rows(inner, rows):
        rows_step(lowering, inner, rows, y)
        return y
    problem, signature, operands = _one_tap(lowering, inner, x, False)
    plan = plan_of(lowering, problem, signature, operands)
    bind = _run(plan, signature.x_shape, signature.out_shape)
    lowering.step(inner, [x], [y], bind, plan.implementation, plan.seconds, own=plan.workspace_bytes)
    return y


def _place(lowering: Lowering, node: Node, wanted: tuple[int, ...], by_rows: bool) -> View:
    """The output as its rows lie: the node's value, its last two axes changed places where they stand the other way round."""
    if by_rows:
        return lowering.new(node.y, wanted, anywhere=False)
    rank = len(wanted)
    back = {rank - 1: rank - 2, rank - 2: rank - 1}
    order = tuple(back.get(axis, axis) for axis in wanted)
    return lowering.new(node.y, order, anywhere=False).swapped()


def _one_tap(lowering: Lowering, node: Node, x: View, planes: bool) -> tuple[Problem, Signature, Operands]:
    weight, bias = node.attributes["weight"], node.attributes["bias"]
    dtype = x.dtype
    c_out, c_in = weight.shape
    n, count = (math.prod(x.shape[:-2]), x.shape[-2]) if planes else (1, math.prod(x.shape[:-1]))
    accuracy = "each" if node in lowering.settings.each else "largest"
    activation = node.attributes.get("activation")
    problem = linear_problem(n, c_in, count, c_out, dtype.name, bias=bias is not None, activation=activation, accuracy=accuracy)
    operands = Operands(np.array(weight, dtype, order="C").reshape(c_out, c_in, 1, 1), None if bias is None else np.array(bias, dtype))
    if planes:
        return problem, Signature(problem.x_shape, problem.out_shape, dtype, 2), operands
    return problem, Signature((1, 1, count, c_in), (1, 1, count, c_out), dtype, 2, channels_last=True), operands


def fuses_pool(node: Node, pool: tuple[str, tuple[int, ...], tuple[int, ...]], threads: int) -> bool:
    """Whether the method that is taken for a convolution with this pool at its end pools inside."""
    problem = window_request(node, node.attributes["weight"], node.attributes["bias"]).problem
    if not isinstance(problem, Conv) or len(problem.size) != 2:
        return False
    pooled = dataclasses.replace(problem, pool=pool, activation=node.attributes.get("activation"))
    return choice_for(pooled, "auto", threads).implementation.fuses(pooled)
