"""Convolution and pooling for music spectrograms on a CPU."""

import sys

from kernels.api import grad
from kernels.api.batch_norm import fold_batch_norm
from kernels.api.call import implementations, plan
from kernels.api.conv import conv1d, conv2d, conv3d, conv_transpose1d, conv_transpose2d, conv_transpose3d
from kernels.api.geometry import ReceptiveField, receptive_field, same_padding
from kernels.api.patches import channel_shuffle, fold, unfold
from kernels.api.pool import (
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
from kernels.api.separable import separable_conv1d, separable_conv2d
from kernels.dispatch import tuning
from kernels.dispatch.plan import Plan
from kernels.network.layers import Layer, layer
from kernels.network.model import Model, load
from kernels.network.sequence import Sequence, sequence
from kernels.problem.accuracy import set_accuracy
from kernels.problem.conv import Conv, ConvTranspose, ConvWeight, parse
from kernels.problem.errors import PrecisionWarning, ProblemError, RefusedError
from kernels.problem.pool import AdaptivePool, Pool
from kernels.streaming.stream import Stream, stream

for _name, _module in (("tuning", tuning), ("grad", grad)):
    sys.modules[f"kernels.{_name}"] = _module  # its public name, wherever the file lies

__version__ = "0.1.0"

__all__ = [
    "AdaptivePool",
    "Conv",
    "ConvTranspose",
    "ConvWeight",
    "Layer",
    "Model",
    "Plan",
    "Pool",
    "PrecisionWarning",
    "ProblemError",
    "ReceptiveField",
    "RefusedError",
    "Sequence",
    "Stream",
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
    "load",
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
    "set_accuracy",
    "stream",
    "unfold",
]
