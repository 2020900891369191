"""Workers on this machine that compute and do little else: what dask's workers and scheduler watch many times a second takes 5 % of two
cores otherwise (measured idle: `kernels/dask/README.md`)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

SETTINGS = {
    "distributed.worker.profile.enabled": False,  # looks at every thread's stack 100 times a second
    "distributed.admin.tick.interval": "500ms",  # asks 50 times a second whether the event loop answers
    "distributed.admin.system-monitor.interval": "5s",
    "distributed.worker.memory.monitor-interval": "1s",
}


@contextlib.contextmanager
def local_client(workers: int, threads: int = 1) -> Iterator[Any]:
    """A client of so many processes of so many threads. Raises ImportError without dask's distributed."""
    import dask
    from distributed import Client, LocalCluster

    options = {"n_workers": workers, "threads_per_worker": threads, "processes": True, "dashboard_address": None}
    with dask.config.set(SETTINGS), LocalCluster(**options) as local, Client(local) as client:
        yield client
