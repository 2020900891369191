"""Records of drivers and of micro-kernels: every field has a name and a meaning, nothing is missing, nothing is too much."""

from __future__ import annotations

import importlib
import pkgutil
import typing

import numpy as np
import pytest

import kernels
from kernels.primitives.records import Field, Record, address, integer
from kernels.runtime.ir import call
from kernels.runtime.jit import njit
from kernels.runtime.micro_kernel import Fixed, emitter, fixed_fields
from kernels.runtime.micro_kernel import address as compiled

for module in pkgutil.walk_packages(kernels.__path__, "kernels."):
    if module.name.startswith(("kernels.methods.", "kernels.primitives.")):
        importlib.import_module(module.name)


def every(kind: type) -> list[type]:
    """All classes below one."""
    return [kind, *(below for one in kind.__subclasses__() for below in every(one))]


class Shape(Record):
    rows = integer("of a block")


class Block(Shape):
    columns = integer("of a block")
    place = address("of it")


def test_a_record_is_packed_by_name() -> None:
    packed = Block.packed(place=1 << 40, columns=3, rows=True)
    assert packed.dtype.names == ("rows", "columns", "place") and packed.tolist() == [(1, 3, 1 << 40)]
    assert Block.fields()["place"] == Field("of it", address=True)


@pytest.mark.parametrize(("values", "message"), [
    ({"rows": 1, "columns": 2}, "Block lacks place"),
    ({"rows": 1, "columns": 2, "place": 3, "depth": 4}, "Block has no depth"),
    ({"row": 1, "columns": 2, "place": 3}, "Block lacks rows and has no row"),
])  # fmt: skip
def test_missing_and_unknown_fields_raise(values: dict[str, int], message: str) -> None:
    with pytest.raises(TypeError, match=f"^{message}$"):
        Block.packed(**values)


@pytest.mark.parametrize("kind", [kind for kind in every(Record) if kind.__module__.startswith("kernels.")], ids=lambda kind: kind.__name__)
def test_every_field_says_what_it_is(kind: type[Record]) -> None:
    assert kind.__doc__
    for name, field in kind.fields().items():
        assert len(field.meaning) > 2 and not field.meaning.endswith("."), name


class Scaled(typing.NamedTuple):
    """y[i] = factor * x[i] for i < lanes."""

    lanes: Fixed
    itemsize: Fixed
    factor: Fixed
    x: int
    y: int


@emitter
def _emit(w, p, shift):  # type: ignore[no-untyped-def]
    value = w.load(w.pointer(w.b.add(p.x, shift)))
    w.store(w.b.fmul(w.constant(float(p.factor)), value), w.pointer(w.b.add(p.y, shift)))


@njit
def _scaled(p):  # type: ignore[no-untyped-def]
    for half in range(2):
        _emit(p, (half * p.lanes * p.itemsize,))


@njit
def _drive(function, x, y):  # type: ignore[no-untyped-def]
    call(function, Scaled(lanes=4, itemsize=4, factor=3, x=x, y=y))


def test_fixed_fields_are_known_when_the_micro_kernel_is_compiled() -> None:
    assert fixed_fields(Scaled) == ("lanes", "itemsize", "factor")
    x, y = np.arange(8, dtype=np.float32), np.zeros(8, np.float32)
    _drive(compiled(_scaled, Scaled, lanes=4, itemsize=4, factor=3), x.ctypes.data, y.ctypes.data)
    np.testing.assert_array_equal(y, 3 * x)
    with pytest.raises(TypeError, match="Scaled is compiled for lanes, itemsize, factor, not for lanes"):
        compiled(_scaled, Scaled, lanes=4)
