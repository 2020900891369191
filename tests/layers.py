"""One small call of every operation: what tests of the whole interface loop over."""

from __future__ import annotations

from typing import Any

import numpy as np

import kernels

Array = np.ndarray
SIZE = 5, 6, 9
FAMILIES = ("conv", "conv_transpose", "max_pool", "avg_pool", "adaptive_avg_pool", "adaptive_max_pool")
OPS = [f"{family}{axes}d" for family in FAMILIES for axes in (1, 2, 3)] + ["global_avg_pool", "global_max_pool"]
WEIGHTED = [op for op in OPS if op.startswith("conv")]


def arrays(op: str, dtype: Any = "float32") -> list[Array]:
    """x, and weight and bias where the operation has them: normal values."""
    draw = np.random.default_rng(len(op))
    size = SIZE[-int(op[-2]) :] if op[-1] == "d" else SIZE[1:]
    shapes: list[tuple[int, ...]] = [(2, 4, *size)]
    if op.startswith("conv"):
        transposed = "transpose" in op
        shapes += [(4, 3, *[3] * len(size)) if transposed else (6, 2, *[3] * len(size)), (6,)]
    return [draw.standard_normal(shape).astype(dtype) for shape in shapes]


def options(op: str) -> dict[str, Any]:
    """The options of the call, by keyword."""
    if op.startswith("conv_transpose"):
        return {"stride": 2, "padding": 1, "output_padding": 1, "groups": 2}
    if op.startswith("conv"):
        return {"stride": 2, "padding": 1, "groups": 2}
    if op.startswith("adaptive"):
        return {"output_size": 3}
    return {} if op.startswith("global") else {"kernel_size": 3, "stride": 2, "padding": 1}


def call(op: str, *operands: Any, **more: Any) -> Any:
    """The operation on these arrays, with its options and more."""
    return getattr(kernels, op)(*operands, **(options(op) | more))
