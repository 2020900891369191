"""How the plain loops share out what they compute: planes, and pieces of those that take long, so that no task keeps signals waiting."""

from __future__ import annotations

from math import ceil

LONGEST = 0.25  # estimated seconds of a task: Ctrl-C and the other threads wait for a task's end


def pieces(seconds: float, rows: int, columns: int) -> tuple[int, int]:
    """(rows, columns) of the pieces that a plane of outputs is cut into where it takes so many seconds: whole rows, or parts of one."""
    of_row = seconds / max(rows, 1)
    if of_row <= LONGEST:
        return max(1, min(rows, int(LONGEST / of_row) if of_row > 0 else rows)), max(columns, 1)
    return 1, max(1, ceil(columns * LONGEST / of_row))


def count(rows: int, columns: int, piece: tuple[int, int]) -> int:
    """How many pieces a plane has."""
    return ceil(rows / piece[0]) * ceil(columns / piece[1])
