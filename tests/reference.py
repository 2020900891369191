"""What the answers must be, in float64, by routes that share nothing with the library: window views and tensordot, and SciPy.

Arrays have a batch axis and channels first; spatial axes may be any number; padding is one (before, after) pair per axis.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import scipy.ndimage
import scipy.signal
import scipy.special
from numpy.lib.stride_tricks import sliding_window_view

Array = np.ndarray
Ints = Sequence[int]
Pairs = Sequence[tuple[int, int]]


def _spread(kernel: Array, dilation: Ints, first: int) -> Array:
    """`kernel` with dilation - 1 zeros between its taps along each axis from `first` on."""
    lengths = [(k - 1) * d + 1 for k, d in zip(kernel.shape[first:], dilation)]
    wide = np.zeros((*kernel.shape[:first], *lengths))
    wide[(..., *(slice(None, None, d) for d in dilation))] = kernel
    return wide


def conv(x: Array, weight: Array, bias: Array | None, stride: Ints, padding: Pairs, dilation: Ints, groups: int) -> Array:
    """Cross-correlation of x (n, c_in, *size) with weight (c_out, c_in/groups, *kernel), all windows viewed at once."""
    spatial = tuple(range(2, x.ndim))
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), *padding))
    lengths = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilation)]
    windows = sliding_window_view(padded, lengths, axis=spatial)
    windows = windows[(slice(None), slice(None), *(slice(None, None, s) for s in stride), *(slice(None, None, d) for d in dilation))]
    ins, outs = x.shape[1] // groups, weight.shape[0] // groups
    taps = [-axis for axis in range(len(spatial), 0, -1)]
    parts = []
    for g in range(groups):
        kernels = weight[g * outs : (g + 1) * outs].astype(np.float64)
        part = np.tensordot(windows[:, g * ins : (g + 1) * ins], kernels, axes=([1, *taps], [1, *spatial]))
        parts.append(np.moveaxis(part, -1, 1))
    y = np.concatenate(parts, axis=1)
    return y if bias is None else y + bias.astype(np.float64).reshape(-1, *(1 for _ in spatial))


def conv_by_scipy(x: Array, weight: Array, bias: Array | None, stride: Ints, padding: Pairs, dilation: Ints, groups: int) -> Array:
    """The same by scipy.signal.correlate, one pair of channels at a time."""
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), *padding))
    wide = _spread(weight.astype(np.float64), dilation, 2)
    ins, outs = x.shape[1] // groups, weight.shape[0] // groups
    size = [(n - k) // s + 1 for n, k, s in zip(padded.shape[2:], wide.shape[2:], stride)]
    y = np.zeros((x.shape[0], weight.shape[0], *size))
    steps = tuple(slice(None, None, s) for s in stride)
    for n, j, c in itertools.product(range(x.shape[0]), range(weight.shape[0]), range(ins)):
        y[n, j] += scipy.signal.correlate(padded[n, j // outs * ins + c], wide[j, c], mode="valid", method="direct")[steps]
    return y if bias is None else y + bias.astype(np.float64).reshape(-1, *(1 for _ in size))


def conv_transpose(
    x: Array, weight: Array, bias: Array | None, stride: Ints, padding: Pairs, output_padding: Ints, dilation: Ints, groups: int
) -> Array:
    """Scattered: every tap of weight (c_in, c_out/groups, *kernel) adds to outputs `stride` apart; then the rim is cropped."""
    ins, outs = x.shape[1] // groups, weight.shape[1]
    full = [(n - 1) * s + (k - 1) * d + 1 + o for n, s, k, d, o in zip(x.shape[2:], stride, weight.shape[2:], dilation, output_padding)]
    y = np.zeros((x.shape[0], groups * outs, *full))
    for tap in np.ndindex(weight.shape[2:]):
        spots = tuple(slice(t * d, t * d + (n - 1) * s + 1, s) for t, d, n, s in zip(tap, dilation, x.shape[2:], stride))
        for g in range(groups):
            block = x[:, g * ins : (g + 1) * ins].astype(np.float64), weight[(slice(g * ins, (g + 1) * ins), slice(None), *tap)]
            y[(slice(None), slice(g * outs, (g + 1) * outs), *spots)] += np.einsum("nc...,cj->nj...", *block)
    y = y[(..., *(slice(before, length - after) for (before, after), length in zip(padding, full)))]
    return y if bias is None else y + bias.astype(np.float64).reshape(-1, *(1 for _ in full))


def pool_size(size: Ints, kernel: Ints, stride: Ints, padding: Pairs, dilation: Ints, ceil_mode: bool) -> tuple[int, ...]:
    """Windows per axis; with ceil_mode one may overhang the padded end if it starts inside the input or its leading padding."""
    result = []
    for n, k, s, (before, after), d in zip(size, kernel, stride, padding, dilation):
        starts = range(0, n + before if ceil_mode else n + before + after, s)
        whole = [start for start in starts if start + (k - 1) * d < n + before + after]
        overhang = [start for start in starts if start > whole[-1]][:1] if ceil_mode else []
        # the window before the overhanging one may end exactly at the padded end: then nothing is left to cover
        covered = whole[-1] + (k - 1) * d == n + before + after - 1
        result.append(len(whole) + (len(overhang) if not covered else 0))
    return tuple(result)


def _pool_windows(x: Array, fill: float, kernel: Ints, stride: Ints, padding: Pairs, dilation: Ints, out: Ints) -> Array:
    """Windows (n, c, *out, taps) of x extended by `fill` as far as the last window reaches."""
    reach = [(o - 1) * s + (k - 1) * d + 1 for o, s, k, d in zip(out, stride, kernel, dilation)]
    pairs = [(before, max(0, r - n - before)) for r, n, (before, _) in zip(reach, x.shape[2:], padding)]
    wide = np.pad(x, ((0, 0), (0, 0), *pairs), constant_values=fill)
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilation)]
    windows = sliding_window_view(wide, spans, axis=tuple(range(2, x.ndim)))
    windows = windows[(slice(None), slice(None), *(slice(None, None, s) for s in stride), *(slice(None, None, d) for d in dilation))]
    windows = windows[(slice(None), slice(None), *(slice(o) for o in out))]
    return windows.reshape(*x.shape[:2], *out, math.prod(kernel))


def max_pool(x: Array, kernel: Ints, stride: Ints, padding: Pairs, dilation: Ints, ceil_mode: bool) -> tuple[Array, Array]:
    """(maxima, flat position of the first of the largest); a window that sees no input has -inf and position 0."""
    out = pool_size(x.shape[2:], kernel, stride, padding, dilation, ceil_mode)
    values = _pool_windows(x.astype(np.float64), -math.inf, kernel, stride, padding, dilation, out)
    flat = np.arange(math.prod(x.shape[2:]), dtype=np.float64).reshape(1, 1, *x.shape[2:])
    where = _pool_windows(flat, -1.0, kernel, stride, padding, dilation, out)
    maxima = values.max(axis=-1)
    # an input of -inf must win over padding, which has the same value
    tap = np.where(np.isneginf(maxima), np.broadcast_to((where >= 0).argmax(axis=-1), maxima.shape), values.argmax(axis=-1))
    chosen = np.take_along_axis(np.broadcast_to(where, values.shape), tap[..., None], axis=-1)[..., 0]
    return maxima, np.maximum(chosen, 0).astype(np.int64)


def avg_pool(
    x: Array, kernel: Ints, stride: Ints, padding: Pairs, dilation: Ints, ceil_mode: bool, count_include_pad: bool, divisor: int | None
) -> Array:
    """Averages; the overhang of ceil_mode never counts, padding does where asked for."""
    out = pool_size(x.shape[2:], kernel, stride, padding, dilation, ceil_mode)
    totals = _pool_windows(x.astype(np.float64), 0.0, kernel, stride, padding, dilation, out).sum(axis=-1)
    if divisor is not None:
        return totals / divisor
    if count_include_pad:
        ones = np.ones((1, 1, *(n + before + after for n, (before, after) in zip(x.shape[2:], padding))))
        counts = _pool_windows(ones, 0.0, kernel, stride, [(0, 0)] * len(out), dilation, out).sum(axis=-1)
    else:
        counts = _pool_windows(np.ones((1, 1, *x.shape[2:])), 0.0, kernel, stride, padding, dilation, out).sum(axis=-1)
    return np.where(counts > 0, totals / np.maximum(counts, 1), 0.0)


def adaptive_pool(x: Array, outputs: Ints, kind: str) -> tuple[Array, Array]:
    """(maxima or averages, flat positions of the first maxima) of windows floor(i*n/o) to ceil((i+1)*n/o)."""
    y, where = np.zeros((*x.shape[:2], *outputs)), np.zeros((*x.shape[:2], *outputs), np.int64)
    flat = np.arange(math.prod(x.shape[2:])).reshape(x.shape[2:])
    for place in np.ndindex(*outputs):
        axes = zip(place, x.shape[2:], outputs)
        box = tuple(slice(math.floor(i * n / o), math.ceil((i + 1) * n / o)) for i, n, o in axes)
        values = x[(slice(None), slice(None), *box)].astype(np.float64)
        values = values.reshape(*x.shape[:2], math.prod(values.shape[2:]))
        y[(slice(None), slice(None), *place)] = values.max(axis=-1) if kind == "max" else values.mean(axis=-1)
        where[(slice(None), slice(None), *place)] = flat[box].ravel()[values.argmax(axis=-1)]
    return y, where


def max_pool_by_scipy(x: Array, kernel: Ints, stride: Ints) -> Array:
    """Unpadded, undilated maxima by scipy.ndimage.maximum_filter, subsampled."""
    size = (1, 1, *kernel)
    full = scipy.ndimage.maximum_filter(x, size=size, origin=[-(k // 2) for k in size], mode="constant", cval=-math.inf)
    whole = [slice(0, n - k + 1, s) for n, k, s in zip(x.shape[2:], kernel, stride)]
    return full[(slice(None), slice(None), *whole)]


ACTIVATIONS = {
    "relu": lambda v, a: max(v, 0.0),
    "relu6": lambda v, a: min(max(v, 0.0), 6.0),
    "leaky_relu": lambda v, a: v if v >= 0 else a * v,
    "elu": lambda v, a: v if v >= 0 else a * math.expm1(v),
    "gelu": lambda v, a: v * 0.5 * math.erfc(-v / math.sqrt(2.0)),
    "gelu_tanh": lambda v, a: 0.5 * v * (1.0 + math.tanh(math.sqrt(2.0 / math.pi) * (v + 0.044715 * v**3))),
    "sigmoid": lambda v, a: 1.0 / (1.0 + math.exp(-v)) if v >= 0 else math.exp(v) / (1.0 + math.exp(v)),
    "tanh": lambda v, a: math.tanh(v),
    "silu": lambda v, a: v / (1.0 + math.exp(-v)) if v >= 0 else v * math.exp(v) / (1.0 + math.exp(v)),
    "hardswish": lambda v, a: v * min(max(v + 3.0, 0.0), 6.0) / 6.0,
    "hardsigmoid": lambda v, a: min(max(v + 3.0, 0.0), 6.0) / 6.0,
}


def activate(y: Array, name: str, slope: float = 0.0) -> Array:
    """An activation element by element with Python's math module."""
    return np.array([ACTIVATIONS[name](float(v), slope) for v in y.ravel()]).reshape(y.shape)


def rounding(summands: int) -> float:
    """Error of the float64 answers above, as a share of the largest: it matters only where float64 is tested."""
    return 4 * float(np.finfo(np.float64).eps) * math.sqrt(summands + 1)


def share(y: Array, expected: Array) -> float:
    """The largest error as a share of the largest expected value; NaN if anything was left unwritten."""
    if not expected.size:
        return 0.0
    largest = float(np.abs(expected).max())
    error = float(np.abs(y.astype(np.float64) - expected).max())
    return error / largest if largest else error
