"""What several tests of processes and threads share."""

from __future__ import annotations

import threading
from typing import Any

from patience import PATIENCE

from kernels.dispatch import measure, preparation, tuning


def start_anew() -> None:
    """Memory as a new process has it."""
    tuning._table.clear()
    tuning._layers.clear()
    measure._seen.clear()
    preparation.forget()
    tuning._state.update(attended=None)


def at_once(functions: list[Any]) -> list[Any]:
    """Results of functions that start together, one thread each."""
    barrier, results = threading.Barrier(len(functions)), [None] * len(functions)

    def work(i: int) -> None:
        barrier.wait()
        results[i] = functions[i]()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(functions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads), "a thread hangs"
    return results
