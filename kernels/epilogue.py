"""What may follow a convolution, element by element, in NumPy: the composition that serves every method that cannot fuse it.

Order: bias (the convolution's own), scale and shift per output channel, activation. Definitions as in PyTorch's functional module.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from kernels.implementation import Operands
from kernels.problem import Conv

Array = np.ndarray


def _gelu(y: Array, slope: float) -> Array:
    from scipy.special import erf  # 0.1 s at import, needed by this one only

    return y * 0.5 * (1 + erf(y * np.sqrt(0.5).astype(y.dtype)))


def _sigmoid(y: Array, slope: float) -> Array:
    from scipy.special import expit  # does not overflow on either side

    return expit(y)


def _elu(y: Array, slope: float) -> Array:
    return np.where(y > 0, y, slope * np.expm1(np.minimum(y, 0)))


def _gelu_tanh(y: Array, slope: float) -> Array:
    return 0.5 * y * (1 + np.tanh(np.sqrt(2 / np.pi) * (y + 0.044715 * y**3)))


def _hardsigmoid(y: Array, slope: float) -> Array:
    return np.clip(y + 3, 0, 6) / 6


FUNCTIONS: dict[str, Callable[[Array, float], Array]] = {
    "relu": lambda y, slope: np.maximum(y, 0),
    "relu6": lambda y, slope: np.clip(y, 0, 6),
    "leaky_relu": lambda y, slope: np.where(y > 0, y, y * slope),
    "elu": _elu,
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "sigmoid": _sigmoid,
    "tanh": lambda y, slope: np.tanh(y),
    "silu": lambda y, slope: y * _sigmoid(y, slope),
    "hardswish": lambda y, slope: y * _hardsigmoid(y, slope),
    "hardsigmoid": _hardsigmoid,
}


@np.errstate(all="ignore")  # NaN and inf are values here, as in compiled epilogues
def apply(problem: Conv, operands: Operands, y: Array) -> None:
    """Scale, shift and activation in place on y (n, c_out, *spatial), one image at a time to bound the temporaries."""
    column = (-1,) + (1,) * len(problem.size)
    for image in y:
        if problem.scale:
            assert operands.scale is not None and operands.shift is not None
            image *= operands.scale.reshape(column)
            image += operands.shift.reshape(column)
        if problem.activation:
            name, slope = problem.activation
            image[...] = FUNCTIONS[name](image, slope)
