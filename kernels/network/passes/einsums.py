"""Einsums become products of matrices that are views, and of numbers: grouped linear layers, attention, its kinds with kernels.

Terms are multiplied two at a time, from the first; what no later term has is summed as soon as it can be. A term with a letter twice, a
diagonal, stays NumPy's.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from kernels.network.graph import Graph, Node, Value
from kernels.network.operators.shaping import text
from kernels.network.passes.decompose import Maker, rewritten


class Term(NamedTuple):
    """A value and the letters of its axes."""

    value: Value
    letters: list[str]


def products_of_einsums(graph: Graph) -> int:
    """How many became products."""
    return rewritten(graph, {"Einsum"}, _write)


def _write(maker: Maker, node: Node) -> bool:
    """Whether the nodes that stand for one are made."""
    values = [value for value in node.inputs if value is not None]
    terms, out = _read(text(node.attributes["equation"]).replace(" ", ""), values)
    lengths = {letter: 1 for term in terms for letter in term.letters}
    for term in terms:
        lengths |= {letter: n for letter, n in zip(term.letters, term.value.lengths) if n != 1}
    pairs = [(lengths[letter], n) for term in terms for letter, n in zip(term.letters, term.value.lengths)]
    if node.x.kind.kind != "f" or any(n not in (1, length) or not n for length, n in pairs):  # 0 is not a length in a Reshape
        return False
    if any(len(set(letters)) < len(letters) for letters in (*(term.letters for term in terms), out)):
        return False
    terms = [_without_repeats(maker, term, lengths) for term in terms]
    while terms:
        wanted = {*out, *(letter for term in terms[1:] for letter in term.letters)}
        first = _summed(maker, terms[0], wanted)
        if len(terms) == 1:
            break
        others = {*out, *(letter for term in terms[2:] for letter in term.letters)}
        second = _summed(maker, terms[1], others | set(first.letters))
        terms[:2] = [_product(maker, first, second, others, out, lengths)]
    maker.do("Transpose", first.value, y=node.y, perm=[first.letters.index(letter) for letter in out])
    return True


def _read(equation: str, values: list[Value]) -> tuple[list[Term], list[str]]:
    """The terms, and the letters of what they give; axes of dots are counted from the last, as letters of their own."""
    inputs, arrow, out = equation.partition("->")

    def letters(term: str, dots: int) -> list[str]:
        before, _, behind = term.partition("...")
        return [*before, *(f".{i}" for i in range(dots, 0, -1)), *behind] if "..." in term else list(term)

    terms = [(term, max(0, len(value.lengths) - len(term.replace("...", "")))) for term, value in zip(inputs.split(","), values)]
    most = max(dots for _, dots in terms)
    once = "".join(sorted(letter for letter in set(inputs) - set(",.") if inputs.count(letter) == 1))
    return [Term(value, letters(*term)) for term, value in zip(terms, values)], letters(out if arrow else "..." + once, most)


def _moved(maker: Maker, value: Value, axes: list[int], shape: list[int]) -> Value:
    """A value with its axes in another order and then in another shape."""
    if value.data is not None:
        return maker.graph.constant(np.ascontiguousarray(value.data.transpose(axes).reshape(shape)))
    return maker.do("Reshape", maker.do("Transpose", value, perm=axes), maker.whole(*shape))


def _without_repeats(maker: Maker, term: Term, lengths: dict[str, int]) -> Term:
    """The term without axes of length 1 that repeat, which other terms have."""
    left = [letter for letter, n in zip(term.letters, term.value.lengths) if n == lengths[letter]]
    if left == term.letters:
        return term
    return Term(_moved(maker, term.value, list(range(len(term.letters))), [lengths[letter] for letter in left]), left)


def _summed(maker: Maker, term: Term, wanted: set[str]) -> Term:
    """The term summed over the axes that nobody else has."""
    axes = [i for i, letter in enumerate(term.letters) if letter not in wanted]
    if not axes:
        return term
    return Term(maker.do("ReduceSum", term.value, maker.whole(*axes), keepdims=0), [letter for letter in term.letters if letter in wanted])


def _product(maker: Maker, a: Term, b: Term, wanted: set[str], out: list[str], lengths: dict[str, int]) -> Term:
    """The product of two terms, summed over what both have and nobody wants."""
    order = [*out, *sorted(set(a.letters + b.letters) - set(out))]
    shared = set(a.letters) & set(b.letters)
    summed = [letter for letter in a.letters if letter in shared - wanted]
    batch = [letter for letter in order if letter in shared & wanted]
    left, right = ([letter for letter in order if letter in set(term.letters) - shared] for term in (a, b))

    def arranged(term: Term, *groups: list[str]) -> Value:
        """Axes in this order, each group but the first as one."""
        shape = [lengths[letter] for letter in groups[0]] + [math.prod(lengths[letter] for letter in group) for group in groups[1:]]
        return _moved(maker, term.value, [term.letters.index(letter) for group in groups for letter in group], shape)

    if summed:
        y = maker.do("MatMul", arranged(a, batch, left, summed), arranged(b, batch, summed, right))
    else:
        y = maker.do("Mul", arranged(a, batch, left, []), arranged(b, batch, [], right))
    letters = [*batch, *left, *right]
    return Term(maker.do("Reshape", y, maker.whole(*(lengths[letter] for letter in letters))), letters)
