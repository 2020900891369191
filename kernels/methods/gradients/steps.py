"""Derivatives of the activations that the epilogue knows, number by number."""

from __future__ import annotations

import math

import numpy as np

from kernels.runtime.jit import njit
from kernels.runtime.regions import region

Array = np.ndarray

RELU, RELU6, LEAKY, ELU, GELU, GELU_TANH, SIGMOID, TANH, SILU, HARDSWISH, HARDSIGMOID = range(11)
CODES = {
    "relu": RELU, "relu6": RELU6, "leaky_relu": LEAKY, "elu": ELU, "gelu": GELU, "gelu_tanh": GELU_TANH, "sigmoid": SIGMOID, "tanh": TANH,
    "silu": SILU, "hardswish": HARDSWISH, "hardsigmoid": HARDSIGMOID,
}  # fmt: skip
OF_INPUT = ("gelu", "gelu_tanh", "silu", "hardswish")  # not monotonous: outputs do not determine them
RUN = 4096  # numbers that a thread does at a time


@njit
def _from_output(code, slope, y):
    """The derivative where the activation has the value y."""
    if code == RELU:
        return 1.0 if y > 0 else 0.0
    if code == RELU6:
        return 1.0 if 0 < y < 6 else 0.0
    if code == LEAKY:
        return 1.0 if y > 0 else slope
    if code == ELU:
        return 1.0 if y > 0 else y + slope
    if code == SIGMOID:
        return y * (1.0 - y)
    if code == TANH:
        return 1.0 - y * y
    return 1.0 / 6.0 if 0 < y < 1 else 0.0  # hardsigmoid


@njit
def _from_input(code, slope, x):
    """The derivative at x."""
    if code == GELU:
        return 0.5 * math.erfc(-x / math.sqrt(2.0)) + x * math.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi)
    if code == GELU_TANH:
        k = math.sqrt(2.0 / math.pi)
        t = math.tanh(k * (x + 0.044715 * x * x * x))
        return 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * k * (1.0 + 3 * 0.044715 * x * x)
    if code == HARDSWISH:
        return 0.0 if x < -3 else 1.0 if x > 3 else x / 3.0 + 0.5
    s = 1.0 / (1.0 + math.exp(-abs(x)))
    s = s if x >= 0 else 1.0 - s
    if code == SILU:
        return s * (1.0 + x * (1.0 - s))
    if code == SIGMOID:
        return s * (1.0 - s)
    if code == TANH:
        return 1.0 - math.tanh(x) ** 2
    if code == HARDSIGMOID:
        return 1.0 / 6.0 if -3 < x < 3 else 0.0
    if code == RELU:
        return 1.0 if x > 0 else 0.0
    if code == RELU6:
        return 1.0 if 0 < x < 6 else 0.0
    if code == LEAKY:
        return 1.0 if x > 0 else slope
    return 1.0 if x > 0 else slope * math.exp(x)  # elu


@region
def activation(task, thread, grad, known, out, code, slope, of_input):
    """A run of out = grad times the derivative, all one axis; known: the activation's output, or its input."""
    for i in range(task * RUN, min(task * RUN + RUN, grad.shape[0])):
        factor = _from_input(code, slope, known[i]) if of_input else _from_output(code, slope, known[i])
        out[i] = grad[i] * factor
