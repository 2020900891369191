"""Compiling ahead: what a first call compiles lies in the disk cache from then on, so a container that was built with it begins at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from kernels.dispatch.heuristic import choose
from kernels.dispatch.measure import operands_for, outs_of
from kernels.dispatch.preparation import prepare
from kernels.problem.conv import Problem, parse

# A layer of each kind that music models have: every engine's driver and its usual tiles
USUAL = """
conv2d n1 c1 96x64 -> c64 k7x7 s2x2 p3+3x3+3 d1x1 g1 float32
conv2d n1 c64 40x40 -> c64 k3x3 s1x1 p1+1x1+1 d1x1 g1 float32
conv2d n1 c64 24x24 -> c128 k3x3 s2x2 p1+1x1+1 d1x1 g1 float32
conv2d n1 c256 12x8 -> c256 k1x1 s1x1 p0+0x0+0 d1x1 g1 float32
conv2d n1 c64 32x32 -> c64 k3x3 s1x1 p1+1x1+1 d1x1 g64 float32
conv1d n1 c1 1x16000 -> c128 k1x1024 s1x4 p0+0x0+0 d1x1 g1 float32
conv1d n1 c64 1x1000 -> c64 k1x64 s1x1 p0+0x0+0 d1x1 g1 float32
conv1d n1 c32 1x1500 -> c32 k1x3 s1x1 p0+0x1+1 d1x2 g1 float32
conv1d n1 c64 1x1500 -> c64 k1x9 s1x1 p0+0x4+4 d1x1 g64 float32
conv1d n1 c512 1x100 -> c64 k1x1 s1x1 p0+0x0+0 d1x1 g1 float32
conv_transpose1d n1 c64 1x200 -> c32 k1x16 s1x8 p0+0x0+0 d1x1 g1 o0x0 float32
conv_transpose2d n1 c64 32x16 -> c32 k4x4 s2x2 p1+1x1+1 d1x1 g1 o0x0 float32
max_pool2d n1 c64 40x40 -> k2x2 s2x2 p0+0x0+0 d1x1 float32
avg_pool2d n1 c64 20x20 -> k20x20 s20x20 p0+0x0+0 d1x1 float32
max_pool1d n1 c64 1x1500 -> k1x4 s1x4 p0+0x0+0 d1x1 float32
"""


def usual() -> list[Problem]:
    """The problems of USUAL."""
    return [parse(line) for line in USUAL.split("\n") if line]


def warm(problems: Sequence[Problem], threads: int, say: Callable[[str], None]) -> None:
    """Compile what "auto" takes for each problem, and say so line by line."""
    draw, began = np.random.default_rng(0), time.perf_counter()
    for i, problem in enumerate(problems, 1):
        outs, taken = outs_of(problem), []
        for packs in (False, True):  # a plan, whose weights are packed once, and a call, which may read them as they are
            choice = choose(problem, "auto", threads, packs=packs)
            run = prepare(problem, choice, threads, packs=packs).pack(operands_for(problem, draw))  # packing compiles code of its own
            run(np.zeros(problem.x_shape, problem.dtype), *outs)
            taken.append(choice.name)
        say(f"{i:3} of {len(problems)}  {time.perf_counter() - began:5.1f} s  {', '.join(dict.fromkeys(taken))}: {problem}")
