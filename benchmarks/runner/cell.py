"""One cell: a contender meets a workload. Refuse, predict, prepare, call once, check, time, in this order, and say what happened as a Line.

Nothing is timed that was not checked against float64 first, and nothing is run whose predicted time exceeds the budget.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.contenders import Contender, Prepared
from benchmarks.contenders.ours import problem_text
from benchmarks.host import busy
from benchmarks.host.peak_memory import HighWater
from benchmarks.inputs import expected
from benchmarks.inputs.clip import Clip
from benchmarks.inputs.tensors import tensors
from benchmarks.records.results import Line
from benchmarks.workloads.layer import Workload

Timer = Callable[[Callable[[], Any], int], "list[float]"]  # (run, rounds) -> seconds of each round, one call a round

LEAST_ROUNDS, MOST_ROUNDS = 5, 50  # a median needs five; more than fifty tell less than another pass does
WARM_S = 0.02  # calls before timing: threads wake, pages and caches fill
HOPELESS = 100  # times the budget of a call: first calls may compile, a minute on a busy machine; beyond this the work itself is long
SETTLE_S = 0.15  # before and after timing: OpenBLAS's workers, which compute what is expected, spin for 0.1 s, libgomp's for milliseconds


class Clock:
    """The time and the waiting; tests put a fake one here."""

    def now(self) -> float:
        return time.perf_counter()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


@dataclass(frozen=True)
class Budget:
    """`seconds` of timed rounds a cell and pass; a single call that would take longer than `longest` is not run."""

    seconds: float
    longest: float

    def rounds(self, estimate: float) -> int:
        """As many as fill the seconds, at least five unless those alone would take longer than five times the seconds and `longest`."""
        fitting = int(self.seconds / estimate) if estimate > 0 else MOST_ROUNDS
        affordable = int(max(5 * self.seconds, self.longest) / estimate) if estimate > 0 else MOST_ROUNDS
        return max(1, min(MOST_ROUNDS, max(fitting, min(LEAST_ROUNDS, affordable))))


@dataclass(frozen=True)
class Spec:
    """What to run: a cell's name."""

    workload: Workload
    contender: Contender
    threads: int

    @property
    def id(self) -> str:
        batch = f"-b{self.workload.batch}" if self.workload.batch > 1 else ""
        return f"{self.workload.id}-{self.contender.name}-t{self.threads}{batch}"

    @property
    def key(self) -> tuple[str, str, int, int]:
        """What a line of results calls this cell."""
        return self.workload.id, self.contender.name, self.threads, self.workload.batch

    @property
    def label(self) -> str:
        return f"{self.workload.id} · {self.contender.name}"


def identity(workload: Workload, problem: str, clip: Clip) -> str:
    """What is measured: its problem and its input's content. Names of layers, files and clips change without it, and it without them."""
    parts = [problem, str(workload.flops), str(workload.bytes), str(workload.denormals)]
    if workload.input:
        parts += [repr(workload.input), clip.digest]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


@dataclass
class Bench:
    """What cells share: the clip, the budget, the clock, and what was predicted before (a pilot runs once, not once a pass)."""

    clip: Clip
    budget: Budget
    clock: Clock = field(default_factory=Clock)
    flush: Callable[[], None] | None = None  # what empties the caches before each sample, where that is wanted
    beside: int = 0  # busy processes meanwhile
    predictions: dict[tuple[str, str, int, int], float] = field(default_factory=dict)
    _texts: dict[Workload, str] = field(default_factory=dict)

    def blank(self, spec: Spec, pass_: int) -> Line:
        """The part of a line that is known before anything runs."""
        workload = spec.workload
        if workload not in self._texts:
            try:
                self._texts[workload] = problem_text(workload)
            except Exception:  # the row of each implementation will say what is wrong with it
                self._texts[workload] = workload.describe()
        return Line(
            workload=workload.id, contender=spec.contender.name, threads=spec.threads, batch=workload.batch, op=workload.op,
            problem=self._texts[workload], flops=workload.flops, bytes=workload.bytes, status="failed",
            inside_timer=spec.contender.inside_timer, pass_=pass_, count=workload.count,
            peer=spec.contender.peer, identity=identity(workload, self._texts[workload], self.clip),
        )  # fmt: skip

    def measure(self, spec: Spec, timer: Timer | None, pass_: int = 1) -> Line:
        """Run one cell; without a timer only its answer is checked. Whatever the contender raises becomes a line."""
        line = replace(self.blank(spec, pass_), reason="did not finish")
        try:
            with threadpool_limits(limits=spec.threads, user_api="blas"):
                return self._measure(spec, timer, line)
        except Exception as error:
            return replace(line, status="failed", reason=f"{type(error).__name__}: {error}")
        finally:
            self.clock.sleep(SETTLE_S)

    def _measure(self, spec: Spec, timer: Timer | None, line: Line) -> Line:
        workload, contender, now = spec.workload, spec.contender, self.clock.now
        if sentence := expected.refuse(workload) or contender.refuse(workload):
            return replace(line, status="refused", reason=sentence)
        line = replace(line, predicted_s=self.predict(spec))
        if line.predicted_s is not None and line.predicted_s > self.budget.longest:
            return self._over(line, line.predicted_s, "predicted from a smaller layer of the same kind")

        given = tensors(workload, self.clip)
        high_water = HighWater()
        start = now()
        prepared = contender.prepare(workload, given, spec.threads)
        prepare_s = now() - start
        start = now()
        result = prepared.run()
        first_call_s = now() - start
        line = replace(
            line, prepare_s=prepare_s, first_call_s=first_call_s, problem=prepared.problem or line.problem,
            workspace_bytes=prepared.workspace_bytes, peak_bytes=high_water.growth(), reason=prepared.remark,
        )  # fmt: skip
        want = expected.remembered(workload, given, self.clip)
        bound = expected.tolerance(workload, want) if prepared.error_bound is None else prepared.error_bound
        line = self.check(replace(line, error_bound=bound), prepared.answer(result), want)
        if line.status != "ok" or timer is None:
            return line
        self.clock.sleep(SETTLE_S)
        with busy.processes(self.beside):
            estimate = self._warm(prepared, first_call_s)
            if estimate > self.budget.longest:
                return self._over(replace(line, predicted_s=estimate), estimate, "as the checked call took")
            seconds = timer(prepared.run, self.budget.rounds(estimate + self._flushing()))
        return replace(line, seconds=tuple(round(each, 9) for each in seconds))

    def _over(self, line: Line, predicted: float, how: str) -> Line:
        reason = f"a call would take {predicted:.3g} s ({how}), the budget is {self.budget.longest:.3g} s"
        return replace(line, status="over_budget", reason=reason)

    @staticmethod
    def check(line: Line, got: np.ndarray[Any, Any], want: expected.Expected) -> Line:
        """ok, or wrong with the error; a NaN is never within a bound. Bounds are shares of the largest sum, for networks of the output."""
        assert line.error_bound is not None
        if got.shape != want.answer.shape:
            return replace(line, status="wrong", reason=f"shape {got.shape}, expected {want.answer.shape}")
        error = want.error(got)
        if not np.isfinite(error):
            return replace(line, status="wrong", reason="NaN or infinite values in the answer")
        of_sum = None if want.largest_sum is None else expected.error(got, want.answer, want.largest_sum)
        line = replace(line, error=error, error_of_sum=of_sum)
        if (error if of_sum is None else of_sum) > line.error_bound:
            share = "" if of_sum is None else f", {of_sum:.2g} of the largest sum of |x| |w|"
            return replace(line, status="wrong", reason=f"error {error:.2g} of the largest output{share}, {line.error_bound:.2g} allowed")
        return replace(line, status="ok")

    def _flushing(self) -> float:
        if self.flush is None:
            return 0.0
        start = self.clock.now()
        self.flush()
        return self.clock.now() - start

    def _warm(self, prepared: Prepared, first_call_s: float) -> float:
        """Call until warm; the shortest call seen estimates the next. A first call far past the limit is believed, not repeated."""
        if first_call_s > HOPELESS * self.budget.longest:
            return first_call_s
        shortest, begin = float("inf"), self.clock.now()
        while True:
            start = self.clock.now()
            prepared.run()
            stop = self.clock.now()
            shortest = min(shortest, stop - start)
            if stop - begin >= WARM_S:
                return shortest

    def predict(self, spec: Spec) -> float | None:
        """Seconds of one call of slow contenders, from a pilot: a smaller layer of the same kind, timed here, scaled by flops."""
        workload = spec.workload
        if spec.key not in self.predictions:
            small = spec.contender.pilot(workload)
            if small is None:
                return None
            prepared = spec.contender.prepare(small, tensors(small, self.clip), spec.threads)
            prepared.run()
            start = self.clock.now()
            prepared.run()
            self.predictions[spec.key] = (self.clock.now() - start) * workload.flops / small.flops
        return self.predictions[spec.key]
