"""What a method hands back when it is prepared for a problem."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from kernels.problem.operands import Operands

Run = Callable[..., None]
Pack = Callable[[Operands], Run]


@dataclasses.dataclass(frozen=True)
class Prepared:
    """All that does not depend on the operands' values. `pack(operands)` packs them and gives `run(x, out)`, which computes a canonical,
    contiguous x into out (pools with indices: `run(x, out, indices)`) and may be called from several Python threads at once.
    `workspace_bytes` is the scratch space that one call uses; `note` says what was decided."""

    pack: Pack
    workspace_bytes: int = 0
    note: str = ""


def without_operands(run: Run) -> Pack:
    """The `pack` of what has no operands."""
    return lambda operands: run
