"""Where arrays that live for a while lie in one block of memory: two that are needed at the same time never overlap.

Largest first, each at the lowest offset where nothing that lives at the same time lies: Y. Pisarchyk and J. Lee, "Efficient memory
management for deep neural net inference", arXiv 2001.03288, section 5.2. A chain of layers comes out as two arrays taking turns.
"""

from __future__ import annotations

from collections.abc import Sequence

from kernels.runtime.scratch import whole

Piece = tuple[int, int, int]  # bytes, first and last step that need them


def offsets(pieces: Sequence[Piece]) -> tuple[list[int], int]:
    """(offset of each piece in bytes, bytes in all).

    >>> offsets([(640, 0, 1), (128, 1, 2), (64, 2, 3)])
    ([0, 640, 0], 768)
    """
    found = [0] * len(pieces)
    placed: list[int] = []
    for i in sorted(range(len(pieces)), key=lambda i: -pieces[i][0]):
        nbytes, first, last = pieces[i]
        at = 0
        for start, j in sorted((found[j], j) for j in placed if pieces[j][1] <= last and first <= pieces[j][2]):
            if at + nbytes <= start:
                break
            at = max(at, start + whole(pieces[j][0]))
        found[i] = at
        placed.append(i)
    return found, max((at + whole(nbytes) for at, (nbytes, _, _) in zip(found, pieces)), default=0)
