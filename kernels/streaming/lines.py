"""A network as lines: layers one after the other, from where values go several ways or are joined to where they next do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from kernels.network.layers import JOINS, Layer, branches_of, places


class Line(NamedTuple):
    """Layers, each with where it stands, for errors. sources: the places that the first one reads, 0 for the network's input, i + 1 for the
    end of line i; several where it is a join or a subgraph, alone in its line and without branches. The last line gives the network's
    outputs. axis: that of time behind the line, counted from the end, and in front of it too but for subgraphs."""

    layers: tuple[tuple[str, Layer], ...]
    sources: tuple[int, ...]
    axis: int


def lines_of(layers: Any, axis: int) -> tuple[Line, ...]:
    """The lines of a stack of layers, with branches in them; axis: that of time, counted from the end. Raises ProblemError for what is no
    layer."""
    found: list[Line] = []
    _lay(found, layers, 0, "", axis)
    return tuple(found)


def _lay(found: list[Line], layers: Sequence[Layer], source: int, prefix: str, axis: int) -> int:
    """Where layers end that begin at a place."""
    line: list[tuple[str, Layer]] = []
    for where, each in places(layers, prefix):
        if each.op not in JOINS:
            line.append((where, each))
            continue
        source, line = _end(found, line, source, axis), []
        ends = [_lay(found, branch, source, f"{where}.{b}.", axis) for b, branch in enumerate(branches_of(each, where))]
        found.append(Line(((where, Layer(each.op)),), tuple(ends), axis))
        source = len(found)
    return _end(found, line, source, axis)


def _end(found: list[Line], line: list[tuple[str, Layer]], source: int, axis: int) -> int:
    if not line:
        return source
    found.append(Line(tuple(line), (source,), axis))
    return len(found)
