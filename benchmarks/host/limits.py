"""What this machine can do at most, measured: float32 multiply-adds a second, bytes a second to and from memory, launches of threads.

FMA peak: a loop over independent vector accumulators that never leaves the registers, written in LLVM IR so that no compiler decides
otherwise, for each vector width; the best counts. Bandwidth: y = a*x and y = x over arrays several times the last cache, reads plus writes
counted; the former is the limit that cells are held to, the latter may use stores that pass the caches by. Both run on plain Python threads
that hold no lock, so no threading layer takes part. Launch: a call of a parallel region of the library with nothing in it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from statistics import median
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from kernels.runtime.regions import region

ACCUMULATORS = 12  # at 4 cycles latency and 2 a cycle, 8 keep the units busy; 12 and two constants still fit 16 registers
FLOPS_PER_FMA = 2
LANES = (4, 8, 16)  # of float32: SSE and NEON, AVX2, AVX-512; what a CPU lacks is made of two narrower ones
REPEATS, LAUNCHES = 9, 500
ARRAY_BYTES = 128 << 20  # each of two arrays; larger than the last cache of common machines


@cache
def _fma_loop(lanes: int) -> Any:
    """A compiled function (iterations) -> float that does iterations x ACCUMULATORS x lanes multiply-adds."""
    vector, i64 = ir.VectorType(ir.FloatType(), lanes), ir.IntType(64)

    @intrinsic
    def spin(typing_context: Any, iterations: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fma.v{lanes}f32")
            shrink, grow = (ir.Constant(vector, [value] * lanes) for value in (0.999, 0.001))  # converges to 1: no denormals, no infinities
            sums = [cgutils.alloca_once_value(builder, ir.Constant(vector, [0.1 * each] * lanes)) for each in range(ACCUMULATORS)]
            with cgutils.for_range(builder, arguments[0], intp=i64):
                for each in sums:
                    builder.store(builder.call(fma, [builder.load(each), shrink, grow]), each)
            total = builder.load(sums[0])
            for each in sums[1:]:
                total = builder.fadd(total, builder.load(each))
            return builder.fpext(builder.extract_element(total, ir.Constant(ir.IntType(32), 0)), ir.DoubleType())

        return types.float64(types.int64), generate

    @njit(types.float64(types.int64), nogil=True)
    def loop(iterations: int) -> float:
        return spin(iterations)

    return loop


def _spin(lanes: int, iterations: int, worker: int) -> float:
    return float(_fma_loop(lanes)(iterations))


def _together(work: Callable[[int], Any], threads: int, pool: ThreadPoolExecutor) -> float:
    """Seconds until work(0) … work(threads-1) are all done."""
    start = time.perf_counter()
    for done in [pool.submit(work, each) for each in range(threads)]:
        done.result()
    return time.perf_counter() - start


def _spread(values: list[float]) -> float:
    """Half the distance between the quartiles, as a share of the median."""
    low, high = np.percentile(values, [25, 75])
    return float((high - low) / 2 / median(values))


def fma_gflops(threads: int, repeats: int = REPEATS) -> dict[int, tuple[float, float]]:
    """Lanes of a vector -> (median GFLOP/s, spread)."""
    found = {}
    with ThreadPoolExecutor(threads) as pool:
        for lanes in LANES:
            _fma_loop(lanes)  # compile before the clock runs
            iterations = 1000
            while (seconds := _together(partial(_spin, lanes, iterations), threads, pool)) < 0.01:
                iterations *= 4
            iterations = int(iterations * 0.03 / seconds)
            flops = FLOPS_PER_FMA * ACCUMULATORS * lanes * iterations * threads
            rates = [flops / _together(partial(_spin, lanes, iterations), threads, pool) / 1e9 for _ in range(repeats)]
            found[lanes] = median(rates), _spread(rates)
    return found


def bandwidth_gbs(threads: int, repeats: int = REPEATS, array_bytes: int = ARRAY_BYTES) -> dict[str, tuple[float, float]]:
    """"scale" (y = a*x) and "copy" (y = x) -> (median GB/s, spread), bytes read plus bytes written."""
    x = np.ones(array_bytes // 4, np.float32)
    y = np.zeros_like(x)
    parts = list(zip(np.array_split(x, threads), np.array_split(y, threads), strict=True))

    def scale(each: int) -> None:
        np.multiply(parts[each][0], np.float32(1.5), out=parts[each][1])

    def copy(each: int) -> None:
        np.copyto(parts[each][1], parts[each][0])

    found = {}
    with ThreadPoolExecutor(threads) as pool:
        for name, work in (("scale", scale), ("copy", copy)):
            rates = [2 * x.nbytes / _together(work, threads, pool) / 1e9 for _ in range(repeats + 1)]
            found[name] = median(rates[1:]), _spread(rates[1:])  # the first touches pages
    return found


@region
def _nothing(task, thread, counts):
    counts[task] += 1


def launch_us(threads: int, launches: int = LAUNCHES) -> tuple[float, float]:
    """(median microseconds, spread) of one call of an empty parallel region, calls following each other."""
    counts = np.zeros(threads, np.int64)
    call = _nothing.ready(counts)
    seconds = []
    for _ in range(launches + 10):
        start = time.perf_counter()
        call(threads, threads, counts)
        seconds.append(time.perf_counter() - start)
    return median(seconds[10:]) * 1e6, _spread(seconds[10:])  # the first ones start and wake the threads


def measure(threads: int) -> dict[str, float]:
    """The entry of run.json's limits for this many threads."""
    by_lanes, by_kind, launch = fma_gflops(threads), bandwidth_gbs(threads), launch_us(threads)
    best = max(by_lanes.values())
    found = {"fma_gflops": best[0], "fma_spread": best[1], "bandwidth_gbs": by_kind["scale"][0], "bandwidth_spread": by_kind["scale"][1]}
    for lanes, (rate, spread) in by_lanes.items():
        found |= {f"fma{lanes}_gflops": rate, f"fma{lanes}_spread": spread}
    found |= {"copy_gbs": by_kind["copy"][0], "copy_spread": by_kind["copy"][1], "launch_us": launch[0], "launch_spread": launch[1]}
    return {name: round(value, 4) for name, value in found.items()}
