"""SciPy: what its users write today. Convolution channel pair by channel pair, pools by scipy.ndimage, one thread."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np

from benchmarks.contenders.base import Contender, Prepared
from benchmarks.tensors import Tensors
from benchmarks.workloads import Workload

PILOT_PAIRS = 16  # pairs of channels cost Python calls: 1024 x 128 of them take minutes, and each pair what any other takes
OPS = ("conv1d", "conv2d", "max_pool1d", "max_pool2d", "avg_pool1d", "avg_pool2d")


class SciPy(Contender):
    """scipy.signal.correlate or oaconvolve per pair of channels, summed; whichever is quicker on the first pair, found beforehand."""

    name = "scipy"
    inside_timer = (
        "All channel pairs, one thread. Strides are computed in full and then subsampled; padding is inside; "
        "dilated kernels got their zeros before."
    )

    def available(self) -> str | None:
        return None  # the library itself depends on it

    def version(self) -> str | None:
        return version("scipy")

    def pilot(self, workload: Workload) -> Workload | None:
        pairs = workload.n * workload.c_out * workload.c_in // workload.groups
        if not workload.is_conv or pairs <= PILOT_PAIRS:
            return None
        return workload.cut(workload.flops * PILOT_PAIRS // pairs, spatial=False)

    def refuse(self, workload: Workload) -> str | None:
        if workload.is_global:
            return "SciPy has no global pooling; numpy.mean is what one would write"
        if workload.op not in OPS:
            return f"the suite has no SciPy call for {workload.op}"
        return None

    def prepare(self, workload: Workload, given: Tensors, threads: int) -> Prepared:
        x = given.x.reshape(workload.n, workload.c_in, workload.h, workload.w)
        run = _convolution(workload, x, given) if workload.is_conv else _pool(workload, x)
        return Prepared(run=run, answer=lambda y: y.reshape(workload.out_shape))


def _convolution(workload: Workload, x: Any, given: Tensors) -> Callable[[], Any]:
    assert given.weight is not None
    (sh, sw), (dh, dw) = workload.stride, workload.dilation
    in_group, out_group = workload.c_in // workload.groups, workload.c_out // workload.groups
    kernels = np.zeros((workload.c_out, in_group, (workload.kh - 1) * dh + 1, (workload.kw - 1) * dw + 1), np.float32)
    kernels[:, :, ::dh, ::dw] = given.weight.reshape(workload.c_out, in_group, workload.kh, workload.kw)
    around = ((0, 0), (0, 0), *workload.padding)
    out = np.empty((workload.n, workload.c_out, workload.oh, workload.ow), np.float32)
    pair = _quickest(np.pad(x[:1, :1], around)[0, 0], kernels[0, 0])

    def run() -> Any:
        padded = np.pad(x, around)
        out[...] = 0.0 if given.bias is None else given.bias.reshape(1, -1, 1, 1)
        for item in range(workload.n):
            for o in range(workload.c_out):
                first = o // out_group * in_group
                for i in range(in_group):
                    out[item, o] += pair(padded[item, first + i], kernels[o, i])[::sh, ::sw]
        return out

    return run


def _quickest(image: Any, kernel: Any) -> Callable[[Any, Any], Any]:
    from time import perf_counter

    from scipy import signal

    def by_method(method: str) -> Callable[[Any, Any], Any]:
        return lambda a, k: signal.correlate(a, k, mode="valid", method=method)

    ways = [lambda a, k: signal.oaconvolve(a, k[::-1, ::-1], mode="valid"), by_method("fft")]
    if image.size * kernel.size < 2e9:  # direct correlation at some 1e9 products a second would take longer than it can win
        ways.append(by_method("direct"))
    seconds = []
    for way in ways:
        way(image, kernel)  # the first call loads FFT plans
        start = perf_counter()
        way(image, kernel)
        seconds.append(perf_counter() - start)
    return ways[int(np.argmin(seconds))]


def _pool(workload: Workload, x: Any) -> Callable[[], Any]:
    from scipy import ndimage

    find = ndimage.maximum_filter if workload.is_max else ndimage.uniform_filter
    size = (1, 1, workload.kh, workload.kw)
    # A filter's window is centred: the one that starts at i has its centre at i + k // 2.
    rows = slice(workload.kh // 2, workload.kh // 2 + (workload.oh - 1) * workload.stride[0] + 1, workload.stride[0])
    columns = slice(workload.kw // 2, workload.kw // 2 + (workload.ow - 1) * workload.stride[1] + 1, workload.stride[1])
    return lambda: find(x, size)[:, :, rows, columns]
