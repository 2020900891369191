"""Lengths that are symbols in an FX graph: where they come from, and how they are worked out from the graph's inputs alone.

A trace asks tensors for their lengths on the way, which would tie a region to results of its own; every such number is a formula of the
inputs' lengths.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

import sympy
import torch
from torch import fx

aten = torch.ops.aten


def own_symbols(node: fx.Node) -> set[sympy.Symbol]:
    """The symbols whose values a placeholder tells: those that stand alone as its length or as itself."""
    value = node.meta.get("val")
    given = value.shape if isinstance(value, torch.Tensor) else [value]
    return {each.node.expr for each in given if isinstance(each, torch.SymInt) and each.node.expr.is_Symbol}


def free_symbols(nodes: Iterable[fx.Node]) -> set[sympy.Symbol]:
    """The symbols in the shapes and numbers of nodes."""
    found: set[sympy.Symbol] = set()
    for node in nodes:
        value = node.meta.get("val")
        for each in value if isinstance(value, list | tuple) else [value]:
            for length in each.shape if isinstance(each, torch.Tensor) else [each]:
                if isinstance(length, torch.SymInt | torch.SymFloat | torch.SymBool):
                    found |= length.node.expr.free_symbols
    return found


def _formula(expression: sympy.Expr, symbols: tuple[sympy.Symbol, ...]) -> Callable[..., int]:
    """A function of the symbols' values. Its results are remembered: sympy takes a good while."""

    @functools.lru_cache(maxsize=256)
    def length(*values: int) -> int:
        return int(expression.xreplace(dict(zip(symbols, values))))

    def formula(*values: int) -> int:
        return length(*values)

    return formula


def lengths_from_inputs(module: fx.GraphModule) -> None:
    """Work out every number of a graph that is a formula of its inputs' lengths from these, at its beginning."""
    graph = module.graph
    placeholders = [node for node in graph.nodes if node.op == "placeholder"]
    given: dict[sympy.Symbol, fx.Node] = {}
    first = next(node for node in graph.nodes if node.op != "placeholder")
    for node in placeholders:
        value = node.meta.get("val")
        if isinstance(value, torch.SymInt) and value.node.expr.is_Symbol:
            given.setdefault(value.node.expr, node)
    with graph.inserting_before(first):
        for node in placeholders:
            value = node.meta.get("val")
            for axis, length in enumerate(value.shape if isinstance(value, torch.Tensor) else ()):
                if isinstance(length, torch.SymInt) and length.node.expr.is_Symbol and length.node.expr not in given:
                    given[length.node.expr] = _made(graph, aten.sym_size.int, (node, axis), length)
        formulas: dict[Any, fx.Node] = {}
        for node in [each for each in graph.nodes if each.op == "call_function" and each not in given.values()]:
            value = node.meta.get("val")
            if not isinstance(value, torch.SymInt):
                continue
            expression = value.node.expr
            symbols = tuple(sorted(expression.free_symbols, key=str))
            if not set(symbols) <= set(given):
                continue
            if expression not in formulas:
                formulas[expression] = (
                    given[expression] if expression.is_Symbol
                    else _made(graph, _formula(expression, symbols), tuple(given[each] for each in symbols), value)
                )  # fmt: skip
            node.replace_all_uses_with(formulas[expression])
    graph.eliminate_dead_code()


def _made(graph: fx.Graph, target: Callable[..., Any], args: tuple[Any, ...], value: Any) -> fx.Node:
    node = graph.call_function(target, args)
    node.meta["val"] = value
    return node
