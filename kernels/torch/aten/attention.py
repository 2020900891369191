"""Attention: softmax(queries keysᵀ scale + mask) values, heads apart, as products of matrices and a softmax, which steps join."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import fx

from kernels.network.graph import Value
from kernels.problem.errors import RefusedError
from kernels.torch.aten.reading import Reading, argument, reads, tensor
from kernels.torch.aten.reducing import first_alone, hidden_to_zero

aten = torch.ops.aten

MOST = 1 << 28  # bytes of scores, all of which are kept at once; PyTorch keeps a few rows


def _refuses(node: fx.Node) -> str | None:
    queries, keys = tensor(node.args[0]), tensor(node.args[1])
    if argument(node, 3, "dropout_p", 0.0):
        return "it drops weights at random"
    if queries.shape[1] != keys.shape[1]:
        return "several heads of queries share one of keys"
    return first_alone(1)(node)


@reads(aten._scaled_dot_product_flash_attention_for_cpu.default, refuses=_refuses)
def _attention(
    r: Reading, node: fx.Node, q: Any, k: Any, v: Any, dropout: float = 0.0, causal: bool = False, *, attn_mask: Any = None,
    scale: Any = None,
) -> tuple[Value]:  # fmt: skip
    dtype, (length, size), keys = r.dtype(q), r.shape(q)[-2:], r.shape(k)[-2]
    nbytes = math.prod(r.shape(q)[:-1]) * keys * dtype.itemsize
    if nbytes > MOST:
        raise RefusedError(f"{node.name}: its scores take {nbytes:,} bytes, more than {MOST:,}; PyTorch computes them row by row")
    factor = 1 / math.sqrt(size) if scale is None else r.number(scale)
    turned = r.graph.node("Transpose", r.values[k], perm=[0, 1, 3, 2])
    scores = r.graph.node("Mul", r.graph.node("MatMul", r.values[q], turned), r.constant(factor, dtype))
    if causal:
        scores = r.graph.node("Add", scores, _future(r, length, keys, dtype))
    if attn_mask is not None:
        scores = r.graph.node("Add", scores, r.values[attn_mask])
    weights = r.graph.node("Softmax", scores, axis=-1)
    if attn_mask is not None:
        weights = hidden_to_zero(r, weights, r.values[attn_mask], dtype)
    return (r.graph.node("MatMul", weights, r.values[v], name=node.name),)


def _future(r: Reading, length: int, keys: int, dtype: np.dtype) -> Value:
    """What hides from each query the keys behind it: -inf added to their scores. One for all attentions of a region."""
    name = "future", length, keys, dtype
    if name not in r.shared:
        r.shared[name] = r.constant(np.triu(np.full((length, keys), -np.inf, dtype), 1))
    return r.shared[name]
