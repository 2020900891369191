"""PyTorch's threads sleep while ours run.

libgomp's threads spin for some milliseconds after a parallel region, in case another follows, and take half a core from ours meanwhile: a
training step of eight 3x3 layers took 164 ms, of which 62 were waiting. libgomp spins a three-hundredth as long once the process has more
of its threads than it has cores. So one thread of ours begins a region of two threads and then sleeps, which makes one more. PyTorch's own
regions then wake threads that sleep, 5 to 20 us each: its steps take 3 to 15 % longer. Source: libgomp, config/linux/wait.h, `do_spin`.
"""

from __future__ import annotations

import ctypes
import os
import threading
from pathlib import Path

import torch

from kernels.runtime.locks import lock

_lock = lock()
seen_to = False  # whether PyTorch's threads sleep, or shall wait as the user has said
_end = threading.Event()  # of the thread that sleeps


def _library() -> ctypes.CDLL | None:
    """The OpenMP runtime that PyTorch has loaded, if it is libgomp."""
    if not hasattr(os, "RTLD_NOLOAD"):
        return None
    for path in sorted((Path(torch.__file__).parent / "lib").glob("libgomp*.so*")):
        try:
            return ctypes.CDLL(str(path), mode=os.RTLD_NOLOAD | os.RTLD_LAZY)
        except OSError:  # shipped, but not what is used
            continue
    try:
        return ctypes.CDLL("libgomp.so.1", mode=os.RTLD_NOLOAD | os.RTLD_LAZY)  # of a distribution's PyTorch
    except OSError:
        return None


def _sleep(library: ctypes.CDLL, begun: threading.Event, end: threading.Event) -> None:
    """A region of two threads that do nothing, then sleep: its second thread lives as long as this one."""
    library.GOMP_parallel(ctypes.cast(library.omp_get_num_threads, ctypes.c_void_p), None, ctypes.c_uint(2), ctypes.c_uint(0))
    begun.set()
    end.wait()


def sleeps() -> bool:
    """See to it; whether there was anything to do. Where the user has set how OpenMP waits, it stays as it is."""
    global seen_to, _end
    with _lock:
        if seen_to:
            return False
        seen_to = True
        library = _library()
        if library is None or os.environ.get("OMP_WAIT_POLICY") or os.environ.get("GOMP_SPINCOUNT"):
            return False
        begun, _end = threading.Event(), threading.Event()
        threading.Thread(target=_sleep, args=(library, begun, _end), name="spectroconv-waiting", daemon=True).start()
        return begun.wait(1.0)


def spins() -> None:
    """PyTorch's threads wait as they did before, until our next call: whoever times PyTorch alone wants that."""
    global seen_to
    with _lock:
        _end.set()
        seen_to = False
