"""The answer in float64, by a route the library does not take, and how far a float32 answer may be from it.

Convolution is summed by kernel taps: a few taps at a time, the matrix product of their weights with strided views of the padded input is
added to the output; in a transposed layer that with the input is added to strided views of the output. All is float64 (NumPy). Nothing is
rounded to float32 on the way, and nothing transformed up to TAPS taps. A 2 s impulse response has 88,200 of them, which would take minutes
a channel; longer kernels go through float64 transforms (scipy.fft). Their error grows with the logarithm of the length, to some 1e-15 of
the largest output, nine digits below what is allowed; a test holds both ways to each other.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from math import prod, sqrt

import numpy as np
import numpy.typing as npt
from scipy import fft

from benchmarks.inputs import expected_gradients
from benchmarks.inputs.clip import Clip
from benchmarks.inputs.tensors import Tensors
from benchmarks.workloads.layer import Workload
from benchmarks.workloads.networks import Network
from benchmarks.workloads.nodes import BATCH_NORM_EPSILON, Node
from benchmarks.workloads.training_passes import Training

Doubles = npt.NDArray[np.float64]
OPS = (
    "conv1d", "conv2d", "conv_transpose1d", "conv_transpose2d", "max_pool1d", "max_pool2d", "avg_pool1d", "avg_pool2d",
    "global_avg_pool", "global_max_pool",
)  # fmt: skip
EPSILON = float(np.finfo(np.float32).eps)
TAPS = 4096  # summed one by one up to here
TINY = float(np.finfo(np.float32).tiny)
KEEP_BYTES = 1 << 30  # answers remembered between passes


def refuse(workload: Workload) -> str | None:
    """Why there is nothing to check an answer with, or None."""
    if isinstance(workload, Network):
        return None
    if isinstance(workload, Training) and workload.kh * workload.kw > TAPS:
        return f"the suite sums gradients tap by tap in float64, of up to {TAPS} taps; this kernel has {workload.kh * workload.kw}"
    if workload.op not in OPS:
        return f"the suite has no float64 reference for {workload.op}, and times nothing that it cannot check"
    return None


def answer(workload: Workload, given: Tensors) -> Doubles:
    """The workload's output in float64."""
    if isinstance(workload, Network):
        return _chain(workload.nodes, given.x.astype(np.float64))
    if isinstance(workload, Training):
        return expected_gradients.answer(workload, given, answer)
    x = given.x.astype(np.float64).reshape(workload.n, workload.c_in, workload.h, workload.w)
    if workload.is_global:
        out = x.max(axis=(2, 3), keepdims=True) if workload.is_max else x.mean(axis=(2, 3), keepdims=True)
    elif workload.is_transposed:
        out = _transposed(workload, x, given)
    elif workload.is_conv:
        out = (_convolve if workload.kh * workload.kw <= TAPS else transformed)(workload, x, given)
    else:
        out = _pool(workload, x)
    return out.reshape(workload.out_shape)


def _pool(workload: Workload, x: Doubles) -> Doubles:
    """Tap by tap; an average is divided by how many of its taps count."""
    (sh, sw), (dh, dw) = workload.stride, workload.dilation
    spans = [(size - 1) * step + (kernel - 1) * apart + 1 for size, step, kernel, apart in zip(
        (workload.oh, workload.ow), workload.stride, (workload.kh, workload.kw), workload.dilation)]  # fmt: skip
    # what a window of ceil_mode overhangs by is neither input nor padding
    past = [max(0, span - before - size - after) for span, size, (before, after) in zip(spans, x.shape[2:], workload.padding)]

    def combined(values: Doubles, padding: float, combine: np.ufunc) -> Doubles:
        padded = np.pad(values, ((0, 0), (0, 0), *workload.padding), constant_values=padding)
        padded = np.pad(padded, ((0, 0), (0, 0), *((0, more) for more in past)), constant_values=-np.inf if workload.is_max else 0)
        rows, columns = (workload.oh - 1) * sh + 1, (workload.ow - 1) * sw + 1
        taps = (padded[:, :, a * dh : a * dh + rows : sh, b * dw : b * dw + columns : sw] for a, b in np.ndindex(workload.kh, workload.kw))
        out = next(taps).copy()
        for tap in taps:
            combine(out, tap, out=out)
        return out

    if workload.is_max:
        return combined(x, -np.inf, np.maximum)
    counted = combined(np.ones((1, 1, workload.h, workload.w)), float(workload.count_include_pad), np.add)
    return combined(x, 0.0, np.add) / counted


def _convolve(workload: Workload, x: Doubles, given: Tensors) -> Doubles:
    assert given.weight is not None
    n, groups, oh, ow = workload.n, workload.groups, workload.oh, workload.ow
    (sh, sw), (dh, dw) = workload.stride, workload.dilation
    x = np.pad(x, ((0, 0), (0, 0), *workload.padding))
    weight = given.weight.astype(np.float64).reshape(groups, workload.c_out // groups, workload.c_in // groups, workload.kh, workload.kw)
    out = np.zeros((n, groups, workload.c_out // groups, oh * ow))
    windows = np.lib.stride_tricks.sliding_window_view(x, (workload.kw - 1) * dw + 1, axis=3)[:, :, :, ::sw, ::dw]  # (n, c_in, h, ow, kw)
    taps = max(1, 64 // weight.shape[2])  # so many at once that a product is worth its call
    for a in range(workload.kh):
        rows = windows[:, :, a * dh : a * dh + (oh - 1) * sh + 1 : sh]
        for b in range(0, workload.kw, taps):
            block = rows[..., b : b + taps].transpose(0, 1, 4, 2, 3)
            some = np.ascontiguousarray(weight[:, :, :, a, b : b + taps]).reshape(*weight.shape[:2], -1)
            out += some @ block.reshape(n, groups, some.shape[2], oh * ow)
    if given.bias is not None:
        out += given.bias.astype(np.float64).reshape(groups, -1, 1)
    return out


def transformed(workload: Workload, x: Doubles, given: Tensors) -> Doubles:
    """Convolution by one transform over each whole padded channel, whose first outputs, which wrap round, are left out."""
    assert given.weight is not None
    n, groups, (sh, sw), (dh, dw) = workload.n, workload.groups, workload.stride, workload.dilation
    x = np.pad(x, ((0, 0), (0, 0), *workload.padding))
    reach = (workload.kh - 1) * dh, (workload.kw - 1) * dw
    weight = given.weight.reshape(workload.c_out, workload.c_in // groups, workload.kh, workload.kw)
    sizes = [fft.next_fast_len(size, real=True) for size in x.shape[2:]]
    out = np.empty((n, workload.c_out, workload.oh, workload.ow))
    for item in range(n):
        spectra = fft.rfft2(x[item], sizes).reshape(groups, workload.c_in // groups, sizes[0], -1)
        for channel in range(workload.c_out):
            turned = np.zeros((workload.c_in // groups, reach[0] + 1, reach[1] + 1))
            turned[:, ::dh, ::dw] = weight[channel, :, ::-1, ::-1]
            product = (spectra[channel * groups // workload.c_out] * fft.rfft2(turned, sizes)).sum(axis=0)
            whole = fft.irfft2(product, sizes)[reach[0] : x.shape[2], reach[1] : x.shape[3]]
            out[item, channel] = whole[::sh, ::sw]
    if given.bias is not None:
        out += given.bias.astype(np.float64).reshape(-1, 1, 1)
    return out


def _transposed(workload: Workload, x: Doubles, given: Tensors) -> Doubles:
    """By its definition: each value of the input adds its multiple of the kernel to the output, whose ends the padding crops."""
    assert given.weight is not None
    n, groups, outs, ins = workload.n, workload.groups, workload.c_out // workload.groups, workload.c_in // workload.groups
    (h, w), (sh, sw), (dh, dw) = (workload.h, workload.w), workload.stride, workload.dilation
    weight = given.weight.astype(np.float64).reshape(groups, ins, outs, workload.kh, workload.kw).transpose(0, 3, 2, 4, 1)
    spans = (h - 1) * sh + (workload.kh - 1) * dh + 1, (w - 1) * sw + (workload.kw - 1) * dw + 1
    whole = np.zeros((n, groups, outs, *spans))
    values = x.reshape(n, groups, ins, h * w)
    taps = max(1, 64 // workload.c_out)  # so many at once that a product is worth its call
    for a in range(workload.kh):
        rows = whole[..., a * dh : a * dh + (h - 1) * sh + 1 : sh, :]
        for b in range(0, workload.kw, taps):
            some = weight[:, a, :, b : b + taps]
            products = (some.reshape(groups, -1, ins) @ values).reshape(n, groups, outs, -1, h, w)
            for tap in range(products.shape[3]):
                start = (b + tap) * dw
                rows[..., start : start + (w - 1) * sw + 1 : sw] += products[:, :, :, tap]
    crop = (slice(max(before, 0), span - max(after, 0)) for span, (before, after) in zip(spans, workload.padding))
    beyond = ((max(-before, 0), max(-after, 0)) for before, after in workload.padding)  # an output padding, which no kernel reaches
    out = np.pad(whole[(..., *crop)], ((0, 0), (0, 0), (0, 0), *beyond))
    if given.bias is not None:
        out += given.bias.astype(np.float64).reshape(groups, outs, 1, 1)
    return out


def _chain(nodes: tuple[Node, ...], x: Doubles) -> Doubles:
    """All layers of a network, one after the other."""
    for node in nodes:
        x = _node(node, x)
    return x


def _node(node: Node, x: Doubles) -> Doubles:
    if node.workload:
        weight, bias = (*node.arrays, None, None)[:2]
        return answer(node.workload, Tensors(x, weight, bias))
    if node.op == "batch_norm":
        mean, var, gamma, beta = (node.along(array.astype(np.float64)) for array in node.arrays)
        return (x - mean) / np.sqrt(var + BATCH_NORM_EPSILON) * gamma + beta
    if node.op == "linear":
        return x @ node.arrays[0].T.astype(np.float64) + node.arrays[1]
    if node.branches:
        parts = [_chain(branch, x) for branch in node.branches]
        return np.concatenate(parts, axis=1) if node.op == "concatenate" else np.sum(parts, axis=0)
    return {
        "relu": lambda: np.maximum(x, 0.0), "elu": lambda: np.where(x > 0, x, np.expm1(np.minimum(x, 0.0))),
        "sigmoid": lambda: 1 / (1 + np.exp(-x)), "flatten": lambda: x.reshape(node.out_shape),
    }[node.op]()  # fmt: skip


def largest_sum(workload: Workload, given: Tensors) -> float | None:
    """The largest sum of |x| |w| over a window, |bias| in it: rounding is a share of it, however much cancels. None for what has several
    kinds of sums: networks, steps of training."""
    if isinstance(workload, Network) or len(workload.parts) > 1:
        return None
    x, weight, bias, grad = (None if array is None else np.abs(array) for array in (given.x, given.weight, given.bias, given.grad))
    assert x is not None
    return float(answer(workload, Tensors(x, weight, bias, grad)).max(initial=0.0))


@dataclass(frozen=True, eq=False)
class Expected:
    """The answer in float64, the largest sum of |x| |w| behind one of its values (None: not known), and the lengths of the arrays that it
    holds one behind the other, where they are several."""

    answer: Doubles
    largest_sum: float | None = None
    lengths: tuple[int, ...] = ()

    def error(self, got: npt.NDArray[np.floating]) -> float:
        """The largest `error` of its arrays."""
        if not self.lengths:
            return error(got, self.answer)
        ends = np.cumsum(self.lengths)[:-1]
        return float(np.max([error(*both) for both in zip(np.split(got, ends), np.split(self.answer, ends))]))


_answers: OrderedDict[tuple[Workload, str, int], Expected] = OrderedDict()


def remembered(workload: Workload, given: Tensors, clip: Clip) -> Expected:
    """`answer` and `largest_sum`, remembered between contenders and passes as long as a gigabyte holds them."""
    key = (workload, clip.name, id(clip))
    if key not in _answers:
        lengths = tuple(map(prod, workload.parts)) if len(workload.parts) > 1 else ()
        _answers[key] = Expected(answer(workload, given), largest_sum(workload, given), lengths)
    _answers.move_to_end(key)
    while len(_answers) > 1 and sum(kept.answer.nbytes for kept in _answers.values()) > KEEP_BYTES:
        _answers.popitem(last=False)
    return _answers[key]


def error(got: npt.NDArray[np.floating], want: Doubles, scale: float | None = None) -> float:
    """max|got - want| as a share of max|want| or of `scale`; NaN if the answer holds one. What is below TINY is no error: denormals may
    be taken for zero."""
    scale = scale or float(np.abs(want).max(initial=0.0)) or 1.0
    most = float(np.abs(got.astype(np.float64) - want).max(initial=0.0))
    return 0.0 if most < TINY else most / scale


def tolerance(workload: Workload, want: Expected | None = None) -> float:
    """What a contender without a bound of its own is held to: a share of the largest output or, given what is expected, of the largest sum.

    Maxima are copies, so exact. A float32 sum of K terms errs by about 0.35 eps sqrt(K) of the largest output in the worst usual order (one
    running sum; blocks are better); four eps sqrt(K), K taken as at least 16, leaves a factor of ten, and is still 5x to 100x less than
    what bfloat16 arithmetic would show. The layers of a network add up.

    Where products cancel, as those of a zero-mean kernel on a signal with an offset, every float32 sum errs by more of the largest output:
    its partial sums are as large as the sum of |x| |w|. Four eps of that are allowed at least. Products of random signs add up to sqrt(K)
    times as much without their signs as with them, so that there both are the same.
    """
    if isinstance(workload, Network):
        return sum(4 * EPSILON * sqrt(max(terms, 16)) for terms in workload.sums)
    of_output = 0.0 if workload.is_max else 4 * EPSILON * sqrt(max(workload.summed, 16))
    if want is None or not want.largest_sum:
        return of_output
    largest = float(np.abs(want.answer).max(initial=0.0))
    return 0.0 if workload.is_max else max(of_output * largest / want.largest_sum, 4 * EPSILON)
