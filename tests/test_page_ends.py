"""Nothing is read or written past the ends of input and output: both lie flush against pages that may not be touched.

A stray access ends the process, so the work is done in a process of its own, which says beforehand what it is about to do.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from patience import PATIENCE

from kernels.methods import load, registry

load()

WORK = """
import ctypes, faulthandler, math, mmap, sys
import numpy as np
import kernels
from kernels import implementations
import reference
from cases import CONV, ConvCase, PRECISION, POOL

faulthandler.enable()
libc = ctypes.CDLL(None, use_errno=True)
PAGE = mmap.PAGESIZE
kind, name = sys.argv[1:]
kept = []

def fenced(shape, dtype, at_end):
    nbytes = math.prod(shape) * np.dtype(dtype).itemsize
    pages = -(-nbytes // PAGE) + 2
    memory = mmap.mmap(-1, pages * PAGE)
    raw = np.frombuffer(memory, np.uint8)
    for page in (0, pages - 1):
        address = ctypes.c_void_p(raw.ctypes.data + page * PAGE)
        assert libc.mprotect(address, ctypes.c_size_t(PAGE), 0) == 0, ctypes.get_errno()
    start = (pages - 1) * PAGE - nbytes if at_end else PAGE
    kept.append((memory, raw))  # while fenced, the buffer must not be freed by a destructor that touches it
    return raw[start : start + nbytes].view(dtype).reshape(shape)

def call(op, x, expected, bound, *arguments, **options):
    options |= PRECISION.get(name, {})
    if implementations(op, x.shape, *arguments, **options)[name] is not None:
        return 0
    for at_end in (True, False):
        for threads in (1, 2):
            plan = kernels.plan(op, x.shape, *arguments, implementation=name, threads=threads, **options)
            inside, out = fenced(x.shape, "float32", at_end), fenced(plan.out_shape, "float32", at_end)
            inside[...] = x
            out[...] = np.nan
            plan(inside, out=out)
            assert reference.share(out, expected) <= bound, "wrong answer"
    return 1

# steps of more than ten columns, which are picked one by one, and taps that are no whole steps apart: their lines end behind the window's
APART = [
    ConvCase(f"apart {step} {dilation}", (39 * step + 4 * dilation + 1 + spare,), (5,), 1, 4, 16, (step,), ((0, 0),), (dilation,), 1)
    for step, dilation in ((100, 25), (50, 33), (11, 7)) for spare in (0, 36, 44) if spare < step
]
# patches, of which half a vector's columns of a vector's positions are read at once
APART += [
    ConvCase(f"patches {size} {kernel} {step}", (size, size), (kernel, kernel), 2, 3, 16, (step, step), ((0, 0), (0, 0)), (1, 1), 1)
    for size, kernel, step in ((56, 8, 8), (28, 4, 4), (46, 16, 10), (33, 11, 12))
]

done = 0
for case in CONV + (APART if name == "direct" else []) if kind == "conv" else POOL:
    if case.n == 0:
        continue
    print(case.name, flush=True)
    if kind == "conv":
        x, weight, bias = case.arrays("float32")
        expected = reference.conv(x, weight, bias, case.stride, case.padding, case.dilation, case.groups)
        done += call(case.op, x, expected, 1e-2 if name in PRECISION else 1e-3, weight, bias, **case.options)
    else:
        x, axes = case.x("float32"), len(case.size)
        done += call(f"max_pool{axes}d", x, reference.max_pool(x, *case.window)[0], 0, case.kernel, **case.options)
        done += call(f"avg_pool{axes}d", x, reference.avg_pool(x, *case.window, True, None), 1e-5, case.kernel, **case.options)
assert done >= 3, f"{done} cases were taken"
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="fences pages with mprotect")
@pytest.mark.parametrize("kind, name", [(kind, name) for kind in ("conv", "pool") for name in registry.every(kind) if name != "naive"])
def test_fenced_pages(kind: str, name: str) -> None:
    folder = Path(__file__).parent
    code = f"import sys; sys.path[:0] = [{str(folder)!r}, {str(folder.parent)!r}]\n" + WORK
    done = subprocess.run([sys.executable, "-c", code, kind, name], capture_output=True, text=True, timeout=PATIENCE)
    at = done.stdout.split()[-1] if done.stdout else "the start"
    assert done.returncode == 0, f"{kind} {name} ended with {done.returncode} at {at}:\n{done.stderr[-3000:]}"
