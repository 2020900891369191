"""The calls of `kernels` on dask arrays: lazy, chunked along batch and time, each chunk with exactly the halo that it needs."""

try:
    import dask.array  # noqa: F401
except ImportError as error:
    raise ImportError("kernels.dask needs dask: pip install 'spectroconv[cluster]'") from error

from kernels.dask.apply import apply
from kernels.dask.functions import (
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
from kernels.dask.recordings import from_audio

__all__ = [
    "apply",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "from_audio",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
]
