"""A graph prepared for one set of lengths, called with tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from kernels.methods import load as load_methods
from kernels.network.graph import Graph
from kernels.torch.compute import array_of

Tensor = torch.Tensor


class Program:
    """`program(tensors)` computes the graph's outputs. The graph's constants must not change as long as it is in use."""

    def __init__(self, graph: Graph, several: bool, *, threads: int) -> None:
        from kernels.network.planning import plan_graph  # brings Numba, as the methods do

        load_methods()
        self._names = [value.name for value in graph.inputs]
        self._several = several
        self.steps = plan_graph(graph, {value.name: value.lengths for value in graph.inputs}, threads, 0.0, {})

    def __call__(self, tensors: Sequence[Tensor]) -> Any:
        """The outputs, for inputs in the order of the graph's."""
        held = [each if each.is_contiguous() else each.contiguous() for each in tensors]
        found = self.steps({name: array_of(each) for name, each in zip(self._names, held)}).values()
        return tuple(map(torch.from_numpy, found)) if self._several else torch.from_numpy(*found)
