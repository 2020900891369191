"""Measuring: who is timed and how often, by a clock that only these tests turn; wrong answers, failures, Ctrl-C; what variants answer."""

from __future__ import annotations

import dataclasses
import itertools
import math
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
from processes import start_anew

import kernels
from kernels import parse
from kernels.dispatch import measure, tuning
from kernels.dispatch.heuristic import candidates, choose
from kernels.methods import load, registry
from kernels.methods.contract import Implementation
from kernels.primitives.prepared import Prepared, Run
from kernels.problem.operands import Operands

load()
LAYER = parse("conv2d n1 c2 6x9 -> c4 k3x3 s1x1 p1+1x1+1 d1x1 g1 float32")


class Clock:
    """Time that passes only where a test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now

    def costing(self, seconds: float, called: list[str] | None = None, name: str = "") -> Callable[[], None]:
        """A call that takes so long."""

        def call() -> None:
            self.now += seconds
            if called is not None:
                called.append(name)

        return call


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(measure, "clock", clock)
    return clock


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setenv("KERNELS_TUNING", str(tmp_path / "tuning.json"))
    start_anew()
    yield tmp_path / "tuning.json"
    start_anew()
    tuning._state["generation"] += 1


def test_turns_alternate_and_who_is_behind_gets_no_more(clock: Clock) -> None:
    called: list[str] = []
    seconds = {"a": 0.1, "b": 0.11, "c": 0.5}
    times = measure.race({name: clock.costing(each, called, name) for name, each in seconds.items()}, budget=0.95)
    assert times == pytest.approx(seconds)
    assert "".join(called) == "abc" + "ba" + "ab"
    called.clear()
    measure.race({name: clock.costing(each, called, name) for name, each in seconds.items()}, budget=1.5)
    assert "".join(called) == "aaaa" + "bbbb" + "c" + "bb" + "aa", "one to begin with, three at least where they are not long"


def test_short_calls_are_timed_often_and_the_budget_is_kept(clock: Clock) -> None:
    called: list[str] = []
    measure.race({name: clock.costing(1e-5, called, name) for name in ("a", "b")}, budget=0.01)
    assert 400 <= called.count("a") <= 1000 and clock.now < 0.02
    assert measure.race({"slow": clock.costing(3.0)}, budget=0.01) == {"slow": pytest.approx(3.0)}


def test_busy_moments_change_nothing(clock: Clock) -> None:
    calls = iter(range(10**6))

    def disturbed() -> None:
        clock.now += 0.4 if next(calls) % 3 == 0 else 0.1

    times = measure.race({"disturbed": disturbed, "calm": clock.costing(0.12)}, budget=5.0)
    assert times["disturbed"] == pytest.approx(0.1)


def fake(monkeypatch: pytest.MonkeyPatch, clock: Clock, **seconds: float) -> dict[str, Any]:
    """Implementations of these names whose calls take so many seconds and answer as "jit" does; what `run` does can be replaced. They are
    the only ones that are weighed: by this clock, a call of any other never ends."""
    jit = registry.every("conv")["jit"]
    runs: dict[str, Any] = {}

    def method(name: str) -> Implementation:
        def prepare(problem: Any, threads: int) -> Prepared:
            inner = jit.prepare(problem, 1)

            def pack(operands: Operands) -> Run:
                compute = inner.pack(operands)

                def run(x: np.ndarray, out: np.ndarray) -> None:
                    compute(x, out)
                    clock.now += seconds[name]
                    runs.get(name, lambda out: None)(out)

                return run

            return dataclasses.replace(inner, pack=pack)

        return Implementation(name, "conv", lambda problem: None, prepare, jit.error_bound)

    for name in seconds:
        monkeypatch.setitem(registry._all, ("conv", name), method(name))
    monkeypatch.setattr(measure, "candidates", lambda problem, threads: list(seconds))
    first = next(iter(seconds))
    monkeypatch.setattr(measure, "choose", lambda problem, wanted=first, threads=None: choose(problem, wanted, threads))
    return runs


def test_the_winner_is_kept(monkeypatch: pytest.MonkeyPatch, clock: Clock, file: Path) -> None:
    fake(monkeypatch, clock, good=0.01, better=0.005, late=0.02)
    found = measure.measure(LAYER, 1, 0.5)
    assert found is not None and found.winner == "better"
    assert found.seconds == pytest.approx({"good": 0.01, "better": 0.005, "late": 0.02})
    assert tuning.recall(LAYER, 1) == found and '"winner": "better"' in file.read_text()
    before = clock.now
    assert measure.measure(LAYER, 1, 0.5) == found and clock.now == before, "what is known is not measured again"
    assert choose(LAYER, "auto", 1, found).name == "better"


def test_threads_that_ask_at_once_measure_once(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    runs = fake(monkeypatch, clock, good=0.01, better=0.005)
    entered: list[int] = []
    runs["good"] = lambda out: entered.append(threading.get_ident())
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: measure.measure(LAYER, 1, 0.5), range(4)))
    assert len({id(each) for each in found}) == 1 and len(set(entered)) == 1


def test_long_calls_leave_out_the_least_promising(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    fake(monkeypatch, clock, first=1.0, second=1.0, third=1.0)
    found = measure.measure(LAYER, 1, 0.5)
    assert found is not None and set(found.seconds) == {"first", "second"}


def test_a_wrong_answer_or_a_failure_never_wins(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    runs = fake(monkeypatch, clock, wrong=0.001, unwritten=0.001, broken=0.001, right=0.01)

    def one_off(out: np.ndarray) -> None:
        out.flat[7] += 0.001 * np.abs(out).max()

    def fail(out: np.ndarray) -> None:
        raise MemoryError

    runs |= {"wrong": one_off, "unwritten": lambda out: out.fill(math.nan), "broken": fail}
    with pytest.warns(RuntimeWarning) as said:
        found = measure.measure(LAYER, 1, 0.5)
    assert found is not None and set(found.seconds) == {"right"}
    texts = [str(each.message) for each in said]
    assert sum("it is not considered" in text for text in texts) == 2 and sum("failed while" in text for text in texts) == 1


def test_ctrl_c_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch, clock: Clock, file: Path) -> None:
    runs = fake(monkeypatch, clock, good=0.01, better=0.005)

    def interrupt(out: np.ndarray) -> None:
        raise KeyboardInterrupt

    runs["better"] = interrupt
    with pytest.raises(KeyboardInterrupt):
        measure.measure(LAYER, 1, 0.5)
    assert tuning.recall(LAYER, 1) is None and not file.exists()
    del runs["better"]
    found = measure.measure(LAYER, 1, 0.5)
    assert found is not None and found.winner == "better"


def test_a_plan_that_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole way with the methods as they are, all of which take one tick of the clock."""
    x = np.random.default_rng(1).standard_normal((1, 16, 5, 9)).astype(np.float32)
    ticks = itertools.count(step=1e-4)
    monkeypatch.setattr(measure, "clock", lambda: next(ticks))
    plan = kernels.plan("max_pool2d", x.shape, 2, effort="measure", threads=1, return_indices=True)
    assert "taken, measured fastest" in plan.explain()
    values, indices = plan(x)
    np.testing.assert_array_equal(values, x[:, :, :4, :8].reshape(1, 16, 2, 2, 4, 2).max((3, 5)))
    np.testing.assert_array_equal(np.take_along_axis(x.reshape(1, 16, -1), indices.reshape(1, 16, -1), 2), values.reshape(1, 16, -1))


def test_what_cannot_be_measured() -> None:
    empty = kernels.plan("max_pool1d", (0, 2, 9), 2, effort="measure")
    assert empty(np.zeros((0, 2, 9), np.float32)).shape == (0, 2, 4)
    assert kernels.plan("max_pool1d", (1, 2, 9), 2, effort="measure", implementation="naive").implementation == "naive"
    for wrong in ({"effort": "much"}, {"effort": 3}, {"budget": 0}, {"budget": "1"}, {"budget": math.inf}, {"budget": True}):
        with pytest.raises(kernels.ProblemError, match=r"effort|budget"):
            kernels.plan("max_pool1d", (1, 2, 9), 2, **wrong)


MAP = parse("conv2d n1 c16 18x21 -> c16 k3x3 s1x1 p1+1x1+1 d1x1 g1 bias relu:0.0 float32")
VARIANTS = [name for name in candidates(MAP, 1) if ":" in name]


def test_methods_have_variants() -> None:
    assert {name.partition(":")[0] for name in VARIANTS} >= {"direct", "winograd"}
    pooled = parse(f"{str(MAP).removesuffix(' float32')} pool:max:2x2:2x2 float32")
    every = [name for method in ("direct", "winograd", "fft") for name in registry.get(pooled, method).variants(pooled, 1)]
    assert all(choose(pooled, name, 1).name == name for name in candidates(pooled, 1)) and len(every) >= 4


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_answers_right(name: str, poisoned_scratch: None) -> None:
    draw = np.random.default_rng(3)
    x, weight = (draw.standard_normal(shape).astype(np.float32) for shape in ((1, 16, 18, 21), (16, 16, 3, 3)))
    bias = draw.standard_normal(16).astype(np.float32)
    expected = np.maximum(reference.conv(x, weight, bias, (1, 1), ((1, 1), (1, 1)), (1, 1), 1), 0)
    plan = kernels.plan("conv2d", x.shape, weight, bias, padding=1, activation="relu", implementation=name, threads=1)
    assert plan.implementation == name.partition(":")[0] and f"{name}: taken" in plan.explain()
    out = np.full(plan.out_shape, np.nan, np.float32)
    assert reference.share(plan(x, out=out), expected) <= plan.error_bound <= 1e-4


def test_a_variant_that_does_not_exist_is_named() -> None:
    with pytest.raises(kernels.ProblemError, match="'winograd' has no variant '7x7' for this problem; it has "):
        choose(MAP, "winograd:7x7", 1)
    with pytest.raises(kernels.ProblemError, match="'jit' has no variant 'fast' for this problem; it has none"):
        choose(MAP, "jit:fast", 1)


# --- a busy machine

def test_races_that_do_not_agree_keep_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every race another winner, or the same at another pace: what a machine says whose other programs come and go."""
    for found in (
        itertools.cycle([{"a": 0.01, "b": 0.07}, {"a": 0.07, "b": 0.01}]), itertools.cycle([{"a": 0.01, "b": 0.9}, {"a": 0.02, "b": 0.9}]),
    ):  # fmt: skip
        monkeypatch.setattr(measure, "race", lambda *args, found=found: next(found))
        assert measure.settle({"a": lambda: None, "b": lambda: None}, budget=0.9) is None


def test_one_busy_moment_is_raced_again(clock: Clock) -> None:
    """What is fastest was held up in the whole first race, where another won that takes seven times as long."""
    calls: list[str] = []

    def fast() -> None:
        calls.append("fast")
        clock.now += 0.09 if clock.now < 1.0 else 0.01

    measured = measure.settle({"slow": clock.costing(0.07, calls, "slow"), "fast": fast}, budget=1.0)
    assert measured is not None and measured.winner == "fast"
    assert measured.seconds["fast"] == pytest.approx(0.01) and measured.spread == pytest.approx(1.0)


def test_nearly_equal_ones_settle(clock: Clock) -> None:
    times = itertools.cycle([0.0100, 0.0101, 0.0099])

    def about() -> None:
        clock.now += next(times)

    measured = measure.settle({"a": about, "b": about}, budget=0.5)
    assert measured is not None and 1 <= measured.spread < 1.05


def test_nothing_is_kept_of_a_busy_machine_and_said(monkeypatch: pytest.MonkeyPatch, clock: Clock, file: Path) -> None:
    fake(monkeypatch, clock, good=0.01, better=0.005)
    monkeypatch.setattr(measure, "settle", lambda *args: None)
    with pytest.warns(RuntimeWarning, match="nothing is kept; measure again"):
        assert measure.measure(LAYER, 1, 0.5) is None
    assert not file.exists() and tuning.recall(LAYER, 1) is None


def test_a_later_process_that_disagrees_measures_anew(monkeypatch: pytest.MonkeyPatch, clock: Clock, file: Path) -> None:
    fake(monkeypatch, clock, good=0.01, better=0.005)
    first = measure.measure(LAYER, 1, 0.5)
    assert first is not None and first.winner == "better" and '"spread": 1.0' in file.read_text()
    start_anew()
    before = clock.now
    kept = measure.measure(LAYER, 1, 0.5)
    assert kept is not None and kept.winner == "better" and 0 < clock.now - before < 0.3, "tried in short, and kept"
    start_anew()
    fake(monkeypatch, clock, good=0.004, better=0.03)
    again = measure.measure(LAYER, 1, 0.5)
    assert again is not None and again.winner == "good" and again.seconds["good"] == pytest.approx(0.004)
    assert tuning.recall(LAYER, 1) == again
    before = clock.now
    assert measure.measure(LAYER, 1, 0.5) == again and clock.now == before


# --- one entry for a layer with any epilogue

def test_what_was_measured_serves_the_layer_with_its_epilogue() -> None:
    bare = parse("conv2d n1 c16 20x20 -> c16 k3x3 s1x1 p1+1x1+1 d1x1 g1 float32")
    tuning.remember(bare, 1, tuning.Measured("im2col", {"im2col": 1e-3, "direct": 2e-3}))
    weight, numbers = np.ones((16, 16, 3, 3), np.float32), np.ones(16, np.float32)
    for options in ({"bias": numbers}, {"activation": "relu"}, {"pool": ("max", 2)}, {"scale": numbers, "activation": ("elu", 0.5)}):
        plan = kernels.plan("conv2d", (1, 16, 20, 20), weight, padding=1, threads=1, **options)
        assert plan.implementation == "im2col" and "measured fastest with another epilogue" in plan.explain()
    for other in ({"padding": 0}, {"padding": 1, "dilation": 2}, {"padding": 1, "groups": 2}):
        part = weight[:, :8] if "groups" in other else weight
        assert kernels.plan("conv2d", (1, 16, 20, 20), part, threads=1, **other).implementation != "im2col"
    layers = [kernels.layer("conv2d", weight, padding=1), kernels.layer("batch_norm", numbers, numbers), kernels.layer("max_pool2d", 2)]
    assert "im2col" in kernels.sequence(layers, (1, 16, 20, 20), threads=1).explain()


def test_an_entry_of_its_own_comes_first(monkeypatch: pytest.MonkeyPatch, clock: Clock, file: Path) -> None:
    """And is measured though a related one is known."""
    relu = parse(str(LAYER).replace("float32", "relu:0.0 float32"))
    tuning.remember(relu, 1, tuning.Measured("jit", {"jit": 1.0}))
    related = tuning.recall(LAYER, 1)
    assert related is not None and related.related and tuning.recall(LAYER, 1, exact=True) is None
    fake(monkeypatch, clock, good=0.01, better=0.005)
    found = measure.measure(LAYER, 1, 0.5)
    assert found is not None and found.winner == "better"
    assert tuning.recall(LAYER, 1) == found and tuning.recall(relu, 1) == tuning.Measured("jit", {"jit": 1.0})
    start_anew()
    read = tuning.recall(LAYER, 1)
    assert read is not None and read.winner == "better" and read.seconds == pytest.approx(found.seconds), "from the file too"
    tuning.forget(LAYER)
    tuning.forget(relu)
    assert tuning.recall(LAYER, 1) is None
