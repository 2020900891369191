"""PyTorch's convolutions and pools on these kernels: functions, modules, whole modules accelerated, a backend of torch.compile.

Tensors in, tensors out, without copies and with gradients. Needs PyTorch, which is imported with this package and not with `kernels`.
"""

try:
    import torch as _torch  # inside this package too: the absolute name is PyTorch
except ImportError as error:
    raise ImportError("kernels.torch needs PyTorch: pip install 'spectroconv[torch]'") from error

from kernels.torch import nn
from kernels.torch.accelerate import Report, accelerate, report
from kernels.torch.backend import explain, register, spectroconv
from kernels.torch.compute import forget
from kernels.torch.functional import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    adaptive_max_pool3d,
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    conv1d,
    conv2d,
    conv3d,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
    max_pool1d,
    max_pool2d,
    max_pool3d,
)

register()
del _torch, register

__all__ = [
    "Report",
    "accelerate",
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
    "explain",
    "forget",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "nn",
    "report",
    "spectroconv",
]
