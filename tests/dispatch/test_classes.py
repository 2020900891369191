"""Another length of a known class is planned without an enumeration, as well as anew, and computes right."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from patience import lines_run

import kernels
from kernels.cost import classes
from kernels.cost.calibration import threads_for
from kernels.dispatch import choices as plans
from kernels.dispatch.choices import choice_for
from kernels.dispatch.heuristic import choose
from kernels.methods import load
from kernels.methods.depthwise import blocking as depthwise
from kernels.methods.depthwise import method as depthwise_method
from kernels.methods.direct import blocking as direct
from kernels.methods.direct import method as direct_method
from kernels.methods.fft import blocking as fft
from kernels.methods.fft import scipy_blocking as scipy_route
from kernels.methods.winograd import blocking as winograd
from kernels.runtime.machine import pretend

load()
DRAW = np.random.default_rng(0)


def layer(op: str, channels: int, h: int, *weight: int, **options: Any) -> Any:
    """length -> the layer's arguments."""
    shape = (1, channels, h) if h and op.endswith("2d") else (1, channels)
    return lambda length: ((op, (*shape, length), DRAW.standard_normal(weight, dtype=np.float32)), options)


LAYERS = {
    "3x3": layer("conv2d", 32, 40, 32, 32, 3, 3, padding=1), "3x3 of few": layer("conv2d", 1, 96, 16, 1, 3, 3, padding="same"),
    "pooled": layer("conv2d", 32, 40, 32, 32, 3, 3, padding=1, activation="relu", pool=("max", 2)),
    "strided": layer("conv2d", 16, 48, 32, 16, 5, 5, stride=2, padding=2), "tall": layer("conv2d", 4, 80, 24, 4, 40, 3),
    "long": layer("conv1d", 1, 0, 4, 1, 3000), "line": layer("conv1d", 32, 0, 64, 32, 3, padding=1),
    "point": layer("conv1d", 64, 0, 32, 64, 1),
    "depthwise": layer("conv2d", 16, 48, 16, 1, 3, 3, groups=16, padding=1),
    "transposed": layer("conv_transpose2d", 16, 20, 16, 16, 4, 4, stride=2),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
def test_every_length_of_a_class_computes_right(name: str) -> None:
    """Shorter and longer than the first, as plans and as calls, on one thread and two."""
    base = 12_000 if name == "long" else 300
    for i, length in enumerate((base, base - 31, base + 37, base + 64, 2 * base // 3, base + 1)):
        (op, shape, weight), options = LAYERS[name](length)
        x = DRAW.standard_normal(shape, dtype=np.float32)
        threads = 1 + i % 2 if i < 4 else None
        plan = kernels.plan(op, shape, weight, threads=threads, **options)
        out = np.full(plan.out_shape, np.nan, np.float32)
        plan(x, out=out)
        expected = getattr(kernels, op)(x, weight, implementation="im2col", **options)
        largest = np.abs(expected).max()
        np.testing.assert_allclose(out, expected, rtol=0, atol=2e-4 * largest)
        found = getattr(kernels, op)(x, weight, threads=threads, **options)
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-4 * largest)


@pytest.mark.parametrize("name", LAYERS)
def test_a_known_class_enumerates_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted, not timed: candidates are not even asked for."""
    base = 12_000 if name == "long" else 300

    def both(length: int) -> None:
        (op, shape, weight), options = LAYERS[name](length)
        kernels.plan(op, shape, weight, **options)
        getattr(kernels, op)(np.zeros(shape, np.float32), weight, **options)

    for length in (base - 20, base - 8, base + 20):  # paddings of each kind
        both(length)
    counted: list[str] = []
    for module, function in ((direct, "candidates"), (winograd, "_blockings"), (fft, "candidates"), (scipy_route, "transformed")):
        original = getattr(module, function)

        def counting(*args: Any, _name: str = f"{module.__name__}.{function}", _original: Any = original) -> Any:
            counted.append(_name)
            return _original(*args)

        monkeypatch.setattr(module, function, counting)
    monkeypatch.setattr(plans, "choose", lambda *args, **options: counted.append("choose") or choose(*args, **options))
    for length in range(base - 16, base + 16, 4):
        both(length)
    assert counted == []


def test_resized_blockings_are_nearly_as_good_as_those_found_anew() -> None:
    """By the same estimate, over half an octave."""
    for name in ("3x3", "3x3 of few", "strided", "line", "point", "tall"):
        for threads in (1, 2):
            worst = 1.0
            for length in range(260, 362, 17):
                (op, shape, weight), options = LAYERS[name](length)
                problem = kernels.plan(op, shape, weight, implementation="direct", **options).problem
                resized = direct.best(problem, threads).cycles
                anew = direct.best.__wrapped__(problem, threads).cycles
                worst = max(worst, resized / anew)
            assert worst < 1.35, (name, threads)


@pytest.mark.parametrize("name", ["3x3", "3x3 of few", "line", "point", "depthwise"])
def test_threads_are_those_of_the_estimate(name: str) -> None:
    """Where the multiply-adds tell, and where they do not: for the shortest layers, the longest and those between."""
    found = set()
    for length in (1, 2, 4, 8, 16, 32, 70, 300, 2000):
        (op, shape, weight), options = LAYERS[name](length)
        problem = kernels.plan(op, shape, weight, **options).problem
        ways = [(depthwise_method._threads_for, depthwise.cycles)] if problem.groups > 1 else [
            (direct_method.threads_of, lambda problem: direct.best(problem, 1).cycles),
            (winograd.threads_of, lambda problem: winograd.best(problem, 1).cycles),
        ]  # fmt: skip
        for threads_of, cycles in ways:
            if threads_of is not winograd.threads_of or set(problem.kernel) <= set(winograd.TILES):
                assert threads_of(problem, 2) == threads_for(cycles(problem), 2)
                found.add(threads_of(problem, 2))
    assert found == {1, 2}


def test_a_depthwise_layout_that_another_length_refuses_is_chosen_anew() -> None:
    """Planes are not taken where results outgrow the last cache, though the class began below it."""
    small, large = (kernels.parse(f"conv2d n1 c16 {rows}x64 -> c16 k3x3 s1x1 p1+1x1+1 d1x1 g16 float32") for rows in (300, 360))
    bytes_of = [4 * int(np.prod(problem.conv_shape)) for problem in (small, large)]
    assert classes.class_of(small) == classes.class_of(large)
    with pretend(l3=sum(bytes_of) // 2):
        assert depthwise_method._layout(small, 1, depthwise.PLANES) == depthwise.PLANES
        assert depthwise_method._layout(large, 1, depthwise.PLANES) != depthwise.PLANES


def test_batches_that_hold_no_whole_groups_of_images_keep_the_tile() -> None:
    """And are cut nearly as well as if all tiles had been looked at."""
    load()
    layer = "conv2d n{} c72 14x4 -> c96 k1x3 s1x1 p0+0x1+1 d1x1 g1 float32"
    for threads in (1, 2):
        first = winograd.best(kernels.parse(layer.format(120)), threads)
        assert first.images > 1
        for n in (97, 101, 122, 123, 127):  # of the same class
            problem = kernels.parse(layer.format(n))
            resized, anew = winograd.best(problem, threads), winograd.best.__wrapped__(problem, threads)
            assert n % resized.images == 0 and (resized.mh, resized.mw) == (first.mh, first.mw)
            assert resized.cycles < 1.35 * anew.cycles


def test_classes() -> None:
    assert [classes.near(length) for length in (1, 64)] == [1, 64]
    assert classes.near(300) == classes.near(340) != classes.near(400) and classes.near(100_000) == classes.near(110_000)
    one, two = (kernels.plan("conv1d", (1, 1, n), np.ones((1, 1, 3), np.float32)).problem for n in (300, 340))
    assert classes.class_of(one) == classes.class_of(two)
    of = [classes.class_of(kernels.plan("conv1d", (n, 1, 300), np.ones((1, 1, 3), np.float32)).problem) for n in (3, 4, 100, 110, 140)]
    assert of[0] != of[1] and of[2] == of[3] != of[4], "batches to half an octave too"
    other = kernels.plan("conv1d", (1, 1, 300), np.ones((1, 1, 3), np.float32), activation="relu").problem
    assert classes.class_of(other) != classes.class_of(one)
    high = [kernels.parse(f"conv2d n1 c2 {rows}x20 -> c2 k1x1 s1x1 p0+0x0+0 d1x1 g1 float32") for rows in (16, 40, 41)]
    assert len({classes.class_of(problem) for problem in high}) == 3
    assert len({classes.class_of(problem, classes.ROWS) for problem in high}) == 2
    assert classes.class_of((high[0], None)) == (classes.class_of(high[0]), None), "several problems are one"
    held: classes.Classes[int] = classes.Classes()
    for i in range(classes.CLASSES + 10):
        held.put(i, None, i)
        assert held.get(0) is not None, "what is used stays"
    assert held.get(5) is None and held.get(classes.CLASSES + 9) is not None


def test_parts() -> None:
    assert classes.step_like(300, 300, 100) == 100 and classes.step_like(300, 300, 300) == 300
    assert classes.step_like(330, 300, 100) == 110 and classes.step_like(330, 300, 100, 32) == 128
    assert classes.step_like(10, 300, 100) == 10 and classes.step_like(301, 300, 150, more=1) == 101


def test_choices_follow_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """A class never hides a measurement."""
    from kernels.dispatch import tuning

    monkeypatch.setenv("KERNELS_TUNING", "off")
    (op, shape, weight), options = LAYERS["3x3"](310)
    kernels.plan(op, shape, weight, **options)
    problem = kernels.plan(op, (*shape[:3], 311), weight, **options).problem
    threads = kernels.plan(op, shape, weight, **options).threads
    tuning.remember(problem, threads, tuning.Measured("im2col", {"im2col": 1e-3, "direct": 2e-3}))
    try:
        assert choice_for(problem, "auto", threads).name == "im2col"
        assert kernels.plan(op, (*shape[:3], 312), weight, **options).implementation != "im2col"
    finally:
        tuning.forget(problem)


def test_a_long_filters_taps_are_counted_once() -> None:
    """A second length through one response of 100,000 taps: 10 s of Python each when taps met blocks and phases in loops."""
    weight = DRAW.standard_normal((1, 1, 100_000), dtype=np.float32)
    kernels.plan("conv1d", (1, 1, 400_000), weight)
    for length in (400_100, 410_000, 433_333):
        assert lines_run(lambda length=length: kernels.plan("conv1d", (1, 1, length), weight)) < 50_000  # about 3,400
