"""Variants of a method: what it can do instead of what it estimates best, so that measuring can tell which estimate was wrong."""

from __future__ import annotations

from collections.abc import Iterable

RIVALS, WITHIN = 2, 1.5  # how many are worth the time that measuring takes, and up to how many times the lowest estimate


def rivals(costs: Iterable[tuple[str, float]], own: str) -> list[str]:
    """The variants other than `own` with the lowest estimates, of (variant, cycles) of every blocking that is considered.

    >>> rivals([("4x4", 10.0), ("6x6", 8.0), ("2x2", 14.0), ("4x4", 9.0)], own="6x6")
    ['4x4']
    """
    lowest: dict[str, float] = {}
    for variant, cycles in costs:
        lowest[variant] = min(cycles, lowest.get(variant, cycles))
    limit = WITHIN * min(lowest.values(), default=0.0)
    return sorted((variant for variant, cycles in lowest.items() if variant != own and cycles <= limit), key=lowest.__getitem__)[:RIVALS]
