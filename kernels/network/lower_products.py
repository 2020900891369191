"""Products of two matrices that both change, and of rows with a constant one: compiled where they are float32 or float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from kernels.dispatch.choices import choice_for
from kernels.network.graph import Node
from kernels.network.lowering import Lowering, lower_by_numpy, lowers
from kernels.network.views import Array, View
from kernels.primitives.matrix_product import After, MatrixProduct, MatrixStrides
from kernels.primitives.vector_matrix import PASSES
from kernels.problem.conv import Conv, ConvTranspose
from kernels.problem.operands import Operands
from kernels.runtime.machine import machine


@lowers("MatMul")
def _matmul(lowering: Lowering, node: Node) -> None:
    """Rows of a times columns of b. Where only b's columns are contiguous, both change parts: y^T = b^T a^T."""
    a, b, *more = (lowering.view(value) for value in node.inputs if value is not None)
    if node.y.kind not in (np.float32, np.float64) or not node.y.lengths or not math.prod((*a.shape, *b.shape)):
        lower_by_numpy(lowering, node)
        return
    shape = [*node.y.lengths]
    if len(a.shape) == 1:
        a = a._replace(shape=(1, *a.shape), strides=(a.strides[0] * a.shape[0], *a.strides))
        shape.insert(len(shape) - (len(b.shape) > 1), 1)
    if len(b.shape) == 1:
        b = b._replace(shape=(*b.shape, 1), strides=(*b.strides, 1))
        shape.append(1)
    y = _output(lowering, node, tuple(shape))
    turned = not _unit(a, -1) and _unit(b, -2) and _unit(y, -2)
    if turned:
        a, b, y = b.swapped(), a.swapped(), y.swapped()
        more = [each.swapped() for each in more]
    a = a if _unit(a, -1) else lowering.ordered(node, a)
    to = y if _unit(y, -1) else lowering.temporary(y.shape, y.dtype)
    _product(lowering, node, a, b, to, *(_rows_along(lowering, node, each, to) for each in more))
    if to is not y:
        lowering.copy(node, to, y)


def _unit(view: View, axis: int) -> bool:
    """Whether neighbours along an axis are neighbours in memory."""
    return view.shape[axis] == 1 or view.strides[axis] == 1


def _rows_along(lowering: Lowering, node: Node, added: View, y: View) -> View:
    """What is added to y, its rows as long as those of y and their numbers side by side."""
    seen = added.expanded((*added.shape[:-1], y.shape[-1]))
    return seen if _unit(seen, -1) else lowering.ordered(node, seen)


def _output(lowering: Lowering, node: Node, shape: tuple[int, ...]) -> View:
    """Where the product goes, as matrices: the value itself, with the axes that vectors lack."""
    found = lowering.new(node.y).reshaped(shape)
    assert found is not None, "axes of length 1 come and go in any order"
    return found


def _product(lowering: Lowering, node: Node, a: View, b: View, y: View, added: View | None = None) -> None:
    """A step for all matrices of y; a, b and what is added are seen again where they are broadcast."""
    outer, (rows, columns), depth = y.shape[:-2], y.shape[-2:], a.shape[-1]
    reads = [view.expanded((*outer, *view.shape[-2:])) for view in (a, b)]
    seen = [*reads, y] if added is None else [*reads, y, added.expanded(y.shape)]
    starts = [np.zeros(outer, np.int64) for _ in seen]
    for axis, n in enumerate(outer):
        along = np.arange(n).reshape(-1, *[1] * (len(outer) - axis - 1))
        starts = [start + along * view.strides[axis] for start, view in zip(starts, seen)]
    places = list(zip(*(start.ravel().tolist() for start in starts)))
    strides = MatrixStrides(a.strides[-2], b.strides[-2], b.strides[-1], y.strides[-2], seen[-1].strides[-2])
    found = MatrixProduct(y.dtype, rows, depth, columns, strides, places, lowering.settings.threads)

    def bind(arrays: list[Array], scratch: Array) -> Callable[[], Any]:
        return found.bind(arrays[0], arrays[1], arrays[-1], scratch, None if added is None else arrays[2])

    lowering.step(node, [a, b] if added is None else [a, b, added], [y], bind, "matrix product", found.seconds, found.scratch_bytes)


def rows_of(x: View) -> View | None:
    """x as rows whose numbers lie together, None where it is no such matrix."""
    if not x.size or x.strides[-1] != 1:
        return None
    return x.reshaped((math.prod(x.shape[:-1]), x.shape[-1]))


def takes_rows(node: Node, rows: View) -> bool:
    """Whether the output fills vectors and the activation can follow in cache."""
    activation = node.attributes.get("activation")
    wide = len(node.attributes["weight"]) >= machine().lanes(rows.dtype.itemsize)
    return rows.shape[0] > 1 and wide and rows.dtype in (np.float32, np.float64) and (activation is None or activation[0] in PASSES)


def rows_step(lowering: Lowering, node: Node, x: View, y: View, added: View | None = None) -> None:
    """A step of a Linear: rows x times its weight, into y, contiguous. added: rows that are added, which may be those of y."""
    weight, (rows, depth) = node.attributes["weight"], x.shape
    after = After(np.asarray(weight, x.dtype).T, node.attributes["bias"], node.attributes.get("activation"))
    strides = MatrixStrides(x.strides[0], 1, 1, len(weight), added.strides[0] if added is not None else 0)
    found = MatrixProduct(x.dtype, rows, depth, len(weight), strides, [(0, 0, 0)], lowering.settings.threads, after)
    _by_constant(lowering, node, found, x, y, added)


def _by_constant(lowering: Lowering, node: Node, found: MatrixProduct, x: View, y: View, added: View | None = None) -> None:
    """A step of a product with a constant matrix."""

    def bind(arrays: list[Array], scratch: Array) -> Callable[[], Any]:
        return found.bind(arrays[0], None, arrays[-1], scratch, arrays[1] if added is not None else None)

    lowering.step(node, [x] if added is None else [x, added], [y], bind, "matrix product", found.seconds)


def convolution_as_rows(lowering: Lowering, node: Node, problem: Conv, x: View, operands: Operands) -> bool:
    """A convolution without padding over channels that lie last: the numbers under a kernel's row are a row of a matrix, the next output's
    overlaps it. x: (n, *spatial, c), contiguous. Whether it became a step."""
    wide = problem.c_out >= machine().lanes(x.dtype.itemsize)
    follows = problem.activation is None or problem.activation[0] in PASSES
    plain = problem.groups == 1 and not problem.pool and not problem.scale and not any(map(any, problem.padding)) and len(problem.size) == 2
    if not (wide and follows and plain and problem.n) or isinstance(problem, ConvTranspose):
        return False
    if choice_for(problem, "auto", lowering.settings.threads).implementation.name != "direct":
        return False
    weight, (h, w), c = operands.weight, problem.size, problem.c_in
    (kh, kw), (sh, sw), (dh, dw), (oh, ow) = problem.kernel, problem.stride, problem.dilation, problem.conv_size
    assert weight is not None
    across = [(j * dw * c, c) for j in range(kw)] if dw > 1 else [(0, kw * c)]
    pieces = [(i * dh * w * c + first, n) for i in range(kh) for first, n in across]
    rows, places = ow, [((b * h + i * sh) * w * c, 0, (b * oh + i) * ow * problem.c_out) for b in range(problem.n) for i in range(oh)]
    if (kh, kw, sh, sw) == (1, 1, 1, 1):
        rows, places = problem.n * oh * ow, [(0, 0, 0)]
    matrix = weight.reshape(problem.c_out, c, kh, kw).transpose(2, 3, 1, 0).reshape(-1, problem.c_out)
    after = After(matrix, operands.bias, problem.activation, pieces)
    strides = MatrixStrides(sw * c, 1, 1, problem.c_out)
    found = MatrixProduct(x.dtype, rows, len(matrix), problem.c_out, strides, places, lowering.settings.threads, after)
    rank = len(node.x.lengths)
    y = lowering.new(node.y, (0, *range(2, rank), 1), anywhere=False)
    _by_constant(lowering, node, found, x, y)
    return True
