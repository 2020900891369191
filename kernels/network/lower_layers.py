"""Convolutions, pools and products become plans of this library's methods, on arrays with channels first or last, as they lie."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from kernels.cost.calibration import calibration
from kernels.dispatch.choices import choice_for
from kernels.network.graph import Node, Value
from kernels.network.lower_frames import as_frames
from kernels.network.lower_products import convolution_as_rows, rows_of, rows_step, takes_rows
from kernels.network.lower_spectra import as_bands, as_spectra
from kernels.network.lowering import Lowering, lowers
from kernels.network.operators.windows import window_request
from kernels.network.plans import bind_plan, plan_of
from kernels.network.views import Array, View
from kernels.primitives.vector_matrix import PASSES, RowLayers, fits, pass_numbers, row_layer
from kernels.primitives.vector_program import Operation
from kernels.problem.conv import Conv, ConvTranspose, Problem, linear_problem
from kernels.problem.operands import Operands
from kernels.problem.options import Signature
from kernels.runtime.constants import made


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
    if len(node.inputs) > 1 and node.op == "Conv":
        if not _added(lowering, node):
            _then_added(lowering, node, _window)
        return
    request = window_request(node, node.attributes.get("weight"), node.attributes.get("bias"))
    problem, rank, x = request.problem, len(node.x.lengths), lowering.view(node.x)
    if isinstance(problem, Conv):
        problem = _whole(lowering, node, problem)
        if _single(lowering, node, problem, x, request.operands):
            return
    last = channels_last_order(rank)
    if not x.contiguous() and x.contiguous(last) and rank <= 4:
        if isinstance(problem, Conv) and convolution_as_rows(lowering, node, problem, x.transposed(last), request.operands):
            return
        x_shape, y_shape = _last(problem.x_shape), _last(problem.out_shape)
        signature = Signature(x_shape, y_shape, np.dtype(problem.dtype), rank - 2, channels_last=True)
        plan = plan_of(lowering, problem, signature, request.operands)
        y = lowering.new(node.y, last, anywhere=False)
        reads, writes = [x.transposed(last)], [y.transposed(last)]
    else:
        if isinstance(problem, Conv) and (
            as_spectra(lowering, node, problem, x, request.operands) or as_frames(lowering, node, problem, x, request.operands)
        ):
            return
        x = lowering.ordered(node, x)
        x_shape, y_shape = problem.x_shape, problem.out_shape
        plan = plan_of(lowering, problem, request.signature, request.operands)
        y = lowering.new(node.y, range(rank), anywhere=False)
        reads, writes = [x], [y]
    lowering.step(node, reads, writes, bind_plan(plan, x_shape, y_shape), plan.implementation, plan.seconds, own=plan.workspace_bytes)


def _single(lowering: Lowering, node: Node, problem: Conv, x: View, operands: Operands) -> bool:
    """A convolution of one position by one tap, as squeezed channels have them: a row times a matrix. Whether it became a step."""
    one = math.prod(problem.size) == math.prod(problem.conv_size) == problem.taps == problem.n == problem.groups == 1
    if not one or any(map(any, problem.padding)) or problem.pool or problem.scale or isinstance(problem, ConvTranspose):
        return False
    if not fits(problem.c_out, problem.c_in, x.dtype.itemsize, problem.activation):
        return False
    assert operands.weight is not None
    weight = operands.weight.reshape(problem.c_out, problem.c_in)
    row = Node("Linear", node.inputs, node.outputs, {**node.attributes, "weight": weight, "bias": operands.bias}, node.name)
    _vector(lowering, row, lowering.ordered(node, x), lowering.new(node.y, anywhere=False))
    return True


def _whole(lowering: Lowering, node: Node, problem: Conv) -> Conv:
    """The problem with what follows it and the accuracy that is asked for."""
    accuracy = "each" if node in lowering.settings.each else problem.accuracy
    return dataclasses.replace(problem, accuracy=accuracy, activation=node.attributes.get("activation"), pool=node.attributes.get("pool"))


def convolution(node: Node) -> tuple[Conv | None, Operands]:
    """What a convolution of maps and what follows it compute, None where it is of volumes, transposed or of no images, and its operands."""
    request, attributes = window_request(node, node.attributes["weight"], node.attributes.get("bias")), node.attributes
    problem = request.problem
    if not isinstance(problem, Conv) or isinstance(problem, ConvTranspose) or len(problem.size) != 2 or not problem.n:
        return None, request.operands
    return dataclasses.replace(problem, activation=attributes.get("activation"), pool=attributes.get("pool")), request.operands


def adds(node: Node, threads: int) -> bool:
    """Whether the method that is taken for a convolution adds to what its output holds."""
    problem, _ = convolution(node)
    return problem is not None and choice_for(problem, "auto", threads).implementation.prepare_added is not None


def _added(lowering: Lowering, node: Node) -> bool:
    """A convolution whose output holds what is added to it, in its place where nobody needs that any more. Whether it became a step."""
    request, value, settings = window_request(node, node.attributes["weight"], node.attributes["bias"]), node.inputs[1], lowering.settings
    x = lowering.view(node.x)
    assert value is not None and isinstance(request.problem, Conv)
    other, problem = lowering.view(value), _whole(lowering, node, request.problem)
    choice = choice_for(problem, "auto", settings.threads)
    method = choice.implementation
    if not x.contiguous() or not other.contiguous() or method.prepare_added is None:
        return False
    prepared = method.prepare_added(problem, settings.threads)
    if prepared is None:
        return False
    y = over(lowering, node, value, other, x)
    if y is not other:
        lowering.copy(node, other, y)
    dtype = np.dtype(problem.dtype)
    run = prepared.pack(Operands(*(None if each is None else np.ascontiguousarray(each, dtype) for each in request.operands)))
    x_shape, y_shape = problem.x_shape, problem.out_shape

    def bind(arrays: list[Array], scratch: Array) -> Callable[[], Any]:
        x, y = arrays[0].reshape(x_shape), arrays[2].reshape(y_shape)
        return lambda: run(x, y)

    lowering.step(node, [x, y], [y], bind, f"{method.name}, added", choice.seconds, own=prepared.workspace_bytes)
    return True


@lowers("Linear")
def _linear(lowering: Lowering, node: Node) -> None:
    """A convolution of one tap: positions are rows where the summed axis lies last in memory, else one image a matrix, channels first."""
    x, y_shape = lowering.view(node.x), node.y.lengths
    if not math.prod(y_shape):  # a batch of none
        lowering.new(node.y)
        return
    by_rows = node.attributes["axis"] == -1
    if not by_rows:
        x = x.swapped()
        y_shape = (*y_shape[:-2], y_shape[-1], y_shape[-2])
    rank = len(y_shape)
    swapped = (*range(rank - 2), rank - 1, rank - 2)
    if as_bands(lowering, node, x, lambda: _place(lowering, node, swapped, by_rows)):
        return
    rows = rows_of(x)
    if rows is not None and takes_rows(node, rows):
        if len(node.inputs) > 1:
            _added_to(lowering, node, rows)
        else:
            rows_step(lowering, node, rows, _place(lowering, node, tuple(range(rank)), by_rows))
        return
    if len(node.inputs) > 1:
        _then_added(lowering, node, _linear)
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
    bind = bind_plan(plan, signature.x_shape, signature.out_shape)
    lowering.step(node, reads, writes, bind, plan.implementation, plan.seconds, own=plan.workspace_bytes)


def _added_to(lowering: Lowering, node: Node, rows: View) -> None:
    """Rows of a product that begin with what is added to them, in its place where nobody needs that any more."""
    value = node.inputs[1]
    assert value is not None
    other = lowering.view(value)
    added = rows_of(other) or rows_of(lowering.ordered(node, other))
    assert added is not None, "rows in order are a matrix"
    rows_step(lowering, node, rows, over(lowering, node, value, other, rows), added)


def over(lowering: Lowering, node: Node, value: Value, added: View, x: View) -> View:
    """Where a node puts its output: over what is added to it where nobody needs that any more and it is not x, which tasks still read."""
    natural = tuple(range(len(node.y.lengths)))
    free = added.buffer is not x.buffer and lowering.spare(value) and lowering.home(node.y) is None
    if free and added.contiguous() and lowering.orders.get(node.y, natural) == natural:
        lowering.views[node.y] = added
        return added
    return lowering.new(node.y, natural, anywhere=False)


def _then_added(lowering: Lowering, node: Node, lower: Callable[[Lowering, Node], None]) -> None:
    """A layer that does not add by itself, then the sum and what follows."""
    value, product = node.inputs[1], Value(f"{node.y.name}.product", node.y.shape, node.y.dtype)
    assert value is not None
    bare = Node(node.op, [node.x], [product], {**node.attributes, "activation": None}, node.name)
    if node in lowering.settings.each:
        lowering.settings = dataclasses.replace(lowering.settings, each=lowering.settings.each | {bare})
    lower(lowering, bare)
    reads = [lowering.view(product), lowering.view(value)]
    operations, activation = [Operation("add", 2, (0, 1))], node.attributes.get("activation")
    if activation:
        operations.append(Operation(PASSES[activation[0]], 3, (2,), *pass_numbers(*activation)))
    y = lowering.new(node.y, reads[0].order())
    lowering.program(node, node.y.kind, reads, [(operations[-1].to, y)], operations, f"{len(operations)} vector passes")


def _vector(lowering: Lowering, node: Node, x: View, y: View) -> None:
    """One row; a small layer behind another of its kind joins that."""
    weight, bias = np.asarray(node.attributes["weight"], x.dtype), node.attributes["bias"]
    layer, seconds = row_layer(weight, bias, node.attributes.get("activation")), weight.nbytes / calibration().bandwidth
    last = lowering.steps[-1] if layer.small and lowering.steps else None
    if last and isinstance(last.more, RowLayers) and last.when == lowering.when and last.writes[0].same(x):
        lowering.steps.pop()
        layers, reads, writes = last.more.then(layer), last.reads, (y, *last.writes[1:], last.writes[0])
        done, seconds = last.node.attributes.get("layers", [last.node]), seconds + (last.seconds or 0.0)
        node = Node("Rows", last.node.inputs, node.outputs, {"layers": [*done, node]}, f"{last.node.label}+{node.label}")
    else:
        layers, reads, writes = RowLayers([layer], lowering.settings.threads), (x,), (y,)
    lowering.step(node, reads, writes, layers.bind, "row times matrix", seconds, layers.scratch_bytes, more=layers)


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
    bind = bind_plan(plan, signature.x_shape, signature.out_shape)
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
    own = made((_one_tap, dtype), lambda given: np.array(given, dtype, order="C"), weight)
    operands = Operands(own.reshape(c_out, c_in, 1, 1), None if bias is None else np.array(bias, dtype))
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
