"""Passes over the matrix: which cells, in which order, how long still, and whether another pass fits.

The contenders of one workload run next to each other, so that a slow minute of the machine hits them alike; every other pass runs in
reverse, so that neither a warm start nor a hot end favours anybody.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from benchmarks.contenders import Contender
from benchmarks.runner.cell import Budget, Clock, Spec
from benchmarks.workloads.layer import Workload
from benchmarks.workloads.training_passes import Training


@dataclass(frozen=True)
class Preset:
    """How much time a preset gives: passes, per cell, per single call, and in all (passes that no longer fit are left out)."""

    passes: int
    budget: Budget
    total_s: float


PRESETS = {
    "quick": Preset(3, Budget(0.25, 1.0), 270.0),
    "core": Preset(3, Budget(0.5, 3.0), 3600.0),
    "full": Preset(2, Budget(0.25, 3.0), 6 * 3600.0),
}


def specs(workloads: Sequence[Workload], contenders: Sequence[Contender], threads: Sequence[int]) -> list[Spec]:
    """The matrix, contenders innermost; passes of training with those who do them."""
    return [
        Spec(workload, contender, count) for count in threads for workload in workloads for contender in contenders
        if not isinstance(workload, Training) or workload.part in contender.trains
    ]  # fmt: skip


def ordered(matrix: Sequence[Spec], pass_: int) -> list[Spec]:
    """The first, third … pass forwards, the others backwards."""
    return list(matrix) if pass_ % 2 else list(reversed(matrix))


@dataclass
class Progress:
    """How long still: a cell is expected to take what it took in an earlier pass, or else the mean of what is known.

    Passes are numbered from `first` to `passes`. `finished` holds (workload, contender, threads, batch, pass) of cells that an earlier
    process left.
    """

    matrix: Sequence[Spec]
    passes: int
    clock: Clock
    finished: AbstractSet[tuple[str, str, int, int, int]] = frozenset()
    first: int = 1
    took: dict[str, float] = field(default_factory=dict)
    _left: set[str] = field(default_factory=set)
    _started: float = 0.0
    _begin: float | None = None

    def __post_init__(self) -> None:
        self.pass_ = self.first - 1

    def cells(self, pass_: int) -> list[Spec]:
        """What a pass still has to run, in order."""
        return [spec for spec in ordered(self.matrix, pass_) if (*spec.key, pass_) not in self.finished]

    @property
    def total(self) -> int:
        """Cells of all passes."""
        return len(self.matrix) * (self.passes - self.first + 1)

    @property
    def to_do(self) -> int:
        """Cells of all passes that an earlier process did not leave."""
        return sum(len(self.cells(pass_)) for pass_ in range(self.first, self.passes + 1))

    def begin_pass(self) -> list[Spec]:
        """The cells of the next pass."""
        self.pass_ += 1
        cells = self.cells(self.pass_)
        self._left = {spec.id for spec in cells}
        if self._begin is None:
            self._begin = self.clock.now()
        return cells

    def begin(self, spec: Spec) -> None:
        self._started = self.clock.now()

    def end(self, spec: Spec, once: float = 0.0) -> None:
        """A cell is done; `once` of its seconds went into what a later pass finds done (compiling, loading, pilots)."""
        self.took[spec.id] = max(0.0, self.clock.now() - self._started - once)
        self._left.discard(spec.id)

    @property
    def missing(self) -> int:
        """Cells of this pass that were not run."""
        return len(self._left)

    @property
    def elapsed(self) -> float:
        return 0.0 if self._begin is None else self.clock.now() - self._begin

    def _expected(self, names: set[str]) -> float:
        mean = sum(self.took.values()) / len(self.took) if self.took else 0.0
        return sum(self.took.get(name, mean) for name in names)

    def one_pass(self, pass_: int) -> float:
        """Seconds that a pass is expected to take."""
        return self._expected({spec.id for spec in self.cells(pass_)})

    def remaining(self) -> float | None:
        """Seconds to the end, None before anything is known."""
        if not self.took:
            return None
        return self._expected(self._left) + sum(map(self.one_pass, range(self.pass_ + 1, self.passes + 1)))

    def another(self, total_s: float) -> bool:
        """Whether a further pass is asked for and fits in the total. The first always runs."""
        if self.pass_ < self.first:
            return True
        return self.pass_ < self.passes and self.elapsed + self.one_pass(self.pass_ + 1) <= total_s
