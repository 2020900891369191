"""Convolution and pooling for music spectrograms on a CPU."""

from kernels.api import implementations, plan
from kernels.api_conv import conv1d, conv2d, conv3d, conv_transpose1d, conv_transpose2d, conv_transpose3d
from kernels.api_pool import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    adaptive_max_pool3d,
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    global_avg_pool,
    global_max_pool,
    max_pool1d,
    max_pool2d,
    max_pool3d,
)
from kernels.errors import ProblemError, RefusedError
from kernels.plan import Plan
from kernels.problem import AdaptivePool, Conv, ConvTranspose, Pool, parse

__version__ = "0.1.0"

__all__ = [
    "AdaptivePool",
    "Conv",
    "ConvTranspose",
    "Plan",
    "Pool",
    "ProblemError",
    "RefusedError",
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "global_avg_pool",
    "global_max_pool",
    "implementations",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "parse",
    "plan",
]
