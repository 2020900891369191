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
from kernels.batchnorm import fold_batch_norm
from kernels.errors import ProblemError, RefusedError
from kernels.geometry import ReceptiveField, receptive_field, same_padding
from kernels.layers import Layer, layer
from kernels.patches import channel_shuffle, fold, unfold
from kernels.plan import Plan
from kernels.problem import AdaptivePool, Conv, ConvTranspose, Pool, parse
from kernels.separable import separable_conv1d, separable_conv2d
from kernels.sequence import Sequence, sequence

__version__ = "0.1.0"

__all__ = [
    "AdaptivePool",
    "Conv",
    "ConvTranspose",
    "Layer",
    "Plan",
    "Pool",
    "ProblemError",
    "ReceptiveField",
    "RefusedError",
    "Sequence",
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "channel_shuffle",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "fold",
    "fold_batch_norm",
    "global_avg_pool",
    "global_max_pool",
    "implementations",
    "layer",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "parse",
    "plan",
    "receptive_field",
    "same_padding",
    "separable_conv1d",
    "separable_conv2d",
    "sequence",
    "unfold",
]
