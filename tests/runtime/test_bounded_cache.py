"""The table stays within its bounds whatever is put, and finds most of what goes round."""

from __future__ import annotations

import random
import threading

from kernels.runtime.bounded_cache import Recent


def test_it_stays_within_its_bounds() -> None:
    draw, table, known = random.Random(1), Recent[int](20, 1000), {}
    for i in range(5000):
        key, size = draw.randrange(60), draw.choice([0, 1, 90, 400, 1001])
        table.put(key, i, size)
        known[key] = i
        assert table._values.keys() == table._sizes.keys() and len(table._sizes) <= 20
        assert sum(table._sizes.values()) <= 1000
        assert (table.get(key) == i) == (size <= 1000)
        assert all(table.get(each) == known[each] for each in table._sizes)
        if i % 997 == 0:
            table.forget()
            assert not table._values and not table._sizes


def test_one_more_than_there_is_room_for_is_mostly_found() -> None:
    """The oldest first, each would leave just before it comes again."""
    table = Recent[int](64, 1 << 30)
    found = 0
    for turn in range(100):
        for key in range(65):
            found += table.get(key) is not None
            if table.get(key) is None:
                table.put(key, turn, 1)
    assert found > 0.9 * 100 * 65


def test_threads_at_once() -> None:
    table = Recent[int](16, 1 << 20)

    def work(seed: int) -> None:
        draw = random.Random(seed)
        for _ in range(3000):
            table.put(draw.randrange(40), seed, draw.randrange(1 << 17))
            table.get(draw.randrange(40))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert table._values.keys() == table._sizes.keys() and len(table._sizes) <= 16 and sum(table._sizes.values()) <= 1 << 20


def test_a_handler_within_a_put_may_put_the_same_key() -> None:
    class Interrupted(random.Random):
        def choice(self, among):
            if not came:
                came.append(True)
                table.put(3, "handler's", 10)
            return super().choice(among)

    came: list[bool] = []
    table = Recent[str](2, 100)
    table._lot = Interrupted(0)
    for key in (1, 2):
        table.put(key, "first", 10)
    table.put(3, "own", 10)
    assert table.get(3) == "own" and table._values.keys() == table._sizes.keys() and len(table._sizes) <= 2
    for key in range(4, 9):
        table.put(key, "later", 60)
    assert table.get(8) == "later" and table._values.keys() == table._sizes.keys() and sum(table._sizes.values()) <= 100
