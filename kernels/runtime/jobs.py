"""How threads share out jobs: each has a run of its own, in order, and then helps the others with what is left of theirs.

The same thread does the same jobs in every call, so what it read and wrote lies in its own caches, and neighbours share their halo. A
thread that is held up, or that begins late because it slept, does fewer.
"""

from __future__ import annotations

from typing import Any

from numba.core import types
from numba.extending import intrinsic

from kernels.runtime.ir import I64, i64, read_index
from kernels.runtime.jit import njit
from kernels.runtime.pointers import write_index

COUNTER_BYTES = 64  # one counter a cache line, so that threads do not wait for each other's


@intrinsic
def _take(typing_context: Any, counter: Any) -> Any:
    """Add one to the int64 at address `counter`, atomically; the value before."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        pointer = builder.inttoptr(values[0], I64.as_pointer())
        return builder.atomic_rmw("add", pointer, i64(1), "monotonic")

    return types.int64(types.int64), codegen


@njit
def begin_jobs(counters, threads):
    """Before the region: nothing is taken; counters: the address of COUNTER_BYTES for each thread."""
    for thread in range(threads):
        write_index(counters + thread * COUNTER_BYTES, 0)


@njit
def next_job(counters, thread, threads, jobs):
    """The number of the job that this thread does next, of `jobs`; `jobs` when all are taken."""
    for further in range(threads):
        owner = (thread + further) % threads
        first, end = owner * jobs // threads, (owner + 1) * jobs // threads
        counter = counters + owner * COUNTER_BYTES
        if first + read_index(counter, 0) < end:  # a look costs less than taking in vain
            job = first + _take(counter)
            if job < end:
                return job
    return jobs
