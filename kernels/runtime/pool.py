"""A region of tasks on worker threads, and how it never waits for a thread that is not there.

The caller of a region opens a slot, wakes who sleeps, and does tasks itself until none is left. Workers that come meanwhile enter the slot
and take tasks from it; the caller then closes the slot and waits only for those who are inside, that is, for tasks that are being computed.
A worker that comes late, or that the system runs no sooner, finds the slot closed and delays nobody. Where one of them was taken off its
core in the middle of a task, the caller notices (alone it would have been done sooner) and does the next regions alone for a while.
Meanwhile workers are woken now and then for a probe: where all keep their cores for longer than the system lets others wait, it is over.
Idle workers look for work for a while, then sleep. Callers and workers that are at work are at most as many as there are cores.

    pool + RUN       address of `run`
           EPOCH     counts opened slots; workers sleep while it does not change
           SLEEPERS  workers asleep;  RUNNING  participants at work
           SETTINGS  what is seldom written: numbers of workers and participants, times in ticks, whether workers sleep on a futex
           ALONE     in ticks, until when regions are done by their callers; BACKOFF for how long, from SHORTEST to LONGEST; SAVED what
                     workers saved since; PROBE when they may be woken for a probe, PAUSE before the next; PROBING whether one goes on and
                     no worker has lost its core
           SLOTS     one for each region at a time, see `tasks`
           SLEEPING  the system's number of each native worker that sleeps, else 0
"""

from __future__ import annotations

import os
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from kernels.runtime import tasks as fields  # of a slot
from kernels.runtime.atomics import add, doze, exchange, keep_off, load, pause, replace, sleep_while, store, thread_number, ticks, wake
from kernels.runtime.ir import I64, call, read_index
from kernels.runtime.jit import njit
from kernels.runtime.pointers import write_index
from kernels.runtime.scratch import aligned
from kernels.runtime.tasks import LINE, enter_again, share_out, slot_bytes, tasks_left, usual_ticks

OPEN, ASLEEP = 1 << 16, 1 << 17  # bits of a slot's WORD
RAISED = -1  # by a task
RUN, EPOCH, SLEEPERS, RUNNING, SETTINGS, BACKING, SLOTS = (line * LINE for line in (0, 1, 2, 3, 4, 6, 7))
WORKERS, LIMIT, SPIN_TICKS, GAP_TICKS, END_TICKS, SLICE_TICKS, STALL_TICKS, STOP, NATIVE, STRIDE, LONGEST_END_TICKS, PROBE_TICKS = (
    SETTINGS + 8 * i for i in range(12)
)
ALONE, BACKOFF, SHORTEST, LONGEST, SAVED, PROBE, PAUSE, PROBING = (BACKING + 8 * i for i in range(8))

REGIONS = 16  # at a time on workers; further callers do their tasks alone
MAXIMUM = max(os.cpu_count() or 1, 1)  # participants of a region
SLEEPING = SLOTS + REGIONS * slot_bytes(MAXIMUM)
_memory = aligned(SLEEPING + 8 * MAXIMUM)
_memory.fill(0)
_pool = _memory.ctypes.data
llvm.add_symbol("spectroconv_pool", _pool)


def pool_of(builder: Any) -> Any:
    """Emit the address of this process's pool."""
    name = "spectroconv_pool"
    where = builder.module.globals.get(name) or cgutils.add_global_variable(builder.module, ir.IntType(8), name)
    where.linkage = "external"
    return builder.ptrtoint(where, I64)


@intrinsic
def pool(typing_context: Any) -> Any:
    """Address of this process's pool."""
    return types.int64(), lambda context, builder, signature, values: pool_of(builder)


@njit
def _take_slot():
    """The address of a slot that is now the caller's, 0 if all are taken."""
    for i in range(REGIONS):
        slot = pool() + SLOTS + i * read_index(pool() + STRIDE, 0)
        if load(slot + fields.TAKEN) == 0 and replace(slot + fields.TAKEN, 0, 1):
            return slot
    return 0


@njit
def _alone(entry, context, tasks, own, resume):
    """Every task from `resume` on by the caller; what `run` returns."""
    write_index(own + fields.THREADS, 1)
    write_index(own + fields.TASKS, tasks)
    share_out(own, 1, tasks)
    write_index(own + fields.RUNS + fields.NEXT, resume)
    write_index(own + fields.FAILED, 0)
    write_index(own + fields.DEADLINE, ticks() + read_index(pool() + SLICE_TICKS, 0))
    call(entry, (own, 0, context))
    if read_index(own + fields.FAILED, 0):
        return RAISED
    return read_index(own + fields.RUNS + fields.NEXT, 0) if tasks_left(own) else 0


@njit
def _wake(count):
    """Wake so many workers, away from the caller's core. Linux in a virtual machine takes cores that rest for taken and would put workers
    where the caller is: one would wait for the other."""
    keep_off(pool() + SLEEPING, read_index(pool() + WORKERS, 0))
    wake(pool() + EPOCH, count)


@njit
def _summon(threads):
    """Wake as many sleeping workers as a region of so many participants lacks."""
    asleep = load(pool() + SLEEPERS)
    if asleep:
        lacking = threads - 1 - (read_index(pool() + WORKERS, 0) - asleep)
        if lacking > 0:
            _wake(lacking)


@njit
def _probe(now, threads):
    """While regions are done by their callers: see from time to time whether workers would keep their cores, unless some are awake."""
    if now > read_index(pool() + PROBE, 0) and load(pool() + SLEEPERS) == read_index(pool() + WORKERS, 0):
        gap = read_index(pool() + PAUSE, 0)
        write_index(pool() + PROBE, now + gap)
        write_index(pool() + PAUSE, 3 * gap)
        write_index(pool() + PROBING, 1)
        add(pool() + EPOCH, 1)
        _wake(threads - 1)


@njit
def _wait(slot, task):
    """Until nobody is inside a closed slot of a region whose tasks take `task` ticks."""
    began = ticks()
    end = began + min(task + read_index(pool() + END_TICKS, 0), read_index(pool() + LONGEST_END_TICKS, 0))
    left = load(slot + fields.WORD)
    while left:
        if ticks() > end:
            if not read_index(pool() + NATIVE, 0):
                doze()
            elif left & ASLEEP or replace(slot + fields.WORD, left, left | ASLEEP):
                sleep_while(slot + fields.WORD, left | ASLEEP)
        else:
            pause()
        left = load(slot + fields.WORD)
        if left == ASLEEP:
            store(slot + fields.WORD, 0)
            left = 0


@njit
def _judge(slot, began, tasks):
    """Were workers of use? Where a region took longer than its caller would have alone, a thread lost its core in the middle of a task:
    the next regions are done by their callers, for longer where workers saved little since this last happened."""
    now, usual = ticks(), usual_ticks(slot, 0)
    if not usual:
        return
    gain = tasks * usual - (now - began)
    saved = read_index(pool() + SAVED, 0)
    if gain >= -read_index(pool() + STALL_TICKS, 0):
        write_index(pool() + SAVED, saved + gain)
        return
    longest = read_index(pool() + LONGEST, 0)
    rare = saved > -8 * gain or now - read_index(pool() + ALONE, 0) > 4 * longest
    backoff = read_index(pool() + SHORTEST, 0) if rare else min(2 * read_index(pool() + BACKOFF, 0), longest)
    probe = read_index(pool() + PROBE_TICKS, 0)
    write_index(pool() + ALONE, now + backoff)
    write_index(pool() + BACKOFF, backoff)
    write_index(pool() + PROBE, now + probe)
    write_index(pool() + PAUSE, 3 * probe)
    write_index(pool() + SAVED, 0)


@njit
def run(entry, context, threads, tasks, own, resume):
    """All tasks of a region, entry(slot, participant, context) taking them: 0, or what `resume` must be to go on after the time of a slice:
    positive: the caller alone, from that task on; negative: minus the address of its slot; or RAISED. own: a slot for one participant."""
    if threads <= 1 or tasks <= 1 or resume > 0:
        return _alone(entry, context, tasks, own, resume)
    slot, threads = -resume, min(threads, (read_index(pool() + STRIDE, 0) - fields.RUNS) // LINE)
    if resume == 0:
        now = ticks()
        if now < read_index(pool() + ALONE, 0):
            _probe(now, threads)
            return _alone(entry, context, tasks, own, resume)
        if load(pool() + RUNNING) >= read_index(pool() + LIMIT, 0):
            return _alone(entry, context, tasks, own, resume)
        slot = _take_slot()
        if slot == 0:
            return _alone(entry, context, tasks, own, resume)
        write_index(slot + fields.THREADS, threads)
        write_index(slot + fields.TASKS, tasks)
        write_index(slot + fields.FAILED, 0)
        share_out(slot, threads, tasks)
    write_index(slot + fields.ENTRY, entry)
    write_index(slot + fields.CONTEXT, context)
    began = ticks()
    write_index(slot + fields.DEADLINE, began + read_index(pool() + SLICE_TICKS, 0))
    add(pool() + RUNNING, 1)
    store(slot + fields.WORD, OPEN)
    add(pool() + EPOCH, 1)
    _summon(threads)
    call(entry, (slot, 0, context))
    add(slot + fields.WORD, -OPEN)
    add(pool() + RUNNING, -1)
    if load(slot + fields.WORD):
        _wait(slot, (ticks() - began) * threads // tasks)
    _judge(slot, began, tasks)
    if read_index(slot + fields.FAILED, 0):
        store(slot + fields.TAKEN, 0)
        return RAISED
    if tasks_left(slot):
        enter_again(slot, threads)
        return -slot
    store(slot + fields.TAKEN, 0)
    return 0


@njit
def _help(slot, number):
    """Take part in a region if it is open and lacks somebody; whether it did."""
    word = load(slot + fields.WORD)
    if not word & OPEN or (word & (OPEN - 1)) + 1 >= read_index(slot + fields.THREADS, 0):
        return False
    if add(pool() + RUNNING, 1) >= read_index(pool() + LIMIT, 0) or not replace(slot + fields.WORD, word, word + 1):
        add(pool() + RUNNING, -1)
        return False
    helpers = read_index(slot + fields.THREADS, 0) - 1
    for i in range(helpers):
        participant = 1 + (number + i) % helpers
        if exchange(slot + fields.RUNS + participant * LINE + fields.CLAIMED, 1) == 0:
            call(read_index(slot + fields.ENTRY, 0), (slot, participant, read_index(slot + fields.CONTEXT, 0)))
            break
    add(pool() + RUNNING, -1)
    if add(slot + fields.WORD, -1) == ASLEEP + 1:
        wake(slot + fields.WORD, 1)
    return True


@njit
def _idle(seen):
    """Look for SPIN, or as long as a probe takes, whether a slot was opened since the epoch `seen`; False when it is time to sleep."""
    now, probing = ticks(), read_index(pool() + PROBING, 0)
    longest, gap = (PROBE_TICKS, STALL_TICKS) if probing else (SPIN_TICKS, GAP_TICKS)
    end, gap = now + read_index(pool() + longest, 0), read_index(pool() + gap, 0)
    while load(pool() + EPOCH) == seen:
        for _ in range(4):
            pause()
        before, now = now, ticks()
        if now - before > gap:
            write_index(pool() + PROBING, 0)
            return False
        if now > end:
            if not read_index(pool() + PROBING, 0):
                return False
            write_index(pool() + PROBING, 0)
            write_index(pool() + ALONE, now)  # nobody lost its core
            return True
    return True


@njit
def work(number):
    """The life of worker `number`; a worker that is a Python thread lives until it would sleep."""
    while not load(pool() + STOP):
        seen = load(pool() + EPOCH)
        helped = False
        for i in range(REGIONS):
            helped = _help(pool() + SLOTS + i * read_index(pool() + STRIDE, 0), number) or helped
        if helped or _idle(seen):
            continue
        store(pool() + SLEEPING + 8 * number, thread_number())
        add(pool() + SLEEPERS, 1)
        if not read_index(pool() + NATIVE, 0):
            return 0
        if load(pool() + EPOCH) == seen and not load(pool() + STOP):
            sleep_while(pool() + EPOCH, seen)
        store(pool() + SLEEPING + 8 * number, 0)
        add(pool() + SLEEPERS, -1)
    return 0


@njit
def leave(slot):
    """Give back the slot of a region that is not gone on with."""
    store(slot + fields.TAKEN, 0)


@njit
def woken():
    """A worker that is a Python thread sleeps no more."""
    add(pool() + SLEEPERS, -1)


@njit
def stop():
    """Wake all workers, who then end."""
    store(pool() + STOP, 1)
    add(pool() + EPOCH, 1)
    wake(pool() + EPOCH, 1 << 20)


@njit
def now():
    """Ticks."""
    return ticks()


def write(offset: int, value: int) -> None:
    """Put a number in the pool."""
    _memory[offset : offset + 8].view("int64")[0] = value


def read(offset: int) -> int:
    """A number of the pool."""
    return int(_memory[offset : offset + 8].view("int64")[0])


def clear() -> None:
    """Nothing is open, nobody is there."""
    for offset in (EPOCH, SLEEPERS, RUNNING, WORKERS, ALONE):
        write(offset, 0)
    _memory[SLOTS:] = 0
