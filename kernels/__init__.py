"""Convolution and pooling for music spectrograms on a CPU."""

from kernels.api import (
    avg_pool1d,
    avg_pool2d,
    conv1d,
    conv2d,
    global_avg_pool,
    global_max_pool,
    implementations,
    max_pool1d,
    max_pool2d,
    plan,
)
from kernels.errors import ProblemError, RefusedError
from kernels.plan import Plan
from kernels.problem import Conv, Pool, parse

__version__ = "0.1.0"

__all__ = [
    "Conv",
    "Plan",
    "Pool",
    "ProblemError",
    "RefusedError",
    "avg_pool1d",
    "avg_pool2d",
    "conv1d",
    "conv2d",
    "global_avg_pool",
    "global_max_pool",
    "implementations",
    "max_pool1d",
    "max_pool2d",
    "parse",
    "plan",
]
