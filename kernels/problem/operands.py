"""What a problem is computed with besides its input."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

Array = np.ndarray


class Operands(NamedTuple):
    """What a problem is computed with besides its input, canonical and contiguous: weight (c_out, c_in/groups, kh, kw), transposed
    (c_in, c_out/groups, kh, kw); bias, scale and shift (c_out,)."""

    weight: Array | None = None
    bias: Array | None = None
    scale: Array | None = None
    shift: Array | None = None

    def copy(self) -> Operands:
        """The same numbers in memory of their own."""
        return Operands(*(None if value is None else value.copy() for value in self))
