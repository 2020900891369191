"""Einsums that become matrix products, and those that stay: the numbers are NumPy's."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.network.graph import Graph
from kernels.network.model import Model
from kernels.network.passes.einsums import products_of_einsums
from kernels.network.passes.specialise import UnsupportedError, specialise

LENGTHS = {"b": 2, "t": 5, "g": 3, "i": 4, "h": 6, "k": 7}


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize(
    ("equation", "product"),
    [("btgi,gih->btgh", True), ("bthk,bihk->bhti", True), ("ti,ih->ht", True), ("i,i->", True), ("gi,bg->bi", True), ("bti,hti->bh", True),
     ("t,i->ti", True), ("bti,ih->bh", True), ("tt,ti->i", False), ("bi,ih", True), ("bi,bi->bi", True), ("bt,gi->", True)],
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


@pytest.mark.parametrize(("equation", "shapes"), [
    ("bi,bik->bk", ((1, 4), (2, 4, 7))), ("bik,bi->bk", ((2, 4, 7), (1, 4))), ("i,gi->ig", ((4,), (3, 1))), ("bi,ik->bk", ((2, 0), (0, 7))),
    ("...bi,...ik->...bk", ((3, 2, 4), (1, 4, 7))),
])  # fmt: skip
def test_axes_of_length_one_repeat_and_empty_ones_are_summed_to_zero(equation: str, shapes: tuple[tuple[int, ...], ...]) -> None:
    draw = np.random.default_rng(1)
    arrays = [draw.standard_normal(shape).astype(np.float32) for shape in shapes]
    made = Graph()
    made.output("y", made.node("Einsum", *(made.input(name, array.shape) for name, array in zip("xz", arrays)), equation=equation))
    np.testing.assert_allclose(Model(made)(*arrays), np.einsum(equation, *arrays), atol=1e-5)


@pytest.mark.parametrize(
    "equation", ["...id,...jd->...ij", "...de,...nd,...n->...ne", "...nd,...d->...n", "i...,i...", "d...e->e...", "abcd->ca"]
)
@pytest.mark.parametrize("dots", [(2, 3), (), (1, 3)])
def test_dots_and_any_number_of_terms(equation: str, dots: tuple[int, ...]) -> None:
    draw, lengths = np.random.default_rng(1), {"i": 4, "j": 5, "d": 6, "e": 3, "n": 7, "a": 2, "b": 3, "c": 4}
    shapes = []
    for k, term in enumerate(equation.split("->")[0].split(",")):
        before, with_dots, behind = term.partition("...")
        middle = (2, 3)[-len(dots) :] if k and dots else dots  # the first repeats along axes of length 1
        shapes.append((*(lengths[each] for each in before), *(middle if with_dots else ()), *(lengths[each] for each in behind)))
    arrays = [draw.standard_normal(shape).astype(np.float32) for shape in shapes]
    made = Graph()
    made.output("y", made.node("Einsum", *(made.input(f"x{k}", shape) for k, shape in enumerate(shapes)), equation=equation))
    model = Model(made)
    np.testing.assert_allclose(model(*arrays), np.einsum(equation, *arrays), atol=1e-4)
    assert "Einsum" not in model.explain()


def test_axes_of_other_lengths_are_refused() -> None:
    made = Graph()
    made.output("y", made.node("Einsum", made.input("x", (2, 4)), made.input("z", (3, 7)), equation="bi,ik->bk"))
    with pytest.raises(UnsupportedError, match=r"shapes \(4,\), \(3,\) do not broadcast"):
        Model(made)(np.zeros((2, 4), np.float32), np.zeros((3, 7), np.float32))
