"""One cell: what is checked, refused, predicted and timed, with a clock that the test winds."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import psutil
import pytest
from patience import until

from benchmarks import test_cells, workloads
from benchmarks.contenders import Contender, Prepared
from benchmarks.host import busy, environment, peak_memory
from benchmarks.host.cache_flush import Flush
from benchmarks.inputs import expected
from benchmarks.inputs.clip import Clip
from benchmarks.inputs.tensors import Tensors, tensors
from benchmarks.runner.cell import LEAST_ROUNDS, MOST_ROUNDS, SETTLE_S, Bench, Budget, Clock, Spec
from benchmarks.runner.pytest_plugin import Suite
from benchmarks.workloads.layer import Workload
from kernels.runtime.machine import pretend

SMALL = replace(workloads.by_id("yamnet.pw8"), c_in=8, c_out=8)
CLIP = Clip("test", 8000, np.ones((2, 8000), np.float32))


@dataclass
class FakeClock(Clock):
    time: float = 0.0
    slept: list[float] = field(default_factory=list)

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds


class Fake(Contender):
    """Answers right unless told otherwise; every call takes `cost` of the fake clock's seconds."""

    name = "fake"
    inside_timer = "one call"

    def __init__(self, clock: FakeClock, cost: float = 1 / 64, change: Callable[[np.ndarray], np.ndarray] = lambda y: y) -> None:
        self.clock, self.cost, self.change = clock, cost, change
        self.calls: list[Workload] = []

    def available(self) -> str | None:
        return None

    def refuse(self, workload: Workload) -> str | None:
        return "too wide" if workload.w > 100 else None

    def prepare(self, workload: Workload, given: Tensors, threads: int) -> Prepared:
        self.clock.time += 1.0
        answer = self.change(expected.answer(workload, given).astype(np.float32))

        def run() -> np.ndarray:
            self.calls.append(workload)
            self.clock.time += self.cost
            return answer

        return Prepared(run, np.asarray)


class Piloted(Fake):
    def pilot(self, workload: Workload) -> Workload | None:
        return workload.cut(workload.flops // 8)


def bench(clock: FakeClock) -> Bench:
    return Bench(CLIP, Budget(seconds=0.25, longest=1.0), clock)


def timer_of(clock: FakeClock, asked: list[int]) -> Callable[[Callable[[], Any], int], list[float]]:
    def timer(run: Callable[[], Any], rounds: int) -> list[float]:
        asked.append(rounds)
        found = []
        for _ in range(rounds):
            start = clock.now()
            run()
            found.append(clock.now() - start)
        return found

    return timer


def measured(contender: Fake, workload: Workload = SMALL) -> tuple[Any, list[int]]:
    asked: list[int] = []
    return bench(contender.clock).measure(Spec(workload, contender, 1), timer_of(contender.clock, asked)), asked


def test_a_right_answer_is_timed_and_everything_has_its_column() -> None:
    clock = FakeClock()
    line, asked = measured(Fake(clock))
    assert line.status == "ok" and line.reason == ""
    assert asked == [16] and len(line.seconds) == 16, "0.25 s of calls of 1/64 s"
    assert line.seconds[0] == pytest.approx(1 / 64)
    assert line.prepare_s == pytest.approx(1.0) and line.first_call_s == pytest.approx(1 / 64)
    assert line.error is not None and line.error < 1e-6
    assert line.error_of_sum is not None and 0 < line.error_of_sum < line.error and line.bounded_error == line.error_of_sum
    assert line.error_bound is not None and 4 * expected.EPSILON <= line.error_bound <= expected.tolerance(SMALL)
    assert (line.flops, line.bytes) == (SMALL.flops, SMALL.bytes)
    assert clock.slept == [SETTLE_S, SETTLE_S], "before and after timing"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda y: y * np.float32(1.001), "error 0.001"),
        (lambda y: y + np.where(np.arange(y.size).reshape(y.shape) == 5, np.float32(0.1), np.float32(0)), "of the largest output"),
        (lambda y: np.roll(y, 1, axis=-1), "of the largest output"),
        (lambda y: np.where(np.arange(y.size).reshape(y.shape) == y.size - 1, np.float32(np.nan), y), "NaN"),
        (lambda y: y[..., :-1], "shape"),
    ],
    ids=["a thousandth off", "one value off", "shifted", "one NaN", "one column short"],
)
def test_a_wrong_answer_gets_its_error_and_no_time(change: Callable[[np.ndarray], np.ndarray], reason: str) -> None:
    line, asked = measured(Fake(FakeClock(), change=change))
    assert line.status == "wrong" and reason in line.reason
    assert line.seconds == () and asked == []


def test_half_precision_is_caught() -> None:
    """What bfloat16 arithmetic would answer is outside the tolerance, also for long sums."""
    workload = workloads.by_id("cnn14.b4c2").cut(40_000_000)
    workload = replace(workload, c_in=512, c_out=4, h=10)
    rng = np.random.default_rng(1)
    assert workload.weight_shape is not None
    given = Tensors(rng.standard_normal(workload.x_shape, np.float32), rng.standard_normal(workload.weight_shape, np.float32), None)
    assert given.weight is not None

    def rounded(array: np.ndarray) -> np.ndarray:
        return (array.view(np.uint32) + 0x8000 & 0xFFFF0000).astype(np.uint32).view(np.float32)

    low = expected.answer(workload, Tensors(rounded(given.x), rounded(given.weight), None))
    assert expected.error(low, expected.answer(workload, given)) > 5 * expected.tolerance(workload)


@pytest.mark.parametrize("offset", [0.0, 32000.0])
@pytest.mark.parametrize("rounds", [np.float32, np.float64])
def test_cancelling_sums_are_held_to_what_cancels(offset: float, rounds: type) -> None:
    """An offset under zero-mean kernels: any float32 sum errs by much of the small output, and by next to nothing of what was summed."""
    workload = replace(SMALL, op="conv1d", c_in=8, c_out=4, h=1, w=4000, kh=1, kw=33, padding=((0, 0), (0, 0)), bias=False, axes="-,time")
    rng = np.random.default_rng(2)
    weight = rng.standard_normal(workload.weight_shape or (), np.float32)
    weight -= weight.mean(axis=(1, 2), keepdims=True)
    given = Tensors(rng.standard_normal(workload.x_shape, np.float32) + np.float32(offset), weight, None)
    want = expected.Expected(expected.answer(workload, given), expected.largest_sum(workload, given))
    windows = np.lib.stride_tricks.sliding_window_view(given.x.astype(rounds), 33, axis=2)  # (n, c, out, tap)
    got = np.zeros(workload.out_shape, rounds)
    for channel in range(8):
        for tap in range(33):
            got += windows[:, channel, None, :, tap] * weight[None, :, channel, None, tap].astype(rounds)
    line = bench(FakeClock()).blank(Spec(workload, Fake(FakeClock()), 1), 1)
    line = Bench.check(replace(line, error_bound=expected.tolerance(workload, want)), got.astype(np.float32), want)
    assert line.status == "ok" and line.error is not None and line.error_of_sum is not None
    assert line.error_of_sum < 2e-7 and (line.error > 1e-4) == (offset > 0 and rounds is np.float32)
    roughly = (got + 1e-5 * (want.largest_sum or 0)).astype(np.float32)
    assert Bench.check(line, roughly, want).status == "wrong"


def test_a_refusal_is_a_row_with_its_sentence() -> None:
    contender = Fake(FakeClock())
    line, asked = measured(contender, replace(SMALL, w=101))
    assert (line.status, line.reason, line.seconds) == ("refused", "too wide", ())
    assert contender.calls == [] and asked == []


def test_what_cannot_be_checked_is_not_run() -> None:
    contender = Fake(FakeClock())
    line, _ = measured(contender, workloads.by_id("musicnn.backend-temporal-pooling"))
    assert line.status == "refused" and "global_max_concat_mean_time" in line.reason and contender.calls == []


def test_a_raised_error_is_a_row() -> None:
    class Broken(Fake):
        def prepare(self, workload: Workload, given: Tensors, threads: int) -> Prepared:
            raise MemoryError("no room")

    line, _ = measured(Broken(FakeClock()))
    assert (line.status, line.reason) == ("failed", "MemoryError: no room")


def test_a_slow_contender_is_predicted_and_not_run() -> None:
    contender = Piloted(FakeClock(), cost=0.5)
    line, asked = measured(contender)
    assert line.status == "over_budget" and asked == []
    assert line.predicted_s == pytest.approx(0.5 * SMALL.flops / SMALL.cut(SMALL.flops // 8).flops)
    assert "4 s" in line.reason and "budget is 1 s" in line.reason
    assert SMALL not in contender.calls, "only the pilot ran"


def test_a_pilot_runs_once_for_all_passes_and_its_prediction_is_kept() -> None:
    contender = Piloted(FakeClock(), cost=1 / 64)
    suite, asked = bench(contender.clock), list[int]()
    for pass_ in (1, 2):
        line = suite.measure(Spec(SMALL, contender, 1), timer_of(contender.clock, asked), pass_)
        assert line.status == "ok" and line.pass_ == pass_ and line.predicted_s == pytest.approx(8 / 64)
    assert sum(each is not SMALL for each in contender.calls) == 2, "one pilot: a warm call and a timed one"


def test_a_call_that_turns_out_too_long_is_not_repeated() -> None:
    contender = Fake(FakeClock(), cost=128.0)
    line, asked = measured(contender)
    assert line.status == "over_budget" and line.predicted_s == pytest.approx(128.0) and asked == []
    assert len(contender.calls) == 1


def test_a_first_call_that_compiles_is_not_mistaken_for_a_slow_one() -> None:
    class Lazy(Fake):
        def prepare(self, workload: Workload, given: Tensors, threads: int) -> Prepared:
            prepared = super().prepare(workload, given, threads)

            def run() -> Any:
                self.clock.time += 0.0 if self.calls else 7.0
                return prepared.run()

            return replace(prepared, run=run)

    line, asked = measured(Lazy(FakeClock()))
    assert line.status == "ok" and asked == [16]
    assert line.first_call_s == pytest.approx(7 + 1 / 64) and max(line.seconds) == pytest.approx(1 / 64)


def test_caches_are_emptied_before_each_sample_and_that_takes_its_share_of_the_time() -> None:
    clock, order = FakeClock(), []
    contender = Fake(clock, cost=1 / 64)

    def flush() -> None:
        order.append("flush")
        clock.time += 1 / 64

    class Benchmark:
        stats = None
        extra_info: ClassVar[dict[str, Any]] = {}

        def pedantic(self, run: Callable[[], Any], setup: Callable[[], None], rounds: int, iterations: int) -> None:
            for _ in range(rounds):
                setup()
                run()
                order.append("call")

    cold = Bench(CLIP, Budget(seconds=0.25, longest=1.0), clock, flush)
    test_cells.test_cell(Spec(SMALL, contender, 1), Benchmark(), Suite(cold, []))
    assert order == ["flush"] + ["flush", "call"] * 8, "once to know what it takes, then 0.25 s of flushes and calls"


def running(ids: list[int]) -> list[bool]:
    return [psutil.pid_exists(each) and psutil.Process(each).status() != psutil.STATUS_ZOMBIE for each in ids]


def test_samples_are_taken_beside_busy_processes_that_end_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    processes = busy.processes

    @contextmanager
    def watched(count: int) -> Iterator[list[int]]:
        with processes(count) as ids:
            seen.extend(ids)
            yield ids

    monkeypatch.setattr(busy, "processes", watched)
    clock = FakeClock()
    contender = Fake(clock)

    def timer(run: Callable[[], Any], rounds: int) -> list[float]:
        assert len(seen) == 2 and all(running(seen))
        if hasattr(os, "sched_getaffinity"):  # free, whatever this process is pinned to
            assert all(os.sched_getaffinity(each) >= os.sched_getaffinity(0) for each in seen)
        run()
        return [1.0]

    line = Bench(CLIP, Budget(0.25, 1.0), clock, beside=2).measure(Spec(SMALL, contender, 1), timer)
    assert line.status == "ok" and line.seconds == (1.0,) and not any(running(seen))


def test_a_busy_process_ends_with_whoever_started_it() -> None:
    code = "import sys; from benchmarks.host import busy as b; m = b.processes(1); print(m.__enter__()[0], flush=True); sys.stdin.read()"
    starter = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=environment.ROOT)
    assert starter.stdout is not None
    one = int(starter.stdout.readline())
    assert running([one]) == [True]
    starter.kill()
    starter.communicate()
    until(lambda: running([one]) == [False])


def test_flushing_writes_more_than_every_cache_holds() -> None:
    with pretend(l2=1 << 20, l3=1 << 21):
        for threads in (1, 4):
            flush = Flush(threads)
            flush()
            assert len(flush._arrays) == threads and all((array == 1).all() for array in flush._arrays)
            assert all(array.nbytes >= 2 << 20 for array in flush._arrays) and sum(array.nbytes for array in flush._arrays) >= 4 << 20


@pytest.mark.skipif(not peak_memory.RESET.exists(), reason="only Linux counts the high water of a process")
def test_peak_memory_is_what_was_held_at_once_and_given_back() -> None:
    class Greedy(Fake):
        def prepare(self, workload: Workload, given: Tensors, threads: int) -> Prepared:
            np.ones(1 << 26, np.uint8)
            return super().prepare(workload, given, threads)

    line, _ = measured(Greedy(FakeClock()))
    assert line.peak_bytes is not None and 0.95 * (1 << 26) <= line.peak_bytes < 1.5 * (1 << 26)
    line, _ = measured(Fake(FakeClock()))
    assert line.peak_bytes is not None and line.peak_bytes < 1 << 24


def test_denormals_are_the_second_half_of_each_channel() -> None:
    faded = tensors(replace(SMALL, n=2, denormals=True), CLIP).x.reshape(2, SMALL.c_in, -1)
    plain = tensors(replace(SMALL, n=2), CLIP).x.reshape(faded.shape)
    half = faded.shape[2] // 2
    np.testing.assert_array_equal(faded[:, :, :half], plain[:, :, :half])
    assert np.abs(faded[:, :, half:]).max() < np.finfo(np.float32).tiny and (faded[:, :, half:] != 0).mean() > 0.95


def test_without_a_timer_only_the_answer_is_checked() -> None:
    contender = Fake(FakeClock())
    line = bench(contender.clock).measure(Spec(SMALL, contender, 1), None)
    assert line.status == "ok" and line.seconds == () and len(contender.calls) == 1


@pytest.mark.parametrize(
    ("estimate", "rounds"),
    [(1e-6, MOST_ROUNDS), (0.01, 20), (0.05, LEAST_ROUNDS), (0.19, LEAST_ROUNDS), (0.3, 3), (0.99, 1), (0.0, MOST_ROUNDS)],
)
def test_rounds_fill_the_budget(estimate: float, rounds: int) -> None:
    assert Budget(0.2, 1.0).rounds(estimate) == rounds
