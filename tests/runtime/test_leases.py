"""Arrays that are given away: their memory is used again once nobody holds it."""

from __future__ import annotations

import gc
import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from kernels.runtime import leases
from kernels.runtime.leases import LATELY, LEAST, SPARE, UNIT, Leases
from kernels.runtime.pages import pages

BYTES = np.dtype(np.uint8)


def _free(kept: Leases) -> list[int]:
    kept._join()
    return sorted(piece.resident for piece in kept._free if piece.resident)


def test_memory_is_used_again_once_nobody_holds_it() -> None:
    kept = Leases()
    shape, dtype = (3, LEAST // 4), np.dtype(np.float32)
    x = kept.take(shape, dtype)
    assert x.shape == shape and x.dtype == dtype and x.flags.c_contiguous and x.flags.writeable
    at, view = x.ctypes.data, x[1:, ::7]
    view[:] = 5
    del x
    gc.collect()
    other = kept.take(shape, dtype)
    assert other.ctypes.data != at, "a view holds it"
    other[:] = 0
    assert (view == 5).all()
    raw = memoryview(view[0, :3])
    del view
    gc.collect()
    third = kept.take(shape, dtype)
    assert third.ctypes.data != at and raw[0] == 5, "and so does a buffer of a view"
    del raw
    gc.collect()
    assert kept.take((2, LEAST // 4 + 8), dtype).ctypes.data == at, "what is shorter fits too"


def test_the_shortest_memory_that_will_do_is_taken() -> None:
    kept = Leases()
    held = [kept.take((times * LEAST,), BYTES) for times in (4, 2, 3)]
    at = [each.ctypes.data for each in held]
    del held
    gc.collect()
    assert kept.take((2 * LEAST,), BYTES).ctypes.data == at[1]
    assert len(_free(kept)) == 3 and kept.take((LEAST - 1,), BYTES).size == LEAST - 1
    assert len(_free(kept)) == 3, "what is short has memory of its own"


def test_no_more_is_kept_than_was_held_at_once_and_a_little() -> None:
    kept = Leases()
    for times in range(1, 30):  # each longer than all before
        kept.take((times * LEAST,), BYTES)
    gc.collect()
    assert sum(_free(kept)) <= SPARE * 32 * LEAST
    several = [kept.take((32 * LEAST,), BYTES) for _ in range(5)]
    del several
    gc.collect()
    assert len(_free(kept)) >= 5
    for _ in range(2 * LATELY):  # of which no two are held at once
        kept.take((2 * LEAST,), BYTES)
    assert sum(_free(kept)) <= SPARE * 32 * LEAST, "what was needed long ago"
    kept.forget()
    assert _free(kept) == []


def test_arrays_of_all_lengths_lie_in_the_memory_of_those_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    anew = leases.pages
    monkeypatch.setattr(leases, "pages", lambda nbytes: made.append(nbytes) or anew(nbytes))
    weights, activations = Leases(), Leases()
    for step in range(4):
        for times in (2, 4, 8, 16, 16, 8, 4, 2):  # one at a time, as packed weights are
            weights.take((times * LEAST - 5,), BYTES)
        held = [activations.take((times * LEAST,), BYTES) for times in (40, 40, 20, 10, 5)]
        while len(held) > 1:  # back again: what is short is let go, gradients of all lengths come and go
            del held[-1]
            gradients = [activations.take((times * LEAST + 9,), BYTES) for times in (3, 9)]
            gradients[0][:], gradients[1][:] = 1, 2
            assert gradients[0].max() == 1
        del held, gradients
        if step == 0:
            made.clear()
    assert made == [], "a step like the one before finds its memory"
    assert sum(_free(weights)) <= SPARE * 16 * LEAST


def test_neighbours_that_are_free_become_one() -> None:
    kept = Leases()
    x = kept.take((8 * LEAST,), BYTES)
    at = x.ctypes.data
    del x
    gc.collect()
    parts = [kept.take((2 * LEAST,), BYTES) for _ in range(4)]
    assert sorted(part.ctypes.data - at for part in parts) == [0, 2 * LEAST, 4 * LEAST, 6 * LEAST]
    for order in (1, 2, 0, 0):  # between two that are held, beside a free one, before it, last of all
        del parts[order]
        gc.collect()
    assert _free(kept) == [8 * LEAST]


def test_what_is_kept_does_not_hold_the_memory_of_what_was_far_longer() -> None:
    kept, features = Leases(), []
    for turn in range(6):  # a long array that goes, as activations do, and a short one that stays
        kept.take((32 * LEAST,), BYTES)[:] = 1
        gc.collect()
        features.append(kept.take((LEAST,), BYTES))
        features[-1][:] = turn
    for _ in range(3 * LATELY):
        kept.take((LEAST + UNIT,), BYTES)
    assert sum(_free(kept)) <= SPARE * 8 * LEAST, "the system has the rest"
    assert [each[LEAST // 2] for each in features] == list(range(6)), "but not what is held"
    features.clear()
    for _ in range(3 * LATELY):
        kept.take((LEAST,), BYTES)
    assert sum(_free(kept)) <= 2 * SPARE * LEAST, "what was long is gone"


def test_who_takes_in_the_midst_of_another_call_gets_memory_that_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    kept, inner = Leases(), []

    def interrupted(nbytes: int) -> np.ndarray:
        monkeypatch.setattr(leases, "pages", pages)
        inner.append(kept.take((LEAST,), BYTES))  # as where the collector ends something that takes
        return pages(nbytes)

    monkeypatch.setattr(leases, "pages", interrupted)
    x = kept.take((LEAST,), BYTES)
    x[:], inner[0][:] = 7, 8
    assert x.max() == 7
    inner.clear()
    assert _free(kept) == []
    del x
    assert _free(kept) == [LEAST]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_child_takes_while_its_parent_has_a_thread_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    kept, inside, go_on = Leases(), threading.Event(), threading.Event()

    def slow(nbytes: int) -> np.ndarray:
        monkeypatch.setattr(leases, "pages", pages)
        inside.set()
        go_on.wait()
        return pages(nbytes)

    monkeypatch.setattr(leases, "pages", slow)
    thread = threading.Thread(target=kept.take, args=((LEAST,), BYTES))
    thread.start()
    inside.wait()
    child = os.fork()
    if child == 0:
        for _ in range(3):
            kept.take((LEAST,), BYTES)[:] = 1
        os._exit(0 if _free(kept) == [LEAST] else 1)
    go_on.set()
    thread.join()
    assert os.waitpid(child, 0)[1] == 0, "the child keeps what it takes"
    assert _free(kept) == [LEAST], "and so does the parent"


def test_where_memory_is_short_what_is_free_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    kept, most = Leases(), 6 * LEAST

    def few(nbytes: int) -> np.ndarray:
        if nbytes + sum(_free(kept)) > most:
            raise MemoryError("no more")
        return np.empty(nbytes, np.uint8)

    monkeypatch.setattr(leases, "pages", few)
    kept.take((4 * LEAST,), BYTES)
    gc.collect()
    assert len(kept.take((5 * LEAST,), BYTES)) == 5 * LEAST
    with pytest.raises(MemoryError, match="no more"):
        kept.take((8 * LEAST,), BYTES)


def test_arrays_survive_pickling_and_threads() -> None:
    kept = Leases()

    def work(seed: int) -> bool:
        right = True
        for turn in range(30):
            x = kept.take((LEAST // 4,), np.dtype(np.int32))
            x[:] = 100 * seed + turn
            right &= bool((x == 100 * seed + turn).all())
        return right

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(8)))
    x = kept.take((LEAST,), BYTES)
    x[:] = 3
    assert (pickle.loads(pickle.dumps(x, protocol=5)) == 3).all()
