"""Gradients of pools: each output's gradient goes back to the input that was largest, or is shared out over its window.

A thread does whole planes, one output after another, so sums have one order whatever the threads.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kernels.runtime.jit import njit
from kernels.runtime.regions import region

Array = np.ndarray


class Axis(NamedTuple):
    """Windows along one axis, by output position. first: the first input inside; number: how many are; divides: what the average divides
    by along this axis; step: inputs from one to the next."""

    first: Array
    number: Array
    divides: Array
    step: int


@region
def scatter(p, thread, grad, indices, out, outside):
    """A plane of out (planes, inputs) from grad and indices (planes, outputs); a plane with an index outside the inputs
    has a 1 in `outside`."""
    target = out[p]
    target[:] = 0
    for i in range(grad.shape[1]):
        at = indices[p, i]
        if 0 <= at < target.shape[0]:
            target[at] += grad[p, i]
        else:
            outside[p] = 1


@region
def share(p, thread, grad, out, divisor, d, h, w):
    """A plane of out (planes, d, h, w) from grad (planes, od, oh, ow), averages over windows as the Axis of each axis says, or sums divided
    by `divisor` if not 0."""
    target = out[p]
    target[:] = 0
    for i in range(grad.shape[1]):
        for j in range(grad.shape[2]):
            for k in range(grad.shape[3]):
                by = divisor if divisor != 0 else d.divides[i] * h.divides[j] * w.divides[k]
                part = grad[p, i, j, k] / by if by != 0 else 0 * grad[p, i, j, k]
                for a in range(d.number[i]):
                    for b in range(h.number[j]):
                        row = target[d.first[i] + a * d.step, h.first[j] + b * h.step]
                        for c in range(w.number[k]):
                            row[w.first[k] + c * w.step] += part


@njit
def first_largest(source, base, taps):
    """Which of the taps, offsets from `base` on, has the first of the largest numbers, or the first NaN. Without branches: where maxima are
    is not to be foreseen."""
    at, best = taps[0], source[base + taps[0]]
    for t in range(1, len(taps)):
        here = taps[t]
        value = source[base + here]
        larger = (value > best) | ((value != value) & (best == best))
        best = value if larger else best
        at = here if larger else at
    return at


@njit
def largest_at_edge(source, d, h, w, window, sizes):
    """The place of the first of the largest numbers of the window (i, j, k), which has fewer taps than others."""
    (i, j, k), height, width = window, sizes[0], sizes[1]
    at = (d.first[i] * height + h.first[j]) * width + w.first[k]
    best = source[at]
    for a in range(d.number[i]):
        for b in range(h.number[j]):
            for c in range(w.number[k]):
                here = ((d.first[i] + a * d.step) * height + h.first[j] + b * h.step) * width + w.first[k] + c * w.step
                value = source[here]
                if value > best or (value != value and best == best):
                    at, best = here, value
    return at


@region
def maxima(p, thread, x, grad, out, taps, sizes, d, h, w):
    """A plane of out (planes, inputs) from x alike and grad (planes, od, oh, ow): each gradient added to the first largest input of its
    window, or to the first NaN, with windows as the Axis of each axis says; taps: offsets of those of a whole one; sizes: height and
    width of a plane."""
    source, target, (height, width) = x[p], out[p], (sizes[0], sizes[1])
    target[:] = 0
    for i in range(grad.shape[1]):
        for j in range(grad.shape[2]):
            whole = d.number[i] * h.number[j]
            row = np.uint64((d.first[i] * height + h.first[j]) * width)
            for k in range(grad.shape[3]):
                if whole * w.number[k] == len(taps):
                    base = row + np.uint64(w.first[k])
                    place = base + first_largest(source, base, taps)
                else:
                    place = np.uint64(largest_at_edge(source, d, h, w, (i, j, k), sizes))
                target[place] += grad[p, i, j, k]
