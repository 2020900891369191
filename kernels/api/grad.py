"""Gradients of all layers: what `kernels.grad` is."""

from kernels.api.grad_conv import (
    conv1d_input,
    conv1d_weight,
    conv2d_input,
    conv2d_weight,
    conv3d_input,
    conv3d_weight,
    conv_transpose1d_input,
    conv_transpose1d_weight,
    conv_transpose2d_input,
    conv_transpose2d_weight,
    conv_transpose3d_input,
    conv_transpose3d_weight,
)
from kernels.api.grad_pool import (
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
from kernels.api.grad_steps import activation, bias, scale_shift

__all__ = [
    "activation", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d",
    "adaptive_max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d", "bias", "conv1d_input", "conv1d_weight", "conv2d_input",
    "conv2d_weight", "conv3d_input", "conv3d_weight", "conv_transpose1d_input", "conv_transpose1d_weight", "conv_transpose2d_input",
    "conv_transpose2d_weight", "conv_transpose3d_input", "conv_transpose3d_weight", "global_avg_pool", "global_max_pool", "max_pool1d",
    "max_pool2d", "max_pool3d", "scale_shift",
]  # fmt: skip
