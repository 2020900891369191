"""What both drivers of bottlenecks share: operands, the activation behind the first layer, sums of parts, means of what windows gave."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from kernels.methods.depthwise.bottleneck_blocking import Bottleneck
from kernels.primitives.activations import codes, lines
from kernels.primitives.post_ops import apply_activation
from kernels.primitives.prepared import Run
from kernels.primitives.reduction import Row, row
from kernels.primitives.vector_pass import VectorPass, bits, line
from kernels.problem.operands import Array
from kernels.runtime.ir import call, read_index
from kernels.runtime.jit import njit
from kernels.runtime.machine import machine
from kernels.runtime.pointers import pointed
from kernels.runtime.scratch import handle


class LayerOperands(NamedTuple):
    """Addresses of packed weights and biases; 0 for a bias or a layer that is missing."""

    expand: int
    expand_bias: int
    windows: int
    window_bias: int
    project: int
    project_bias: int


@njit
def layer_operands(handles):
    """Of the handle of what `operand_handles` made."""
    given = pointed(handles)
    return LayerOperands(
        expand=pointed(read_index(given, 0)), expand_bias=pointed(read_index(given, 1)), windows=pointed(read_index(given, 2)),
        window_bias=pointed(read_index(given, 3)), project=pointed(read_index(given, 4)), project_bias=pointed(read_index(given, 5)),
    )  # fmt: skip


def operand_handles(packed: list[Array | None]) -> Array:
    """Handles of weights and biases, layer after layer."""
    given = [handle(array) for array in packed]
    return np.array(given + [0] * (len(LayerOperands._fields) - len(given)), np.int64)


class Activation(NamedTuple):
    """One that tiles do not know, as `apply_activation` reads it."""

    activation_pass: int
    form: int
    lanes: int
    itemsize: int
    slope: int


@njit
def activate_wide(g, m, y, y_row, rows, columns):
    """Apply the first layer's activation, where its tiles do not know it, to m channels of `rows` lines without gaps."""
    if g.expand_form:
        between = Activation(activation_pass=g.expand_pass, form=g.expand_form, lanes=g.lanes, itemsize=g.itemsize, slope=g.expand_slope)
        apply_activation(between, m, y, y_row, columns, rows, columns)


@njit
def add_to(g, y, other, numbers):
    """y += other."""
    call(g.add, VectorPass(form=g.add_form, lanes=g.lanes, itemsize=g.itemsize, y=y, a=y, b=other, c=y, numbers=numbers, p=0, q=0))


@njit
def average(g, to, x, planes, plane):
    """Means of so many planes of y, which lie at x and have `plane` numbers each."""
    for i in range(planes):
        source = x + i * plane * g.itemsize
        call(g.mean, Row(kind=0, lanes=g.lanes, itemsize=g.itemsize, to=to + i * g.itemsize, x=source, numbers=plane, p=g.share))


def shared_fields(layers: Bottleneck, parts: int) -> dict[str, int]:
    """Fields of a BottleneckLayers that no scratch decides."""
    expand, depthwise, project = layers
    lanes, size = machine().lanes(depthwise.itemsize), depthwise.itemsize
    form, activation, slope = codes(expand.activation if expand else None)
    add, add_form = line("add", lanes, size)
    return {
        "parts": parts, "k": expand.c_in if expand else 0, "expand_activation": activation, "expand_slope": slope, "expand_form": form,
        "expand_pass": lines(form, lanes, size) if form else 0, "add": add, "add_form": add_form,
        "out_channels": project.c_out if project else depthwise.c_out, "mean": row("sum", lanes, size),
        "share": bits(1 / math.prod(depthwise.conv_size)),
    }  # fmt: skip


class PreparedBottleneck(NamedTuple):
    """`run(x, y)`, or `run(x, y, r)` where r, of y's shape, is added, or where it `averages` `run(x, y, means)`, which writes the mean of
    each plane of y too; scratch bytes of a call; what was decided."""

    run: Run
    workspace_bytes: int
    note: str
    averages: bool
