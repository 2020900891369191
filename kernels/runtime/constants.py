"""Arrays that stay as they are, such as a model's weights, and what is made of them: one array for all plans that make the same.

Whoever has an array that nobody writes to any more says so (`hold`). What folds or packs weights goes through `made`, which gives of such
arrays what it gave before, as long as a plan uses that: the plans of a model's lengths share one copy. Of any other array, which may change
between two plans, it makes anew.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Hashable

import numpy as np

Array = np.ndarray

_held: dict[int, tuple[weakref.ref[Array], int]] = {}  # by the id of what owns the memory: that, and a number that no other ever has
_made: dict[Hashable, tuple[weakref.ref[Array], tuple[Array, ...]]] = {}  # what was made, and of what, which lives as long as that
_numbers = itertools.count()


def _owner(array: Array) -> Array:
    """The array whose memory this one sees."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def _number(array: Array) -> int | None:
    """The number of the memory that an array sees; None where it may change."""
    owner = _owner(array)
    found = _held.get(id(owner))
    return found[1] if found is not None and found[0]() is owner else None


def hold(array: Array) -> Array:
    """The array, whose memory nobody writes to any more."""
    if _number(array) is None:
        owner, number = _owner(array), next(_numbers)
        key = id(owner)

        def forget(_: object) -> None:
            if _held.get(key, (None, -1))[1] == number:  # another array may have the id by now
                del _held[key]

        _held[key] = weakref.ref(owner, forget), number
    return array


def held(array: Array) -> bool:
    """Whether nobody writes to the memory of an array any more."""
    return _number(array) is not None


def made(how: Hashable, make: Callable[..., Array], *arrays: Array) -> Array:
    """What `make(*arrays)` gives, one array for all who ask where nobody may write to the arrays any more. how: all else that it depends
    on, and what tells it from others who make arrays of such."""
    numbers = [_number(array) for array in arrays]
    if None in numbers:
        return make(*arrays)
    seen = [(number, each.__array_interface__["data"][0], each.shape, each.strides, each.dtype) for number, each in zip(numbers, arrays)]
    key = how, *seen
    known = _made.get(key)
    found = known and known[0]()
    if found is None:
        found = hold(make(*arrays))

        def forget(dead: object) -> None:
            if _made.get(key, (None,))[0] is dead:
                del _made[key]

        _made[key] = weakref.ref(found, forget), arrays
    return found
