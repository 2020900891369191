"""Measure which way is fastest: candidates are prepared on made-up operands, checked against one that is trusted, and timed in turns.

Nothing of the caller's is touched or read: the times of dense layers do not depend on their values. Turns are interleaved, every other one
in reverse order, so that a slow moment of the machine hits all alike; a candidate that falls far behind gets no more turns. A wrong answer
or a failure is warned of and never wins.
"""

from __future__ import annotations

import contextlib
import functools
import math
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from kernels.dispatch import tuning
from kernels.dispatch.heuristic import candidates, choose
from kernels.dispatch.preparation import prepare
from kernels.dispatch.tuning import Measured
from kernels.methods import load, registry
from kernels.methods.contract import operation
from kernels.problem.arrays import frozen
from kernels.problem.conv import Conv, Problem
from kernels.problem.errors import ProblemError, RefusedError
from kernels.problem.operands import Operands
from kernels.runtime.locks import lock
from kernels.runtime.machine import memory

Array = np.ndarray

SLICE = 2e-3  # seconds of a turn: a call of microseconds is timed many times
LEAST, LONG = 3, 10  # calls of the first turn, as one alone may meet whatever else the machine does; but one of a tenth of the budget
BEHIND, FAR = 1.3, 4.0  # times the fastest so far, by each one's fastest call: no more turns; after one or two calls
ENOUGH = 30  # turns
RACES, TIED, STEADY = 4, 1.1, 1.3  # races at most; times the fastest as which another is as fast, and another race's time is the same
PAUSE = 0.02  # seconds between races: another program's turn is over by then
RIVALS = 2  # with which a remembered winner is tried
ARRAYS = 8  # as many copies of all that a layer reads and writes must fit the memory

clock = time.perf_counter
_one_at_a_time = lock()
_seen: set[tuple[Problem, int]] = set()  # problems and threads that this process measured, or tried what another had found of them


def measure(problem: Problem, threads: int, budget: float) -> Measured | None:
    """The fastest way to do a problem on so many threads, remembered from before or found now by calls of about `budget` seconds in all,
    the most promising first and two candidates at least. Preparing them comes on top. What an earlier process found is tried once, and
    found anew where this one disagrees. None where there is nothing to time, where the made-up arrays would fill the memory, and with a
    warning where races do not agree on who wins: what a busy machine says is not kept."""
    load()
    with _one_at_a_time:
        known = tuning.recall(problem, threads, exact=True)
        if problem.n == 0 or ARRAYS * problem.compulsory_bytes > memory():
            return known
        if known is not None and _holds(problem, threads, known, budget):
            return known
        ready = checked(problem, threads, candidates(problem, threads), budget / 2)
        if not ready:
            return None
        measured = settle(ready, budget / 4, lingering(problem))
        if measured is None:
            text = "races did not agree on the fastest method, so nothing is kept; measure again when no other program is at work"
            warnings.warn(f"{problem}: {text}", RuntimeWarning, stacklevel=3)
            return None
        tuning.remember(problem, threads, measured)
        _seen.add((problem, threads))
        return measured


def _holds(problem: Problem, threads: int, known: Measured, budget: float) -> bool:
    """Whether what was remembered is so in this process too: its winner against its rivals, once."""
    if (problem, threads) in _seen:
        return True
    _seen.add((problem, threads))
    rivals = sorted(known.seconds, key=known.seconds.__getitem__)[:RIVALS]
    names = list(dict.fromkeys([known.winner, *rivals, choose(problem, threads=threads).name]))
    with contextlib.suppress(ProblemError, RefusedError):  # an entry that was written by hand
        seconds = race(checked(problem, threads, names, budget / 8), budget / 8, lingering(problem))
        return known.winner in seconds and seconds[known.winner] <= BEHIND * min(seconds.values())
    return False


def settle(calls: Mapping[str, Callable[[], Any]], budget: float, lingers: Callable[[str], float] = lambda name: 0.0) -> Measured | None:
    """What races of `budget` seconds each find, two at least, until two that follow each other agree: on the winner, or that both winners
    are as fast, and on its time. None if RACES of them do not."""
    last: dict[str, float] = {}
    for _ in range(RACES):
        now = race(calls, budget, lingers)
        if last:
            both = {name: min(last[name], now[name]) for name in now}
            winner = min(both, key=both.__getitem__)
            spread = max(last[winner], now[winner]) / both[winner]
            if all(times[winner] <= TIED * min(times.values()) for times in (last, now)) and spread <= STEADY:
                return Measured(winner, both, spread)
        last = now
        time.sleep(PAUSE)
    return None


def operands_for(problem: Problem, draw: np.random.Generator) -> Operands:
    """Made-up operands whose outputs are of about 1."""
    if not isinstance(problem, Conv):
        return Operands()
    dtype, channels = np.dtype(problem.dtype), problem.c_out
    weight = draw.standard_normal(problem.weight_shape, dtype)  # type: ignore[arg-type]
    weight /= dtype.type(math.sqrt(problem.summands))
    bias = draw.standard_normal(channels).astype(dtype) if problem.bias else None
    if not problem.scale:
        return Operands(weight, bias)
    return Operands(weight, bias, draw.uniform(0.5, 1.5, channels).astype(dtype), draw.standard_normal(channels).astype(dtype))


def outs_of(problem: Problem) -> list[Array]:
    """Uninitialised arrays for its outputs: the values, and where they are asked for the positions of maxima."""
    outs = [np.empty(problem.out_shape, problem.dtype)]
    if not isinstance(problem, Conv) and problem.return_indices:
        outs.append(np.empty(problem.out_shape, np.int64))
    return outs


def checked(problem: Problem, threads: int, names: list[str], budget: float) -> dict[str, Callable[[], None]]:
    """A call of each of these that answered right, of as many as fit the budget."""
    draw, dtype = np.random.default_rng(0), np.dtype(problem.dtype)
    x = frozen(draw.standard_normal(problem.x_shape, dtype))  # type: ignore[arg-type]
    operands = operands_for(problem, draw)
    outs = outs_of(problem)

    def answer(name: str) -> tuple[Callable[[], None], float, float]:
        """(its call, the seconds that took, its error bound), the answer in outs."""
        choice = choose(problem, name, threads)
        call = functools.partial(prepare(problem, choice, threads).pack(operands), x, *outs)
        for out in outs:
            out.fill(-1 if out.dtype.kind == "i" else math.nan)
        return call, timed(call), choice.implementation.error_bound(problem)

    every = registry.every(operation(problem))
    supported = [name for name, sentence in registry.refusals(problem).items() if sentence is None]
    trusted = max(supported, key=lambda name: every[name].trust)  # what the others must agree with
    _, _, bound = answer(trusted)
    expected = [out.copy() for out in outs]
    largest = float(np.max(np.abs(expected[0]), initial=_before_activation(problem, operands, x, threads, trusted)))
    ready: dict[str, Callable[[], None]] = {}
    spent = 0.0
    for name in names:
        if spent > budget and len(ready) >= 2:
            break
        try:
            call, seconds, own = answer(name)
        except Exception as error:  # whatever it is, the others can still be measured
            warnings.warn(f"{problem}: {name} failed while it was measured: {error!r}", RuntimeWarning, stacklevel=3)
            continue
        spent += seconds
        off = float(np.max(np.abs(outs[0] - expected[0]), initial=0.0)) / largest
        if not off <= 2 * (bound + own) or any(np.any(out != right) for out, right in zip(outs[1:], expected[1:])):
            text = f"{name} differs from {trusted} by {off:.1e} of the largest output, its bound is {own:.1e}; it is not considered"
            warnings.warn(f"{problem}: {text}", RuntimeWarning, stacklevel=3)
            continue
        ready[name] = call
    return ready


def _before_activation(problem: Problem, operands: Operands, x: Array, threads: int, trusted: str) -> float:
    """The largest sum, of which error bounds are shares: an activation may cap it."""
    if not isinstance(problem, Conv) or problem.activation is None:
        return 0.0
    bare, y = problem.bare(), np.empty(problem.conv_shape, problem.dtype)
    prepare(bare, choose(bare, trusted, threads), threads).pack(Operands(operands.weight, operands.bias))(x, y)
    return float(np.max(np.abs(y)))


def timed(call: Callable[[], Any]) -> float:
    """Seconds of a call."""
    begin = clock()
    call()
    return clock() - begin


def lingering(problem: Problem) -> Callable[[str], float]:
    """Seconds for which a method's threads, by its name or a variant's, go on spinning beside whoever is next."""
    every = registry.every(operation(problem))
    return lambda name: every[name.partition(":")[0]].lingers


def race(
    calls: Mapping[str, Callable[[], Any]], budget: float, lingers: Callable[[str], float] = lambda name: 0.0, *, everybody: bool = False
) -> dict[str, float]:
    """Seconds of the fastest call of each, which nothing else that the machine does has touched, from turns in alternating order.
    lingers: what to wait after a turn of one. everybody: none is left behind."""
    samples: dict[str, list[float]] = {name: [] for name in calls}
    running, end = list(calls), clock() + budget
    for _ in range(ENOUGH):
        for name in running:
            turn = [timed(calls[name])]
            if turn[0] < budget / LONG:  # then it only woke the threads and filled the caches
                turn = [timed(calls[name])]
                while sum(turn) < SLICE or len(samples[name]) + len(turn) < LEAST:
                    turn.append(timed(calls[name]))
            samples[name] += turn
            if len(running) > 1:
                time.sleep(lingers(name))
        fastest = min(min(samples[name]) for name in running)
        limits = {name: fastest * (math.inf if everybody else BEHIND if len(samples[name]) > 2 else FAR) for name in running}
        running = [name for name in reversed(running) if min(samples[name]) <= limits[name]]
        if clock() >= end or (len(running) == 1 and len(samples[running[0]]) > 1):
            break
    return {name: min(times) for name, times in samples.items()}
