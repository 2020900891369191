"""Products of matrices."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from kernels.network.graph import Value
from kernels.torch.aten.reading import Reading, reads, tensor

aten = torch.ops.aten


def _floats(node: fx.Node) -> str | None:
    return None if tensor(node.args[0]).dtype.is_floating_point else "it is of integers"


def _turned(r: Reading, matrix: Any) -> tuple[Any, int]:
    """A matrix and whether it is read transposed: PyTorch's linear layers hand over a transpose of their weight."""
    source = matrix.args[0] if matrix.target is aten.t.default else None
    if isinstance(source, fx.Node) and source in r.values and len(r.shape(source)) == 2:
        return r.values[source], 1
    return r.values[matrix], 0


@reads(aten.mm.default, refuses=_floats)
def _mm(r: Reading, node: fx.Node, a: Any, b: Any) -> Value:
    right, turned = _turned(r, b)
    return r.graph.node("Gemm", r.values[a], right, name=node.name, transB=turned)


@reads(aten.addmm.default, refuses=_floats)
def _addmm(r: Reading, node: fx.Node, bias: Any, a: Any, b: Any, *, beta: Any = 1, alpha: Any = 1) -> Value:
    right, turned = _turned(r, b)
    added = r.values[bias] if beta else None  # at 0 PyTorch does not look at it, NaN or not
    return r.graph.node("Gemm", r.values[a], right, added, name=node.name, transB=turned, alpha=float(alpha), beta=float(beta))


@reads(aten.bmm.default, refuses=_floats)
def _bmm(r: Reading, node: fx.Node, a: Any, b: Any) -> Value:
    return r.graph.node("MatMul", r.values[a], r.values[b], name=node.name)


@reads(aten.baddbmm.default, refuses=lambda node: "it is scaled" if node.kwargs else _floats(node))
def _baddbmm(r: Reading, node: fx.Node, bias: Any, a: Any, b: Any) -> Value:
    return r.graph.node("Add", r.graph.node("MatMul", r.values[a], r.values[b]), r.values[bias], name=node.name)
