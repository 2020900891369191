"""Einsums that become matrix products, and those that stay: the numbers are NumPy's."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.network.graph import Graph
from kernels.network.model import Model
from kernels.network.passes.einsums import products_of_einsums
from kernels.network.passes.specialise import specialise

LENGTHS = {"b": 2, "t": 5, "g": 3, "i": 4, "h": 6, "k": 7}


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize(
    ("equation", "product"),
    [("btgi,gih->btgh", True), ("bthk,bihk->bhti", True), ("ti,ih->ht", True), ("i,i->", True), ("gi,bg->bi", True), ("bti,hti->bh", True),
     ("t,i->ti", False), ("bti,ih->bh", False), ("tt,ti->i", False), ("bi,ih", False), ("bi,bi->bi", False)],
)  # fmt: skip
def test_numbers_stay(equation: str, product: bool, held: bool) -> None:
    draw = np.random.default_rng(1)
    terms = equation.split("->")[0].split(",")
    arrays = [draw.standard_normal([LENGTHS[each] for each in term]).astype(np.float32) for term in terms]
    wanted = np.einsum(equation, *(each.astype(np.float64) for each in arrays))

    def graph() -> Graph:
        made = Graph()
        x = made.input("x", arrays[0].shape)
        other = made.constant(arrays[1]) if held else made.input("z", arrays[1].shape)
        made.output("y", made.node("Einsum", x, other, equation=equation))
        return made

    given = {"x": arrays[0]} if held else {"x": arrays[0], "z": arrays[1]}
    planned = specialise(graph(), {name: array.shape for name, array in given.items()})
    assert bool(products_of_einsums(planned)) is product
    y = Model(graph())(given)
    assert y.shape == wanted.shape
    np.testing.assert_allclose(y, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())
