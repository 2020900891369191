"""Arenas for calls: long ones serve all lengths, concurrent calls have their own, and they go with who needs them."""

from __future__ import annotations

import functools
import gc

import numpy as np
from processes import at_once

from kernels.network.graph import Graph
from kernels.network.model import Model
from kernels.network.twin import evaluate
from kernels.runtime.scratch import LONG

CHANNELS = 32


def graph() -> Graph:
    """Two convolutions over a free length; what lies between takes a megabyte of 8192 positions."""
    made, rng = Graph(), np.random.default_rng(0)
    y = made.input("x", (1, 1, None))
    for c_in, c_out in ((1, CHANNELS), (CHANNELS, CHANNELS), (CHANNELS, 1)):
        y = made.node("Relu", made.node("Conv", y, made.constant(rng.standard_normal((c_out, c_in, 5)) / c_in, np.float32)))
    made.output("y", y)
    return made


def signal(length: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((1, 1, length)).astype(np.float32)


def test_lengths_share_an_arena_and_other_numbers_in_it_do_not_matter() -> None:
    made = graph()
    model = Model(made, threads=2)
    places = set()
    for length in (20000, 9000, 20000, 19990, 9000):
        x = signal(length)
        got, wanted = model(x), evaluate(made, {"x": x.astype(np.float64)})["y"]
        assert np.abs(got - wanted).max() <= 1e-5 * np.abs(wanted).max()
        program = model._last
        assert program is not None and program.nbytes >= LONG and program._long is not None
        _, arena = taken = program._take()
        assert arena is not None
        arena.memory.fill(0xFF)  # NaN
        program._give(taken)
        places.add(arena.memory.ctypes.data)
    assert len(places) == 1


def test_calls_at_once_of_several_lengths() -> None:
    model, lengths = Model(graph(), threads=2), (9000, 12000, 12001, 20000)
    alone, wrong = [model(signal(length)) for length in lengths], []

    def call(i: int) -> None:
        for turn in range(20):
            i = (i + turn) % len(lengths)
            if not np.array_equal(model(signal(lengths[i])), alone[i]):
                wrong.append(i)

    at_once([functools.partial(call, i) for i in range(4)])
    assert not wrong


def test_arenas_go_with_the_last_program_that_needs_them() -> None:
    small, large = Model(graph(), threads=1), Model(graph(), threads=1)
    small(signal(9000))
    large(signal(400_000))
    assert small._last is not None and small._last._long is not None and large._last is not None
    pool, needed = small._last._long, large._last.nbytes
    assert any(arena.nbytes >= needed for arena in pool.free.values())
    del large
    gc.collect()
    assert not any(arena.nbytes >= needed for arena in pool.free.values())
    assert np.array_equal(small(signal(9000)), Model(graph(), threads=1)(signal(9000)))


def test_callers_at_once_find_their_bindings_again() -> None:
    models = [Model(graph(), threads=1) for _ in range(3)]
    for model, length in zip(models, (9000, 12000, 20000)):
        model(signal(length))
    programs = [model._last for model in models]
    for turn in range(4):
        taken = [(program, program._take()) for program in programs * 3 if program is not None]
        arenas = {arena for _, (_, arena) in taken}
        assert len(arenas) == 9
        if turn == 0:
            first = arenas
        assert arenas == first, "none was dropped while as many were taken"
        for program, each in taken:
            program._give(each)


def test_a_timeline_has_every_turns_inputs() -> None:
    """Also where a step writes in place of an input."""
    made = Graph()
    x = made.input("x", (1, 4))
    made.output("y", made.node("Relu", made.node("Add", x, made.constant(np.ones(4, np.float32)))))
    model, x1 = Model(made, threads=1), np.arange(4, dtype=np.float32)[None]
    assert len(model.timeline(x1, turns=3)) == len(model._last.steps if model._last else ())
    assert np.array_equal(model(x1), x1 + 1)
