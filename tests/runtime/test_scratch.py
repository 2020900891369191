"""Scratch memory: plans share buffers, and no two calls have the same one."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

from kernels.runtime import scratch
from kernels.runtime.scratch import ALIGNMENT, LONG, Long, Scratch, bytes_of, roomy


@pytest.fixture(autouse=True)
def nobody_elses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans that other tests left in this process share no buffers with these."""
    for pool in ("_shared", "_long"):
        monkeypatch.setattr(scratch, pool, weakref.WeakValueDictionary())


def address(buffer: np.ndarray) -> int:
    return buffer.ctypes.data


def test_plans_of_about_the_same_need_use_one_buffer_by_turns() -> None:
    first, second, smaller = Scratch(700_000), Scratch(900_001), Scratch(500_000)
    buffer = first.take()
    place = address(buffer)
    assert len(buffer) == 700_000 and place % ALIGNMENT == 0
    buffer.fill(1)
    first.give(buffer)
    buffer = second.take()
    assert address(buffer) == place and len(buffer) == 900_001
    buffer.fill(2)
    second.give(buffer)
    assert address(smaller.take()) != place
    again = first.take()
    assert address(again) == place and len(again) == 700_000 and (again == 2).all()


def test_calls_at_once_have_buffers_of_their_own() -> None:
    plans = [Scratch(5000 + i) for i in range(7)]
    held = [plan.take() for plan in plans]
    for i, buffer in enumerate(held):
        buffer.fill(i)
    assert all((buffer == i).all() for i, buffer in enumerate(held))
    for plan, buffer in zip(plans, held):
        plan.give(buffer)
    assert len(plans[0]._free) == Scratch.KEPT


def test_long_buffers_serve_all_who_need_less() -> None:
    small, large = Scratch(LONG), Scratch(5 * LONG)
    buffer = small.take()
    place = address(buffer)
    assert len(buffer) == LONG and place % ALIGNMENT == 0
    small.give(buffer)
    buffer = large.take()
    assert len(buffer) == 5 * LONG
    place = address(buffer)
    large.give(buffer)
    held = small.take()
    assert address(held) == place and len(held) == LONG, "the shorter one made room for it"
    other = large.take()
    assert address(other) != place, "which another call holds"
    small.give(held)
    large.give(other)
    assert len(small._long.free) == 2


def test_buffers_go_with_the_last_plan() -> None:
    some, other = Scratch(300_000), Scratch(400_000)
    some.give(some.take())
    room = some._room
    assert room == other._room
    del some
    gc.collect()
    assert len(scratch._shared[room]) == 1
    del other
    gc.collect()
    assert room not in scratch._shared


def test_longer_buffers_than_anybody_needs_are_not_kept() -> None:
    pool, plan = Long(bytes_of), Scratch(2 * LONG)
    pool.join(plan)
    pool.give(pool.take(9 * LONG))  # of a plan that is gone
    assert not pool.free
    longer = Scratch(9 * LONG)
    pool.join(longer)
    pool.give(pool.take(9 * LONG))
    assert pool.free
    del longer
    gc.collect()
    assert not pool.free, "nobody needs it any more"
    pool.give(pool.take(9 * LONG))
    assert not pool.free
    own = pool.take(2 * LONG + ALIGNMENT)
    pool.give(own)
    assert pool.take(LONG) is own


def test_a_need_that_joins_while_another_thread_looks_is_not_forgotten() -> None:
    pool, plan, longer = Long(bytes_of), Scratch(2 * LONG), Scratch(9 * LONG)

    class Slow(dict):  # type: ignore[type-arg]
        """Needs that another thread adds to once they are read."""

        def values(self) -> list[object]:  # type: ignore[override]
            read = list(super().values())
            if len(read) == 1:
                pool.join(longer)
            return read

    pool._needs = Slow()
    pool.join(plan)
    small, large = pool.take(2 * LONG), pool.take(9 * LONG)
    pool.give(small)
    assert len(pool._needs) == 2
    pool.give(large)
    assert len(pool.free) == 2


def test_as_many_stay_free_as_calls_held_at_once_the_longest() -> None:
    pool, plan = Long(bytes_of), Scratch(40 * LONG)
    pool.join(plan)
    lengths = [(i % 7 + 2) * LONG for i in range(Long.KEPT + 4)]
    for count in (1, 3, len(lengths)):
        for buffer in [pool.take(nbytes) for nbytes in lengths[:count]]:
            pool.give(buffer)
        assert len(pool.free) == min(count, Long.KEPT)
    assert sorted(len(each) for each in pool.free.values()) == sorted(map(roomy, lengths))[-Long.KEPT :]
    kept = set(pool.free)
    del buffer
    pool.take(LONG)  # of a call that fails
    assert not pool._out and len(kept - set(pool.free)) == 1


def test_plans_for_somewhat_longer_inputs_find_room() -> None:
    assert [roomy(nbytes) for nbytes in (0, 1, 5, 17, 1000, 1025)] == [0, 1, 5, 20, 1024, 1280]
    for nbytes in range(2000):
        assert nbytes <= roomy(nbytes) <= max(1.25 * nbytes, nbytes + 1) and roomy(roomy(nbytes)) == roomy(nbytes)
    plan, longer = Scratch(9 * LONG), Scratch(9 * LONG + LONG // 2)
    buffer = plan.take()
    place = address(buffer)
    plan.give(buffer)
    assert address(longer.take()) == place


def test_none_and_one_byte() -> None:
    for nbytes in (0, 1):
        plan = Scratch(nbytes)
        plan.give(plan.take())
        assert len(plan.take()) == nbytes
