"""Regions on workers: every task done once whoever comes, late, held and absent workers, forks, exits, signals, many callers.

Nothing here is timed: what a worker did or did not do shows in what it wrote.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numba
import numpy as np
import pytest
from marks import python
from patience import until
from processes import at_once

from kernels.runtime import pool, workers
from kernels.runtime.atomics import add, doze, load
from kernels.runtime.machine import cores, quota
from kernels.runtime.regions import region

ROOT = Path(__file__).parent.parent.parent
several = pytest.mark.skipif(cores() < 2, reason="one core: there are no workers")


@region
def count(task, thread, done, by):
    """Each task leaves a mark of its own, and who did it."""
    done[task] += 1
    by[task] = thread


@region
def hold(task, thread, done, by, finished):
    """A worker holds its first task until every other task is done."""
    if thread > 0 and load(finished) < len(done) - 1:
        while load(finished) < len(done) - 1:
            doze()
    elif thread == 0:
        doze()  # long enough that a worker can come
    done[task] += 1
    by[task] = thread
    add(finished, 1)


@region
def slowly(task, thread, done):
    """A few milliseconds each."""
    for _ in range(50):
        doze()
    done[task] += 1


@region
def fails(task, thread, done):
    """One task raises."""
    if task == 3:
        raise MemoryError
    done[task] += 1


@region
def halves(task, thread, x):
    """Half the smallest normal number, which is a denormal."""
    x[task] = x[task] / 2


def run(threads: int, tasks: int) -> tuple[np.ndarray, np.ndarray]:
    done, by = np.zeros(tasks, np.int64), np.full(tasks, -1)
    count(threads, tasks, done, by)
    return done, by


@pytest.fixture
def settings() -> Iterator[None]:
    """What a test writes to the pool's settings is undone."""
    workers.link()
    places = pool.LIMIT, pool.SLICE_TICKS, pool.GAP_TICKS, pool.SPIN_TICKS, pool.STALL_TICKS, pool.PROBE_TICKS, pool.ALONE
    before = [pool.read(place) for place in places]
    yield
    for place, value in zip(places, before):
        pool.write(place, value)


@pytest.mark.parametrize("threads", [1, 2, 3, 64])
@pytest.mark.parametrize("tasks", [0, 1, 2, 3, 7, 1000])
def test_every_task_is_done_once(threads: int, tasks: int) -> None:
    done, by = run(threads, tasks)
    assert (done == 1).all() and (by >= 0).all() and (by < threads).all()


@several
def test_a_held_worker_delays_no_other_task(settings: None) -> None:
    """If the caller waited for tasks that nobody has begun, or a worker's run were its own, this would never end."""
    pool.write(pool.STALL_TICKS, 10**13)  # an hour: on a busy machine too workers are summoned, whatever they took before
    pool.write(pool.ALONE, 0)
    helped = []

    def often_enough() -> bool:
        done, by, finished = np.zeros(40, np.int64), np.full(40, -1), np.zeros(1, np.int64)
        hold(2, 40, done, by, finished.ctypes.data)
        assert (done == 1).all()
        assert (by == 1).sum() <= 1, "the worker got further than its first task"
        helped.extend(task for task in range(40) if by[task] == 1)
        return len(helped) >= 5

    until(often_enough, "no worker ever came")


@several
def test_workers_that_never_come_are_not_waited_for(settings: None) -> None:
    pool.write(pool.LIMIT, 1)  # nobody but the caller may take part
    for _ in range(20):
        done, by = run(2, 50)
        assert (done == 1).all() and (by == 0).all()


@several
def test_workers_that_died_are_not_waited_for() -> None:
    """A process whose workers the system ended, as if each had been killed: the pool believes in them, nobody is there."""
    python("""
        pool.write(pool.WORKERS, 3)
        workers.STATE.participants = 4
        for _ in range(20):
            done = np.zeros(50, np.int64)
            mark(4, 50, done)
            assert (done == 1).all()
    """)


def test_results_do_not_depend_on_who_came(settings: None) -> None:
    x = np.random.default_rng(0).standard_normal((2, 8, 30, 30)).astype(np.float32)
    w = np.random.default_rng(1).standard_normal((16, 8, 3, 3)).astype(np.float32)
    import kernels

    plan = kernels.plan("conv2d", x.shape, w, threads=2, implementation="winograd")
    together = [plan(x) for _ in range(5)]
    pool.write(pool.LIMIT, 1)
    alone = plan(x)
    assert all((y == alone).all() for y in together)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("slice_ticks", [2000, -1])
def test_a_region_that_takes_long_is_cut_and_gone_on_with(settings: None, threads: int, slice_ticks: int) -> None:
    """Slices of less than a microsecond, and slices that are over before they begin: each does a task of every participant at least."""
    done, by = np.zeros(30, np.int64), np.zeros(30, np.int64)
    launch = count.ready(done, by)
    pool.write(pool.SLICE_TICKS, slice_ticks)
    launch(threads, 30, done, by)
    assert (done == 1).all()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers on this system")
@pytest.mark.parametrize("threads", [1, 2])
def test_a_signal_is_seen_between_tasks(threads: int) -> None:
    """Ctrl-C ends a long region after the tasks that are being computed; the next region is whole."""
    done = np.zeros(4000, np.int64)
    launch = slowly.ready(done)
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(KeyboardInterrupt):
            launch(threads, len(done), done)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
    assert 0 < done.sum() < len(done)
    assert all((run(2, 100)[0] == 1).all() for _ in range(40)), "slots were lost"


@pytest.mark.parametrize("threads", [1, 2])
def test_a_task_that_raises_is_told(threads: int) -> None:
    for _ in range(20):  # more often than there are slots
        with pytest.raises(MemoryError, match="could not allocate"):
            fails(threads, 10, np.zeros(10))
    assert (run(2, 100)[0] == 1).all()


@pytest.mark.parametrize("threads", [1, 2])
def test_denormals_are_flushed_inside_only(threads: int) -> None:
    tiny = np.finfo(np.float32).tiny
    x = np.full(8, tiny, np.float32)
    halves(threads, 8, x)
    if "x86" in numba.core.registry.cpu_target.target_context.codegen()._tm.triple:
        assert (x == 0).all()
    x = np.full(8, tiny, np.float32)
    halves.exact(threads, 8, x)
    assert (x == np.float32(tiny) / 2).all() and (x > 0).all()
    assert tiny / np.float32(2) > 0, "the thread's state was not restored"


def test_eight_callers_at_once() -> None:
    def work() -> bool:
        return all((run(2, 37)[0] == 1).all() for _ in range(300))

    assert at_once([work] * 8) == [True] * 8
    until(lambda: pool.read(pool.RUNNING) == 0)  # a worker that found a closed slot may still be on its way out


def test_more_callers_than_slots(settings: None) -> None:
    done = [np.zeros(6, np.int64) for _ in range(pool.REGIONS + 6)]
    launch = slowly.ready(done[0])
    at_once([lambda each=each: launch(2, 6, each) for each in done])
    assert all((each == 1).all() for each in done)


@several
@pytest.mark.parametrize("kept", [True, False], ids=["a probe keeps its core", "loses it"])
def test_a_probe_ends_the_time_without_workers(settings: None, kept: bool) -> None:
    """After a stall, the next hour belongs to callers alone; a worker that keeps its core ends that, one that loses it does not."""
    run(2, 50)
    hour = 10**13  # ticks
    pool.write(pool.STALL_TICKS, hour if kept else 0)  # between two looks, more than which is a lost core
    pool.write(pool.PROBE_TICKS, 1000)
    pool.write(pool.ALONE, pool.now() + hour)
    probes = 0
    while not probes or pool.read(pool.PROBING):
        pool.write(pool.PROBE, 0)
        run(2, 50)
        probes += pool.read(pool.PROBE) > 0
        time.sleep(1e-3)
    assert (pool.read(pool.ALONE) <= pool.now()) == kept
    if not kept:
        assert (run(2, 50)[1] == 0).all()


@several
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_idle_workers_sleep() -> None:
    """After some milliseconds without work no thread of the process but Python's uses the CPU."""
    python("""
        def ticks():
            return sum(int(Path(f"/proc/self/task/{t}/stat").read_text().rpartition(")")[2].split()[11])
                       for t in os.listdir("/proc/self/task") if int(t) != os.getpid())
        done, others = np.zeros(50, np.int64), set(os.listdir("/proc/self/task"))  # BLAS's, and one that compiled and is about to end
        for _ in range(200):
            mark(2, 50, done)
        assert len(set(os.listdir("/proc/self/task")) - others) == 1
        def quiet():  # a worker that had no core until now still has to find that its time is over
            before = ticks()
            time.sleep(0.5)
            return ticks() - before <= 1  # of 50
        until(quiet)
    """)


def test_nothing_starts_before_the_first_parallel_region() -> None:
    python("""
        done = np.zeros(50, np.int64)
        mark(1, 50, done)
        mark(2, 1, done)
        assert workers.STATE.participants <= 2 and threading.active_count() == 1
        import kernels
        kernels.conv2d(np.ones((1, 1, 9, 9), np.float32), np.ones((1, 1, 3, 3), np.float32), threads=1)
    """)


ENDS = {
    "falls off the end": "",
    "sys.exit": "sys.exit(0)",
    "os._exit": "sys.stdout.flush(); os._exit(0)",
    "an exception that is caught": "try:\n    1 / 0\nexcept ZeroDivisionError:\n    pass",
    "a daemon thread in a region": "threading.Thread(target=lambda: [mark(2, 50, done) for _ in range(10**9)], daemon=True).start()\n"
    "time.sleep(0.05)",
    "a region at exit": "atexit.register(lambda: mark(2, 50, done))",
    "exit in a thread": "threading.Thread(target=lambda: (mark(2, 50, done), sys.exit(0))).start()",
}


@pytest.mark.parametrize("end", ENDS)
def test_the_process_ends_without_delay_or_message(end: str) -> None:
    before = "done = np.zeros(50, np.int64)\nfor _ in range(20):\n    mark(2, 50, done)\n"
    assert python(before + ENDS[end]) == ""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_fork_inside_a_region_of_another_thread() -> None:
    python("""
        done = np.zeros(50, np.int64)
        mark(2, 50, done)
        end = threading.Event()
        def work():
            mine = np.zeros(50, np.int64)
            while not end.is_set():
                mark(2, 50, mine)
        other = threading.Thread(target=work)
        other.start()
        for _ in range(20):
            child = os.fork()
            if child == 0:
                signal.alarm(PATIENCE)
                mine = np.zeros(50, np.int64)
                for _ in range(20):
                    mark(2, 50, mine)
                os._exit(0 if (mine == 20).all() else 1)
            assert os.waitpid(child, 0)[1] == 0
        end.set()
        other.join()
    """)


@several
def test_python_threads_where_there_is_no_futex() -> None:
    """What other systems get, here."""
    python("""
        done, by = np.zeros(4000, np.int64), np.zeros(4000, np.int64)
        assert threading.active_count() == 1
        came = 0
        for i in range(200):
            mark(2, 4000, done)
            if i % 20 == 0:
                time.sleep(0.01)  # workers sleep and are woken
        assert (done == 200).all() and threading.active_count() == 2
    """, before="workers.futex = lambda: False")


def test_numba_set_num_threads_holds() -> None:
    python("""
        import numba
        from kernels.runtime.machine import cores
        before = cores()
        numba.set_num_threads(1)
        assert cores() == 1
        numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
        assert cores() == before
    """)


@pytest.mark.parametrize(
    ("files", "membership", "allowed"),
    [
        ({"a/b/cpu.max": "150000 100000"}, "0::/a/b", 1.5), ({"cpu.max": "max 100000"}, "0::/", float("inf")),
        ({"a/cpu.max": "50000 100000", "a/b/cpu.max": "max 100000"}, "0::/a/b", 0.5), ({}, "", float("inf")),
        ({"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, "4:cpu,cpuacct:/", 0.5),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, "4:cpu:/", float("inf")),
    ],
)  # fmt: skip
def test_quotas_of_containers(tmp_path: Path, files: dict[str, str], membership: str, allowed: float) -> None:
    for name, text in ({f"sys/fs/cgroup/{name}": text for name, text in files.items()} | {"proc/self/cgroup": membership}).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    assert quota(tmp_path) == allowed


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity masks on this system")
def test_affinity_masks_hold() -> None:
    mask = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(mask)})
        assert cores() == 1
    finally:
        os.sched_setaffinity(0, mask)
