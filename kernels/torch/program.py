"""A graph prepared for one set of lengths, called with tensors."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from kernels.methods import load as load_methods
from kernels.network.graph import Graph
from kernels.torch.memory_orders import Order, inverse

Tensor = torch.Tensor


class Program:
    """`program(tensors)` computes the graph's outputs. The graph's constants must not change as long as it is in use.

    read, written: for each input and output in which order its axes lie in memory, None where in their own; the graph has them in the
    order of memory.
    """

    def __init__(self, graph: Graph, several: bool, read: Sequence[Order | None], written: Sequence[Order | None], *, threads: int) -> None:
        from kernels.network.planning import plan_graph  # brings Numba, as the methods do

        load_methods()
        self._inputs: list[tuple[str, Order | None, tuple[int, ...], np.dtype, Any]] = []
        for value, order in zip(graph.inputs, read):
            memory = ctypes.c_char * (math.prod(value.lengths) * value.kind.itemsize)
            self._inputs.append((value.name, order, value.lengths, value.kind, memory.from_address))
        self._turns = [None if order is None else inverse(order) for order in written]
        self._several = several
        self.steps = plan_graph(graph, {value.name: value.lengths for value in graph.inputs}, threads, 0.0, {})

    def __call__(self, tensors: Sequence[Tensor]) -> Any:
        """The outputs, for inputs in the order of the graph's."""
        held, given = [], {}
        for (name, order, shape, dtype, memory), tensor in zip(self._inputs, tensors):
            if tensor.is_neg() or tensor._is_zerotensor():  # marks of PyTorch's, which say what memory does not hold
                tensor = tensor.clone()
            if order is not None:
                tensor = tensor.permute(order)
            if not tensor.is_contiguous():
                tensor = tensor.contiguous()
            held.append(tensor)  # as long as the array is read
            given[name] = np.ndarray(shape, dtype, memory(tensor.data_ptr()))
        found = tuple(map(_tensor, self.steps(given).values(), self._turns))
        return found if self._several else found[0]


def _tensor(array: np.ndarray, turn: Order | None) -> Tensor:
    tensor = torch.from_numpy(array)
    return tensor if turn is None else tensor.permute(turn)
