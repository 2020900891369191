"""SciPy: what its users write today. One call for a layer where one says it, else channel pair by channel pair; scipy.ndimage pools."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from time import perf_counter
from typing import Any, TypeVar

import numpy as np

from benchmarks.contenders.base import Contender, Prepared
from benchmarks.inputs.tensors import Tensors
from benchmarks.workloads.layer import Workload

PILOT_PAIRS = 16  # pairs of channels cost Python calls: 1024 x 128 of them take minutes, and each pair what any other takes
WHOLE_BYTES = 256 << 20  # of one call's full output: beyond, pairs are quicker than the memory that a call moves
Way = TypeVar("Way", bound=Callable[[], Any])
OPS = ("conv1d", "conv2d", "max_pool1d", "max_pool2d", "avg_pool1d", "avg_pool2d")


class SciPy(Contender):
    """The quickest of scipy.signal's oaconvolve and fftconvolve in one call, where a group has one input channel, and of pairs summed."""

    name = "scipy"
    peer = False  # a baseline: see results.BASELINES
    modules = ("scipy.signal", "scipy.ndimage")
    inside_timer = (
        "One oaconvolve or fftconvolve for the layer (its transforms on all threads) where a group has one input channel, or all channel "
        "pairs on one thread; strides computed in full and then subsampled, padding inside; kernels turned and dilated before."
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
        if not workload.is_conv and max(workload.dilation) > 1:
            return "scipy.ndimage's filters have no dilation"
        if workload.op.startswith("avg") and (workload.ceil_mode or (any(map(any, workload.padding)) and not workload.count_include_pad)):
            return "scipy.ndimage's mean divides by the whole window, padding and overhang included"
        return None

    def prepare(self, workload: Workload, given: Tensors, threads: int) -> Prepared:
        x = given.x.reshape(workload.n, workload.c_in, workload.h, workload.w)
        if not workload.is_conv:
            return Prepared(run=_pool(workload, x), answer=lambda y: y.reshape(workload.out_shape))
        name, run = _convolution(workload, x, given, threads)
        return Prepared(run=run, answer=lambda y: y.reshape(workload.out_shape), remark=f"chose {name}")


def _convolution(workload: Workload, x: Any, given: Tensors, threads: int) -> tuple[str, Callable[[], Any]]:
    """The quickest way and its name."""
    assert given.weight is not None
    (dh, dw), in_group = workload.dilation, workload.c_in // workload.groups
    kernels = np.zeros((workload.c_out, in_group, (workload.kh - 1) * dh + 1, (workload.kw - 1) * dw + 1), np.float32)
    kernels[:, :, ::dh, ::dw] = given.weight.reshape(workload.c_out, in_group, workload.kh, workload.kw)
    bias = None if given.bias is None else given.bias.reshape(1, -1, 1, 1)
    ways = _whole(workload, x, kernels, bias, threads) if in_group == 1 else {}
    return _quickest(ways | {"pairs": _pairs(workload, x, kernels, bias)})


def _whole(workload: Workload, x: Any, kernels: Any, bias: Any, threads: int) -> dict[str, Callable[[], Any]]:
    """One call over the spatial axes, channels broadcast. Its full output holds all padding up to a kernel's reach: no padded copy."""
    from scipy import fft, signal

    full = [size + kernel - 1 for size, kernel in zip(x.shape[2:], kernels.shape[2:])]
    skipped = [kernel - 1 - before for kernel, (before, _) in zip(kernels.shape[2:], workload.padding)]
    kept = [(size - 1) * step + 1 for size, step in zip((workload.oh, workload.ow), workload.stride)]
    if min(skipped) < 0 or any(start + length > size for start, length, size in zip(skipped, kept, full)):
        return {}  # more padding than a kernel reaches
    if workload.n * workload.c_out * full[0] * full[1] * 4 > WHOLE_BYTES:
        return {}
    window = (..., *(slice(start, start + length, step) for start, length, step in zip(skipped, kept, workload.stride)))
    axes = (-2, -1)[-workload.dims :]
    lifted = x[:, :, None]
    turned = np.ascontiguousarray(kernels[:, 0, ::-1, ::-1]).reshape(1, workload.c_in, -1, *kernels.shape[2:])

    def by(convolve: Callable[..., Any]) -> Callable[[], Any]:
        def run() -> Any:
            with fft.set_workers(threads):
                out = convolve(lifted, turned, axes=axes)[window]
            out = out.reshape(workload.n, workload.c_out, workload.oh, workload.ow)
            return out if bias is None else np.add(out, bias, out=out)

        return run

    return {"oaconvolve": by(signal.oaconvolve), "fftconvolve": by(signal.fftconvolve)}


def _pairs(workload: Workload, x: Any, kernels: Any, bias: Any) -> Callable[[], Any]:
    """Each pair of channels by whichever call is quickest on the first, added up."""
    (sh, sw), in_group, out_group = workload.stride, workload.c_in // workload.groups, workload.c_out // workload.groups
    around = ((0, 0), (0, 0), *workload.padding)
    out = np.empty((workload.n, workload.c_out, workload.oh, workload.ow), np.float32)
    image, kernel = np.pad(x[:1, :1], around)[0, 0], kernels[0, 0]
    _, pair = _quickest({name: partial(way, image, kernel) for name, way in _pair_ways(image.size * kernel.size).items()})

    def run() -> Any:
        padded = np.pad(x, around)
        out[...] = 0.0 if bias is None else bias
        for item in range(workload.n):
            for o in range(workload.c_out):
                first = o // out_group * in_group
                for i in range(in_group):
                    out[item, o] += pair.func(padded[item, first + i], kernels[o, i])[::sh, ::sw]
        return out

    return run


def _pair_ways(products: int) -> dict[str, Callable[[Any, Any], Any]]:
    from scipy import signal

    ways: dict[str, Callable[[Any, Any], Any]] = {
        "oaconvolve": lambda a, k: signal.oaconvolve(a, k[::-1, ::-1], mode="valid"),
        "fft": lambda a, k: signal.correlate(a, k, mode="valid", method="fft"),
    }
    if products < 2e9:  # direct correlation at some 1e9 products a second would take longer than it can win
        ways["direct"] = lambda a, k: signal.correlate(a, k, mode="valid", method="direct")
    return ways


def _quickest(ways: dict[str, Way]) -> tuple[str, Way]:
    """The way whose second call is quickest; first calls load tables of transforms. A single way is not called."""
    seconds = {}
    for name, way in ways.items() if len(ways) > 1 else ():
        way()
        start = perf_counter()
        way()
        seconds[name] = perf_counter() - start
    name = min(ways, key=lambda each: seconds.get(each, 0.0))
    return name, ways[name]


def _pool(workload: Workload, x: Any) -> Callable[[], Any]:
    from scipy import ndimage

    size = (1, 1, workload.kh, workload.kw)
    reach = [(outputs - 1) * step + kernel for outputs, step, kernel in zip((workload.oh, workload.ow), workload.stride, size[2:])]
    around = [(before, max(0, end - before - length)) for (before, _), end, length in zip(workload.padding, reach, x.shape[2:])]
    nothing = -np.inf if workload.is_max else 0.0
    find = ndimage.maximum_filter if workload.is_max else ndimage.uniform_filter
    # A filter's window is centred: the one that starts at i has its centre at i + k // 2.
    rows = slice(workload.kh // 2, workload.kh // 2 + (workload.oh - 1) * workload.stride[0] + 1, workload.stride[0])
    columns = slice(workload.kw // 2, workload.kw // 2 + (workload.ow - 1) * workload.stride[1] + 1, workload.stride[1])
    if not any(map(any, around)):
        return lambda: find(x, size)[:, :, rows, columns]
    return lambda: find(np.pad(x, ((0, 0), (0, 0), *around), constant_values=nothing), size)[:, :, rows, columns]
