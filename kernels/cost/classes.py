"""A problem's class: itself with long axes and large batches known to half an octave. What was enumerated for one serves the next, resized.

An enumeration of blockings takes 20 to 100 ms, a clip of another length comes with every file. A blocking's shape (its tile, what it keeps
in cache, how many parts it makes for the threads) is the same within a class; only where its parts end moves.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import operator
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

from kernels.runtime.locks import lock
from kernels.runtime.machine import machine

Result = TypeVar("Result")
EXACT = 64  # lengths up to this are a class each: what overhangs or fills a vector differs with every one
ROWS = 16  # the same of blockings and axes but the last, which fill no vectors: 0.97 of random layers within 1.11 of their best
ALONE = 4  # so are batches: what each thread has to do differs with every image
CLASSES, PROBLEMS = 1024, 4096  # that are remembered


def near(length: int, exact: int = EXACT) -> int:
    """A short length as it is, a longer one as its half octave, below zero."""
    return length if length <= exact else -int(2 * math.log2(length))


def class_of(problem: Any, rows: int = EXACT) -> Hashable:
    """What problems of a class have in common; of several, such as layers that are one step, what each has. rows: lengths of axes but the
    last up to this are a class each."""
    if problem is None or isinstance(problem, tuple):
        return problem and tuple(class_of(each, rows) for each in problem)
    kind = type(problem)
    *down, across = problem.size
    size = *(near(length, rows) for length in down), near(across)
    return kind, near(problem.n, ALONE), size, _others(kind)(problem)  # type: ignore[arg-type]  # classes are hashable


@functools.cache
def _others(kind: type) -> Callable[[Any], Hashable]:
    """What gives the fields of a problem that are the same in all of a class."""
    return operator.attrgetter(*(field.name for field in dataclasses.fields(kind) if field.name not in ("n", "size")))


class Classes(Generic[Result]):
    """What was found for the first problem of each class, by keys; the least recently used leave first."""

    def __init__(self) -> None:
        self._found: OrderedDict[Hashable, tuple[Any, Result]] = OrderedDict()
        self._lock = lock()

    def get(self, key: Hashable) -> tuple[Any, Result] | None:
        """(the problem, what was found for it), or None."""
        with self._lock:
            found = self._found.get(key)
            if found is not None:
                self._found.move_to_end(key)
            return found

    def put(self, key: Hashable, problem: Any, result: Result) -> None:
        """Remember what was found."""
        with self._lock:
            self._found[key] = problem, result
            while len(self._found) > CLASSES:
                self._found.popitem(last=False)

    def forget(self) -> None:
        """Drop all."""
        with self._lock:
            self._found.clear()


class Anew(Exception):
    """What was found for another length does not serve this one."""


def by_class(resize: Callable[..., Any]) -> Callable[[Callable[..., Result]], Callable[..., Result]]:
    """Decorator: remember the results of function(problem, …) for recent problems on this machine, and take those of other problems of the
    class as `resize(other, its result, problem, …)` makes them, which raises Anew where that cannot be."""

    def decorate(function: Callable[..., Result]) -> Callable[..., Result]:
        classes: Classes[Result] = Classes()

        @functools.lru_cache(maxsize=PROBLEMS)
        def known(spec: Any, problem: Any, args: tuple[Any, ...], options: tuple[tuple[str, Any], ...]) -> Result:
            key = spec, class_of(problem, ROWS), args, options
            found = classes.get(key)
            if found is not None:
                try:
                    return resize(*found, problem, *args, **dict(options))  # type: ignore[no-any-return]
                except Anew:
                    pass
            result = function(problem, *args, **dict(options))
            classes.put(key, problem, result)
            return result

        @functools.wraps(function)
        def recall(problem: Any, *args: Any, **options: Any) -> Result:
            return known(machine(), problem, args, tuple(options.items()))

        return recall

    return decorate


def step_like(length: int, other: int, step: int, unit: int = 1, more: int = 0) -> int:
    """The step that cuts a length into about as many parts as `step` cuts another, or so many more, in whole units."""
    count = max(1, round(-(-other // step) * length / other)) + more
    even = -(-length // count)
    return min(length, -(-even // unit) * unit)
