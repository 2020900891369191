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
from kernels.batchnorm import fold_batch_norm
from kernels.errors import ProblemError, RefusedError
from kernels.geometry import ReceptiveField, receptive_field, same_padding
from kernels.patches import channel_shuffle, fold, unfold
from kernels.plan import Plan
from kernels.problem import Conv, Pool, parse
from kernels.separable import separable_conv1d, separable_conv2d

__version__ = "0.1.0"

__all__ = [
    "Conv",
    "Plan",
    "Pool",
    "ProblemError",
    "ReceptiveField",
    "RefusedError",
    "avg_pool1d",
    "avg_pool2d",
    "channel_shuffle",
    "conv1d",
    "conv2d",
    "fold",
    "fold_batch_norm",
    "global_avg_pool",
    "global_max_pool",
    "implementations",
    "max_pool1d",
    "max_pool2d",
    "parse",
    "plan",
    "receptive_field",
    "same_padding",
    "separable_conv1d",
    "separable_conv2d",
    "unfold",
]
