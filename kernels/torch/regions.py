"""Regions of an FX graph that are computed by ours: a graph for each set of weights and lengths that comes along.

A region is called with tensors and lengths. What PyTorch marks as static among them, parameters and buffers, become constants of a
graph, which the library packs and folds; when one of them is another tensor or has changed (its version counter, its memory), the region
is read anew. Buffers that go on changing, as a stream's state does, become inputs. Where weights do, as in training, PyTorch's own
operators compute the region.
"""

from __future__ import annotations

import operator
import weakref
from collections.abc import Callable, Container, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import fx

from kernels.network.graph import Graph
from kernels.problem.errors import ProblemError, RefusedError
from kernels.runtime.bounded_cache import Recent
from kernels.runtime.locks import lock
from kernels.torch.aten.reading import Reading
from kernels.torch.compute import threads
from kernels.torch.derived import stamp
from kernels.torch.memory import array_of
from kernels.torch.memory_orders import order_of
from kernels.torch.program import Program

Tensor = torch.Tensor

WEIGHTS, SHAPES = 4, 16  # sets of weights and of lengths that are kept ready
RESTLESS = 3  # changes, each after a single call, from which on PyTorch computes, or from which on a buffer is an input


class Roles:
    """Which arguments of a region are constants of its graphs and which come with each call, in which order of axes."""

    def __init__(self, placeholders: Sequence[fx.Node], static: Container[int]) -> None:
        tensors = [i for i, node in enumerate(placeholders) if isinstance(node.meta["val"], Tensor)]
        self.static = [i for i in tensors if i in static]
        self.inputs = [i for i in tensors if i not in static]
        self.orders = [order_of(placeholders[i].meta["val"]) for i in self.inputs]
        self.pick_static, self.pick_inputs = _picking(self.static), _picking(self.inputs)


class Weights:
    """A set of weights as it was when it was read, and what was made of it for several lengths."""

    def __init__(self, roles: Roles, tensors: Sequence[Tensor]) -> None:
        self.roles = roles
        self.tensors = list(tensors)  # held, so that no other tensor comes to lie where one of them lay
        self.stamp = stamp(tensors)
        self.programs: Recent[Program] = Recent(SHAPES, SHAPES)
        self.calls = 0

    def are(self, tensors: Sequence[Tensor]) -> bool:
        """Whether it was made of these tensors as they are now."""
        return all(map(operator.is_, tensors, self.tensors)) and stamp(tensors) == self.stamp

    def changed(self, tensors: Sequence[Tensor]) -> Iterator[int]:
        """Which arguments of the region are other tensors than these, or have changed."""
        now, count = stamp(tensors), len(self.tensors)
        for place, (tensor, held) in enumerate(zip(tensors, self.tensors)):
            if tensor is not held or now[place::count] != self.stamp[place::count]:
                yield self.roles.static[place]


def _picking(indices: list[int]) -> Callable[[Sequence[Any]], Sequence[Any]]:
    """What takes these of a sequence, in one call."""
    if len(indices) > 1 and indices != list(range(indices[0], indices[-1] + 1)):
        return operator.itemgetter(*indices)
    return operator.itemgetter(slice(indices[0], indices[-1] + 1) if indices else slice(0))


class Account:
    """What is told of a region when it is gone too: its operators, why PyTorch computed the last call that it did, and, as long as it
    lasts, the program that was made for it last."""

    def __init__(self, operators: Sequence[str]) -> None:
        self.operators = tuple(operators)
        self.reason: str | None = None
        self._program: weakref.ref[Program] | None = None

    @property
    def program(self) -> Program | None:
        """The newest program, None where there is none or it is gone."""
        return self._program() if self._program else None

    @program.setter
    def program(self, program: Program) -> None:
        self._program = weakref.ref(program)


class Region:
    """`region(*args)` computes a part of an FX graph whose placeholders are args."""

    def __init__(self, module: fx.GraphModule, static: Sequence[bool]) -> None:
        self.module = module
        nodes = module.graph.nodes
        self.placeholders = [node for node in nodes if node.op == "placeholder"]
        self._roles = self._first_roles = Roles(self.placeholders, [i for i, fixed in enumerate(static) if fixed])
        self.symbols = _symbols(self.placeholders)
        (output,) = (node for node in nodes if node.op == "output")
        self._several = isinstance(output.args[0], list | tuple)
        self._results: list[fx.Node] = list(output.args[0]) if self._several else [output.args[0]]  # type: ignore[arg-type]
        self._orders_out = [order_of(node.meta["val"]) for node in self._results]
        names = [str(node.target) for node in nodes if node.op == "call_function" and node.target is not operator.getitem]
        self.account = Account([name.removeprefix("aten.") for name in names])
        self._weights: dict[tuple[int, ...], Weights] = {}
        self._restless: dict[tuple[int, ...], int] = {}
        self._changes: dict[int, int] = {}  # of each buffer, one after the other
        self._settled = False  # whether buffers stay constants
        self._latest: Weights | None = None
        self._lock = lock()

    def __call__(self, *args: Any) -> Any:
        """What the part gives: a tensor or a tuple of them."""
        return self.run(args)

    def run(self, args: Sequence[Any]) -> Any:
        """The same for arguments in a sequence."""
        roles, latest = self._roles, self._latest
        tensors = roles.pick_static(args)
        if latest is None or latest.roles is not roles or not latest.are(tensors):
            latest = self._held(roles, args)
            if latest is None:
                return self.module.forward(*args)
            self._latest, roles = latest, latest.roles
        latest.calls += 1
        weights = latest
        lengths = [args[i] if axis is None else args[i].shape[axis] for _, i, axis in self.symbols]
        key = threads(), *lengths
        program = weights.programs.get(key)
        if program is None:
            program = self._prepare(weights, key[0], lengths)
            if program is None:
                return self.module.forward(*args)
            weights.programs.put(key, program, 1)
            self.account.program = program
        return program(roles.pick_inputs(args))

    def _held(self, roles: Roles, args: Sequence[Any]) -> Weights | None:
        """The weights among arguments as they are now; None where PyTorch is to compute."""
        tensors = roles.pick_static(args)
        name = tuple(map(id, tensors))
        found = self._weights.get(name)
        try:
            now = stamp(tensors)
        except RuntimeError:
            silent = {i for i, tensor in zip(roles.static, tensors) if tensor.is_inference()}
            if self._settled or not silent <= self._buffers(roles, tensors):
                self.account.reason = "its weights are inference tensors, which do not tell when they change"
                return None
            roles = self._moved(roles, silent)
            return self._held(roles, args)
        if found is not None and found.stamp == now:
            return found
        with self._lock:
            self._count_changes(tensors)
            restless = self._restless.get(name, 0)
            if roles is not self._roles:
                restless = 0
            elif found is not None:
                restless = restless + 1 if found.calls <= 1 else 0
                self._restless = {**self._restless, name: restless}
            found = self._weights[name] = Weights(roles, tensors)
            while len(self._weights) > WEIGHTS:
                self._weights.pop(next(iter(self._weights)))
        if restless >= RESTLESS:  # read again once they rest
            self.account.reason = "its weights change from call to call, as in training"
            return None
        return found

    def _count_changes(self, tensors: Sequence[Tensor]) -> None:
        """Have later calls take buffers as inputs that change from call to call."""
        roles, latest = self._roles, self._latest
        if latest is None or latest.roles is not roles or self._settled:
            return
        buffers, changed = self._buffers(roles, tensors), set(latest.changed(tensors))
        if not changed <= buffers:  # those of another module of the same class
            return
        for i in changed:
            self._changes[i] = self._changes.get(i, 0) + 1 if latest.calls <= 1 else 0
        moving = {i for i in buffers if self._changes.get(i, 0) >= RESTLESS}
        if moving:
            self._moved(roles, moving)

    def _buffers(self, roles: Roles, tensors: Sequence[Tensor]) -> set[int]:
        """Which static arguments are no parameters."""
        return {i for i, tensor in zip(roles.static, tensors) if not isinstance(tensor, torch.nn.Parameter)}

    def _moved(self, roles: Roles, moving: set[int]) -> Roles:
        """Roles in which these are inputs, which later calls have."""
        self._roles, self._weights = Roles(self.placeholders, set(roles.static) - moving), {}
        return self._roles

    def _prepare(self, weights: Weights, count: int, lengths: Sequence[int]) -> Program | None:
        try:
            return Program(*self.read(weights, lengths), weights.roles.orders, self._orders_out, threads=count)
        except (ProblemError, RefusedError) as error:
            if weights.roles is not self._first_roles:  # what is refused as an input may do as a constant
                self._roles, self._weights, self._settled = self._first_roles, {}, True
            self.account.reason = str(error)
            return None

    def read(self, weights: Weights, lengths: Sequence[int]) -> tuple[Graph, bool]:
        """(graph, whether its outputs are a tuple) for these weights and lengths."""
        reading = Reading({symbol: length for (symbol, _, _), length in zip(self.symbols, lengths)})
        constants = dict(zip(weights.roles.static, weights.tensors))
        for i, node in enumerate(self.placeholders):
            if i in constants:
                reading.values[node] = reading.constant(_numbers(constants[i]))
        for number, (i, order) in enumerate(zip(weights.roles.inputs, weights.roles.orders)):
            node = self.placeholders[i]
            reading.values[node] = reading.entering(f"x{number}", reading.shape(node), reading.dtype(node), order)
        for node in self.module.graph.nodes:
            if node.op == "call_function":
                reading.read(node)
        for number, (node, order) in enumerate(zip(self._results, self._orders_out)):
            reading.leaving(f"y{number}", reading.values[node], order)
        return reading.graph, self._several


def _numbers(tensor: Tensor) -> np.ndarray:
    """A weight's numbers; in its own memory where they lie contiguous there."""
    return array_of(tensor) if tensor.is_contiguous() else tensor.detach().contiguous().numpy()


def _symbols(placeholders: Sequence[fx.Node]) -> list[tuple[Any, int, int | None]]:
    """Each symbol of the lengths, and where its value is found: placeholder and axis, None where the placeholder is the number itself."""
    found: dict[Any, tuple[int, int | None]] = {}
    for i, node in enumerate(placeholders):
        value = node.meta["val"]
        if isinstance(value, torch.SymInt):
            _note(found, value, i, None)
        elif isinstance(value, Tensor):
            for axis, length in enumerate(value.shape):
                _note(found, length, i, axis)
    return [(symbol, i, axis) for symbol, (i, axis) in found.items()]


def _note(found: dict[Any, tuple[int, int | None]], length: Any, i: int, axis: int | None) -> None:
    if isinstance(length, torch.SymInt) and length.node.expr.is_Symbol:
        found.setdefault(length.node.expr, (i, axis))
