"""The one list of operators.

An operator says which shapes and dtypes it gives (`infer`, from a node whose inputs are planned, and the numbers of those that are
constant) and what it computes (`compute`, in NumPy: folds constants, and runs where nothing faster does).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kernels.network.graph import Node
from kernels.problem.errors import ProblemError, RefusedError

Array = np.ndarray
Meta = tuple[tuple[int, ...], np.dtype]  # shape and dtype of an output
Infer = Callable[[Node], list[Meta]]
Compute = Callable[..., Any]  # (node, *inputs) -> an array, or a tuple of them
# what attributes, inputs and numbers that a node may not have raise in whatever reads them
INVALID = ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError


@dataclasses.dataclass(frozen=True)
class Operator:
    """view: its result is its first input's numbers seen in another shape or order, which NumPy gives without copying them.
    elementwise: each output element is made of the inputs' elements at its place, broadcast. drawn: its numbers are random, others in each
    call and each node."""

    name: str
    infer: Infer
    compute: Compute
    view: bool = False
    elementwise: bool = False
    drawn: bool = False


OPERATORS: dict[str, Operator] = {}


def operator(
    *names: str, infer: Infer, view: bool = False, elementwise: bool = False, drawn: bool = False
) -> Callable[[Compute], Compute]:  # fmt: skip
    """Decorator: the function computes the operators of these names."""

    def register(compute: Compute) -> Compute:
        for name in names:
            OPERATORS[name] = Operator(name, infer, compute, view, elementwise, drawn)
        return compute

    return register


def drawn(op: str) -> bool:
    """Whether an operator's numbers are random."""
    return op in OPERATORS and OPERATORS[op].drawn


def computed(node: Node, inputs: Sequence[Array | None]) -> tuple[Array, ...]:
    """The arrays that a node of a known operator gives. Raises ProblemError that names the node where it has no result."""
    with Naming(node.op, node.label), np.errstate(all="ignore"):
        found = OPERATORS[node.op].compute(node, *inputs)
    return found if isinstance(found, tuple) else (found,)


class Naming:
    """Within: whatever a node that is not valid raises becomes a ProblemError, and what it and a RefusedError say begins with the node.
    Steps of NumPy run within one, so it does little until there is an error."""

    __slots__ = ("_label", "_op")

    def __init__(self, op: str, label: str) -> None:
        self._op, self._label = op, label

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if error is None:
            return
        who = f"{self._op} {self._label!r}: "
        if isinstance(error, (ProblemError, RefusedError)):
            if not str(error).startswith(who):
                named = RefusedError if isinstance(error, RefusedError) else ProblemError
                raise named(who + str(error).removeprefix("load: ")) from error
        elif isinstance(error, INVALID):
            raise ProblemError(f"{who}not valid for its inputs ({type(error).__name__}: {error})") from error


def of_node(node: Node) -> Operator | None:
    """The operator of a node, None where it is not known."""
    return OPERATORS.get(node.op)


def numbers(node: Node, i: int) -> Array | None:
    """The numbers of an input that shapes depend on; None where it is left out. Raises ProblemError where it is not constant."""
    value = node.inputs[i] if i < len(node.inputs) else None
    if value is None:
        return None
    if value.data is None:
        raise ProblemError(f"{node.op} {node.label!r}: its shape depends on what input {i} ({value.name}) holds, which is not constant")
    return value.data


def whole(node: Node, i: int) -> list[int] | None:
    """The same as integers."""
    found = numbers(node, i)
    return None if found is None else [int(each) for each in np.asarray(found).ravel()]


def axes_of(node: Node, i: int, rank: int) -> list[int] | None:
    """Axes that input i lists, counted from 0; None where it is left out."""
    found = whole(node, i)
    return None if found is None else [axis(node, each, rank) for each in found]


def axis(node: Node, given: int, rank: int) -> int:
    """An axis counted from 0. Raises ProblemError where there is no such axis."""
    if not -rank <= given < max(rank, 1):
        raise ProblemError(f"{node.op} {node.label!r}: axis is {given}, x has {rank} axes")
    return int(given) % max(rank, 1)


def same(node: Node) -> list[Meta]:
    """One output like the first input."""
    return [(node.x.lengths, node.x.kind)]


def by_view(node: Node) -> list[Meta]:
    """What `compute` gives of an array of that shape that takes no memory."""
    for i in range(1, len(node.inputs)):
        numbers(node, i)
    hollow = np.broadcast_to(np.zeros((), node.x.kind), node.x.lengths)
    results = OPERATORS[node.op].compute(node, hollow, *(None if each is None else each.data for each in node.inputs[1:]))
    return [(each.shape, each.dtype) for each in (results if isinstance(results, tuple) else (results,))]


def broadcast(node: Node, shapes: list[tuple[int, ...]]) -> tuple[int, ...]:
    """The shape that all broadcast to. Raises ProblemError where they do not."""
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        raise ProblemError(f"{node.op} {node.label!r}: shapes {', '.join(map(str, shapes))} do not broadcast") from None
