"""The list of PyTorch's operators that become nodes of our graph, and the walk that makes a graph of a region of an FX graph.

A region is read for given lengths: what FX keeps as symbols are numbers here, so every shape that PyTorch worked out is known. Operators
are ATen's after functionalisation (https://docs.pytorch.org/docs/stable/torch.compiler_ir.html).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import sympy
import torch
from torch import fx

from kernels.network.graph import Graph, Value
from kernels.torch.memory import NUMPY
from kernels.torch.memory_orders import Order, inverse

Target = Any
Refuses = Callable[[fx.Node], str | None]
Reads = Callable[..., Any]  # (reading, node, *args, **kwargs) -> a value, or a tuple of them

DTYPES = NUMPY


@dataclasses.dataclass(frozen=True)
class Reader:
    """How one operator is read, and when it is not."""

    reads: Reads
    refuses: Refuses


READERS: dict[Target, Reader] = {}


def reads(*targets: Target, refuses: Refuses = lambda node: None) -> Callable[[Reads], Reads]:
    """Decorator: the function reads nodes of these operators unless `refuses` says why not."""

    def register(function: Reads) -> Reads:
        for target in targets:
            READERS[target] = Reader(function, refuses)
        return function

    return register


def refusal(node: fx.Node) -> str | None:
    """Why a node of an FX graph stays PyTorch's; None where it can be one of ours."""
    reader = READERS.get(node.target)
    if reader is None:
        return f"{node.target} is not read"
    for each in [node, *node.all_input_nodes]:
        for tensor in _tensors(each):
            if tensor.dtype not in DTYPES:
                return f"{each.name} is {tensor.dtype}"
            if tensor.device.type != "cpu" or tensor.layout is not torch.strided:
                return f"{each.name} is a {tensor.layout} tensor on {tensor.device}"
    if _along_no_axis(node):
        return "it counts axes of a tensor that has none"
    return reader.refuses(node)


def _along_no_axis(node: fx.Node) -> bool:
    """Whether an operator is told axes of a tensor without any, for which PyTorch takes 0 and -1."""
    if not node.args or not is_tensor(node.args[0]) or tensor(node.args[0]).dim():
        return False
    schema = getattr(node.target, "_schema", None)
    names = {each.name for each in schema.arguments} if schema else set()
    return bool(names & {"dim", "dims", "dim0"}) and node.target is not torch.ops.aten.unsqueeze.default


def argument(node: fx.Node, position: int, name: str, default: Any = None) -> Any:
    """An operator's argument, which may be given by its position or by its name."""
    return node.args[position] if len(node.args) > position else node.kwargs.get(name, default)


def _tensors(node: fx.Node) -> list[torch.Tensor]:
    value = node.meta.get("val")
    several = value if isinstance(value, list | tuple) else (value,)
    return [each for each in several if isinstance(each, torch.Tensor)]


def tensor(node: Any) -> torch.Tensor:
    """The fake tensor of a node: its shape, maybe with symbols, and dtype."""
    found: torch.Tensor = node.meta["val"]
    return found


def is_tensor(given: Any) -> bool:
    """Whether an argument is a node whose result is a tensor."""
    return isinstance(given, fx.Node) and isinstance(given.meta.get("val"), torch.Tensor)


class Reading:
    """One region read into a graph, for lengths that `symbols` gives."""

    def __init__(self, symbols: Mapping[sympy.Symbol, int]) -> None:
        self.graph = Graph()
        self.symbols = dict(symbols)
        self.values: dict[fx.Node, Any] = {}
        self.shared: dict[Any, Value] = {}  # constants that several nodes read, by what they are

    def number(self, given: Any) -> Any:
        """A number that may be a symbol, or a list of such, as plain numbers."""
        if isinstance(given, list | tuple):
            return [self.number(each) for each in given]
        if isinstance(given, fx.Node):
            given = given.meta["val"]
        if isinstance(given, torch.SymInt | torch.SymFloat | torch.SymBool):
            found = sympy.sympify(given.node.expr).xreplace(self.symbols)
            return float(found) if isinstance(given, torch.SymFloat) else int(found)
        return given

    def shape(self, node: fx.Node) -> tuple[int, ...]:
        """The shape of a node's tensor."""
        return tuple(self.number(list(tensor(node).shape)))

    def dtype(self, node: fx.Node) -> np.dtype:
        """The dtype of a node's tensor."""
        return DTYPES[tensor(node).dtype]

    def constant(self, numbers: Any, dtype: Any = None) -> Value:
        """Numbers that the model brings."""
        return self.graph.constant(numbers, dtype)

    def entering(self, name: str, shape: Sequence[int], dtype: np.dtype, order: Order | None) -> Value:
        """An input of this shape, whose axes lie in memory in this order; the graph is given it as it lies."""
        if order is None:
            return self.graph.input(name, shape, dtype)
        given = self.graph.input(name, [shape[axis] for axis in order], dtype)
        return self.graph.node("Transpose", given, perm=list(inverse(order)))

    def leaving(self, name: str, value: Value, order: Order | None) -> None:
        """An output, in memory in this order of axes."""
        self.graph.output(name, value if order is None else self.graph.node("Transpose", value, perm=list(order)))

    def ints(self, numbers: Sequence[int]) -> Value:
        """Lengths, axes or the like, as ONNX's operators take them."""
        return self.graph.constant(np.asarray(list(numbers), np.int64))

    def reshaped(self, value: Value, shape: Sequence[int]) -> Value:
        """The same numbers in another shape."""
        return self.graph.node("Reshape", value, self.ints(shape), allowzero=1)

    def cast(self, value: Value, dtype: np.dtype) -> Value:
        """The numbers in another dtype."""
        return self.graph.node("Cast", value, to=dtype)

    def operand(self, given: Any, dtype: np.dtype) -> Value:
        """An argument that is a tensor or a number, in the dtype that the operator computes in."""
        if is_tensor(given):
            value = self.values[given]
            return value if self.dtype(given) == dtype else self.cast(value, dtype)
        return self.constant(self.number(given), dtype)

    def read(self, node: fx.Node) -> None:
        """Append what computes a node."""
        self.values[node] = READERS[node.target].reads(self, node, *node.args, **node.kwargs)
