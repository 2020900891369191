"""How fast this kind of machine is, in the few numbers that cost estimates need: built in, or measured by `python -m kernels calibrate`.

Estimates count cycles and bytes; these numbers make seconds of them. Choices need them only to rank, so the built-in ones serve until
somebody measures; what was measured lies in calibration.json beside the tuning file (`kernels.runtime.store`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import warnings
from collections.abc import Iterator

from kernels.runtime import store
from kernels.runtime.machine import machine

KIND = "calibration"


@dataclasses.dataclass(frozen=True)
class Calibration:
    """clock: cycles a second at which vectors are computed, two multiply-adds each. bandwidth: bytes a second and core, read and written.
    waking: seconds that waking a sleeping thread costs its caller. factors: measured over estimated seconds by "conv winograd" and so on,
    where they were measured."""

    clock: float
    bandwidth: float
    waking: float
    factors: dict[str, float] = dataclasses.field(default_factory=dict)

    def factor(self, operation: str, name: str) -> float:
        """What a method's estimate is multiplied by."""
        return self.factors.get(f"{operation} {name}", 1.0)


# By bytes of a vector. AVX-512: measured on two cores of Zen 4 and Skylake-X servers, to which the estimates' cycles were fitted. AVX2 and
# NEON (or SSE2): sustained clocks and bandwidths as their makers state them for desktops and for Neoverse V1, not measured here
BUILT_IN = {
    64: Calibration(2.5e9, 10e9, 10e-6),
    32: Calibration(3.2e9, 10e9, 10e-6),
    16: Calibration(2.6e9, 15e9, 10e-6),
}

_using: list[Calibration] = []


def calibration() -> Calibration:
    """The numbers of this machine, read once a process."""
    return _using[-1] if _using else _known(machine().vector_bytes)


@contextlib.contextmanager
def using(numbers: Calibration) -> Iterator[None]:
    """Estimates made inside the block go by these numbers; not thread-safe."""
    _using.append(numbers)
    try:
        yield
    finally:
        _using.pop()


def threads_for(cycles: float, threads: int) -> int:
    """How many of so many threads to take for work of so many cycles of one core: one where it is done before another could be woken. In
    loops and networks threads are awake, and 6 us of work take 3.3 on two; after a pause, waking in vain costs the caller 2 to 8 us."""
    known = calibration()
    return threads if cycles > known.waking * known.clock else 1


def keep(measured: Calibration) -> bool:
    """Write what was measured to the file, for this process too; whether it could be written, with a warning where not."""
    file, vector_bytes = store.where(KIND), machine().vector_bytes
    _known.cache_clear()
    entry = {name: getattr(measured, name) for name in ("clock", "bandwidth", "waking")}
    entry["factors"] = {name: round(factor, 3) for name, factor in measured.factors.items()}

    def put(sections: store.Sections) -> None:
        section = sections.pop(store.environment(), {})
        sections[store.environment()] = {**section, f"{vector_bytes} bytes": entry}

    return file is not None and store.change(KIND, file, put)


def built_in(vector_bytes: int) -> Calibration:
    """What serves until somebody measures."""
    return BUILT_IN.get(vector_bytes, BUILT_IN[16])


@functools.cache
def _known(vector_bytes: int) -> Calibration:
    file = store.where(KIND)
    section = store.read(KIND, file) if file is not None and store.exists(file) else None
    entry = (section or {}).get(f"{vector_bytes} bytes")
    if entry is None:
        return built_in(vector_bytes)
    try:
        factors = {str(name): float(value) for name, value in entry["factors"].items()}
        found = Calibration(float(entry["clock"]), float(entry["bandwidth"]), float(entry["waking"]), factors)
        if not all(0 < value < math.inf for value in (found.clock, found.bandwidth, found.waking, *factors.values())):
            raise ValueError("its numbers must be above 0")
        return found
    except (TypeError, KeyError, ValueError, AttributeError, OverflowError) as error:
        warnings.warn(f"calibration file {file} is damaged and not used: {error!r}", RuntimeWarning, stacklevel=2)
        return built_in(vector_bytes)
