"""What follows from a model's constants alone is found once, not for every new length."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

Result = TypeVar("Result")


def of_arrays(make: Callable[..., Result]) -> Callable[..., Result]:
    """Decorator: what a function makes of these very arrays is kept as long as all of them live. They may not change meanwhile."""
    known: dict[tuple[int, ...], tuple[list[weakref.ref[np.ndarray]], Result]] = {}

    @functools.wraps(make)
    def remembered(*arrays: np.ndarray) -> Result:
        key = tuple(map(id, arrays))
        found = known.get(key)
        if found is None or any(ref() is not array for ref, array in zip(found[0], arrays)):

            def forget(_: Any) -> None:
                known.pop(key, None)

            result = make(*arrays)
            found = known[key] = [weakref.ref(array, forget) for array in arrays], result
        return found[1]

    return remembered
