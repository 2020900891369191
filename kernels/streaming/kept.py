"""Plans that a part keeps, one for each of the lengths that came last; clones of a stream share them."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager
from typing import Any, TypeVar

Key = TypeVar("Key", bound=Hashable)
Plan = TypeVar("Plan")

PLANS = 48  # that one part keeps


def kept(plans: dict[Key, Plan], key: Key, making: AbstractContextManager[Any], make: Callable[[], Plan]) -> Plan:
    """The plan of a key, made by one thread at a time where there is none."""
    with making:
        found = plans.get(key)
        if found is None:
            if len(plans) >= PLANS:
                plans.pop(next(iter(plans)))
            found = plans[key] = make()
        return found
