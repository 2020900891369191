"""How the participants of a region share out its tasks: each has a run of its own, in order, and then helps the others with theirs.

The same thread does the same tasks in every call, so what it read and wrote lies in its own caches, and neighbours share their halo. A
thread that is held up, or that begins late because it slept, does fewer. A region's record lies in a slot:

    slot + WORD      participants inside besides the caller; OPEN while others may enter; ASLEEP while the caller sleeps until they left
           TAKEN     whether a caller has the slot
           ENTRY     address of the function that a participant runs, with the slot, its number and CONTEXT
           THREADS   how many may take part; TASKS to do; DEADLINE in ticks, after which nobody begins a second; FAILED: a task raised
           RUNS      a cache line for each participant: the next task of its run, the end of that run, whether somebody has this number;
                     when it last asked for a task, how many tasks it did, and the ticks of all and of the longest
"""

from __future__ import annotations

from kernels.runtime.atomics import add, load, ticks
from kernels.runtime.ir import read_index
from kernels.runtime.jit import njit
from kernels.runtime.pointers import write_index

LINE = 64  # bytes of a cache line, so that threads do not wait for each other's
WORD, TAKEN, ENTRY, CONTEXT, THREADS, TASKS, DEADLINE, FAILED, RUNS = 0, LINE, 128, 136, 144, 152, 160, 168, 192
NEXT, END, CLAIMED, ASKED, DONE, SPENT, MOST = (8 * i for i in range(7))


def slot_bytes(threads: int) -> int:
    """Bytes of the record of a region with so many participants."""
    return RUNS + threads * LINE


@njit
def share_out(slot, threads, tasks):
    """Begin: every participant's run of tasks."""
    for thread in range(threads):
        run = slot + RUNS + thread * LINE
        write_index(run + NEXT, thread * tasks // threads)
        write_index(run + END, (thread + 1) * tasks // threads)
        for field in (DONE, SPENT, MOST):
            write_index(run + field, 0)
    enter_again(slot, threads)


@njit
def enter_again(slot, threads):
    """Begin a slice: nobody has asked for a task, nobody has a number but the caller, who has 0."""
    for thread in range(threads):
        run = slot + RUNS + thread * LINE
        write_index(run + CLAIMED, int(thread == 0))
        write_index(run + ASKED, 0)


@njit
def next_task(slot, thread):
    """The number of the task that a participant does next; -1 when all are taken or the time is over. Its first of a slice it does however
    late it is, so that every slice does some."""
    now, own = ticks(), slot + RUNS + thread * LINE
    asked = read_index(own + ASKED, 0)
    write_index(own + ASKED, now)
    if asked:
        took = now - asked
        write_index(own + DONE, read_index(own + DONE, 0) + 1)
        write_index(own + SPENT, read_index(own + SPENT, 0) + took)
        write_index(own + MOST, max(read_index(own + MOST, 0), took))
        if now > read_index(slot + DEADLINE, 0):
            return -1
    threads = read_index(slot + THREADS, 0)
    owner = thread
    for _ in range(threads):
        run = slot + RUNS + owner * LINE
        end = read_index(run + END, 0)
        if load(run + NEXT) < end:  # a look costs less than taking in vain
            task = add(run + NEXT, 1)
            if task < end:
                return task
        owner = owner + 1 if owner + 1 < threads else 0
    return -1


@njit
def tasks_left(slot):
    """Whether any task has not been begun."""
    for thread in range(read_index(slot + THREADS, 0)):
        run = slot + RUNS + thread * LINE
        if load(run + NEXT) < read_index(run + END, 0):
            return True
    return False


@njit
def usual_ticks(slot, thread):
    """Ticks of one of a participant's tasks, the longest apart: in that one it may have lost its core. 0 where it did fewer than two."""
    own = slot + RUNS + thread * LINE
    done = read_index(own + DONE, 0)
    return (read_index(own + SPENT, 0) - read_index(own + MOST, 0)) // (done - 1) if done > 1 else 0
