"""Tensors' memory: as arrays, and for what we compute.

Long results lie in pages of their own, which the next ones use again (`runtime.leases`): a training step goes through all its activations
and gradients, of which each pass waited for the table of small pages.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from kernels.runtime.leases import LEAST, Leases

Tensor = torch.Tensor

NUMPY: dict[torch.dtype, np.dtype] = {torch.float32: np.dtype(np.float32), torch.float64: np.dtype(np.float64),
                                      torch.int64: np.dtype(np.int64), torch.int32: np.dtype(np.int32), torch.bool: np.dtype(bool)}

results = Leases()


def last(shape: Sequence[int]) -> tuple[int, ...]:
    """The shape with channels last."""
    return (shape[0], *shape[2:], shape[1])


def array_of(tensor: Tensor, shape: Sequence[int] | None = None) -> np.ndarray:
    """The memory of a contiguous tensor as an array of this shape, for as long as the tensor lives.

    Half the time of `Tensor.numpy()`, which also forbids the tensor, the user's own too, ever to be resized.
    """
    dtype = NUMPY[tensor.dtype]
    memory: Any = (ctypes.c_char * (tensor.numel() * dtype.itemsize)).from_address(tensor.data_ptr())
    return np.ndarray(tuple(tensor.shape) if shape is None else shape, dtype, memory)


def empty(shape: Sequence[int], dtype: torch.dtype, format: torch.memory_format = torch.contiguous_format) -> Tensor:
    """An uninitialised tensor for a result."""
    if math.prod(shape) * dtype.itemsize >= LEAST:
        with contextlib.suppress(MemoryError):  # PyTorch's own error is the one that its users handle
            if format is torch.contiguous_format:
                return torch.from_numpy(results.take(tuple(shape), NUMPY[dtype]))
            return torch.from_numpy(np.moveaxis(results.take(last(shape), NUMPY[dtype]), -1, 1))
    return torch.empty(tuple(shape), dtype=dtype, memory_format=format)
