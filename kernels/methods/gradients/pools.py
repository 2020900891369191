"""Gradients of pools: each output's gradient goes back to the input that was largest, or is shared out over its window.

A thread does whole planes, one output after another, so sums have one order whatever the threads.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

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


@region
def maxima(p, thread, x, grad, out, d, h, w):
    """A plane of out (planes, d, h, w) from x alike and grad (planes, od, oh, ow): each gradient added to the first largest input of
    its window, or to the first NaN, with windows as the Axis of each axis says."""
    source, target = x[p], out[p]
    target[:] = 0
    for i in range(grad.shape[1]):
        for j in range(grad.shape[2]):
            for k in range(grad.shape[3]):
                at, best = (d.first[i], h.first[j], w.first[k]), source[d.first[i], h.first[j], w.first[k]]
                for a in range(d.number[i]):
                    for b in range(h.number[j]):
                        for c in range(w.number[k]):
                            here = d.first[i] + a * d.step, h.first[j] + b * h.step, w.first[k] + c * w.step
                            value = source[here]
                            if value > best or (value != value and best == best):
                                at, best = here, value
                target[at] += grad[p, i, j, k]
