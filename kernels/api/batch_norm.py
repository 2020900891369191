"""Batch norm at inference is a scale and a shift per channel, so it can go into the weights of the convolution before it."""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.problem.arrays import intake, result_dtypes
from kernels.problem.errors import ProblemError
from kernels.problem.options import flag, per_axis, real

Array = np.ndarray


def fold_batch_norm(
    weight: Any, bias: Any, mean: Any, var: Any, gamma: Any = None, beta: Any = None, eps: float = 1e-5, *, transposed: bool = False,
    groups: int = 1,
) -> tuple[Array, Array]:  # fmt: skip
    """(weight, bias) of the convolution that equals a convolution followed by its batch norm at inference.

    weight is (C_out, C_in/groups, *kernel), or with transposed=True (C_in, C_out/groups, *kernel), for which `groups` counts; bias, the
    running mean and variance, gamma (scale) and beta (shift) are (C_out,). bias and beta may be None for zeros, gamma for ones. eps is the
    layer's: 1e-5 in PyTorch, 1e-3 in Keras. weight * gamma / sqrt(var + eps) and (bias - mean) * gamma / sqrt(var + eps) + beta are
    computed in float64 and rounded once. It does not hold where an activation stands between the two. Raises ProblemError for shapes
    that do not fit and for variances below -eps. Definition: S. Ioffe and C. Szegedy, arXiv 1502.03167, algorithm 2.

    >>> fold_batch_norm([[[1.0, 2.0]]], None, mean=[3.0], var=[4.0], gamma=[10.0], eps=0.0)
    (array([[[ 5., 10.]]]), array([-15.]))
    """
    op = "fold_batch_norm"
    weight, eps, groups = intake(op, "weight", weight), real(op, "eps", eps), per_axis(op, "groups", groups, 1)[0]
    transposed = flag(op, "transposed", transposed)
    if weight.ndim < 2:
        raise ProblemError(f"{op}: weight has shape {weight.shape}; must have 2 axes or more, channels and the kernel's")
    if groups < 1 or weight.shape[0] % groups:
        raise ProblemError(f"{op}: {weight.shape[0]} channels do not divide into groups={groups}; use a divisor of {weight.shape[0]}")
    c_out = weight.shape[1] * groups if transposed else weight.shape[0]
    dtypes = [weight.dtype]

    def per_channel(name: str, value: Any, otherwise: float) -> Array:
        if value is None:
            return np.full(c_out, otherwise)
        array = intake(op, name, value)
        if array.shape != (c_out,):
            raise ProblemError(f"{op}: {name} has shape {array.shape}, must be ({c_out},): one number per output channel")
        dtypes.append(array.dtype)
        return array.astype(np.float64)

    old_bias, gamma, beta = per_channel("bias", bias, 0.0), per_channel("gamma", gamma, 1.0), per_channel("beta", beta, 0.0)
    mean, var = per_channel("mean", mean, 0.0), per_channel("var", var, 1.0)
    if not (var + eps > 0).all():
        channel = int(np.argmin(var))
        raise ProblemError(f"{op}: var[{channel}] + eps = {var[channel]} + {eps} is not positive; pass variances")
    factor = gamma / np.sqrt(var + eps)
    # (groups, inputs of a group or 1, outputs of a group, …) has the output channel on axes of its own in both orders
    parts = groups if transposed else 1
    grouped = weight.astype(np.float64).reshape(parts, -1, *weight.shape[1:])
    along = (parts, 1, c_out // parts) if transposed else (1, c_out, 1)
    folded = grouped * factor.reshape(*along, *(1,) * (weight.ndim - 2))
    _, dtype = result_dtypes(dtypes)
    return folded.reshape(weight.shape).astype(dtype), ((old_bias - mean) * factor + beta).astype(dtype)
