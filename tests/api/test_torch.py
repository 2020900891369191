"""PyTorch's answers to the same calls, where it is installed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import reference
from cases import CONV, POOL, ConvCase, PoolCase

import kernels

torch = pytest.importorskip("torch")
functional = torch.nn.functional


def symmetric(padding: Any) -> bool:
    return all(before == after for before, after in padding)


@pytest.mark.parametrize("case", [case for case in CONV if symmetric(case.padding)], ids=lambda case: case.name)
def test_convolution(case: ConvCase) -> None:
    x, weight, bias = case.arrays("float64")
    padding = tuple(before for before, _ in case.padding)
    # the positional call is pasted: it must mean the same in both
    arguments = case.stride, padding, case.dilation, case.groups
    theirs = getattr(functional, case.op)(*map(torch.from_numpy, (x, weight, bias)), *arguments)
    ours = getattr(kernels, case.op)(x, weight, bias, *arguments)
    assert ours.shape == tuple(theirs.shape)
    assert reference.share(ours, theirs.numpy()) <= 1e-12


def test_same_padding_at_stride_1() -> None:
    x, weight = np.random.default_rng(0).standard_normal((1, 2, 9, 14)), np.random.default_rng(1).standard_normal((3, 2, 4, 3))
    theirs = functional.conv2d(torch.from_numpy(x), torch.from_numpy(weight), padding="same", dilation=(1, 2)).numpy()
    np.testing.assert_allclose(kernels.conv2d(x, weight, padding="same", dilation=(1, 2)), theirs, rtol=0, atol=1e-12)


def allowed(case: PoolCase) -> bool:
    """PyTorch pads pools evenly, by at most half the window, and has no empty batch here."""
    return symmetric(case.padding) and all(before <= k // 2 for (before, _), k in zip(case.padding, case.kernel)) and case.n > 0


@pytest.mark.parametrize("case", [case for case in POOL if allowed(case)], ids=lambda case: case.name)
def test_pooling(case: PoolCase) -> None:
    x, axes = case.x("float64"), len(case.size)
    padding = tuple(before for before, _ in case.padding)
    arguments = case.kernel, case.stride, padding, case.dilation, case.ceil_mode, True
    values, where = getattr(functional, f"max_pool{axes}d")(torch.from_numpy(x), *arguments)
    ours, ours_where = getattr(kernels, f"max_pool{axes}d")(x, *arguments)
    np.testing.assert_array_equal(ours, values.numpy())
    np.testing.assert_array_equal(ours_where, where.numpy())
    if set(case.dilation) == {1}:  # PyTorch does not dilate averages
        for counted in (True, False):
            arguments = case.kernel, case.stride, padding, case.ceil_mode, counted
            theirs = getattr(functional, f"avg_pool{axes}d")(torch.from_numpy(x), *arguments).numpy()
            np.testing.assert_allclose(getattr(kernels, f"avg_pool{axes}d")(x, *arguments), theirs, rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", ["relu", "relu6", "leaky_relu", "elu", "gelu", "sigmoid", "tanh", "silu", "hardswish", "hardsigmoid"])
def test_activations(name: str) -> None:
    x = np.linspace(-9, 9, 400).reshape(1, 1, 400)
    theirs = getattr(functional, name)(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(kernels.conv1d(x, np.ones((1, 1, 1)), activation=name), theirs, rtol=0, atol=1e-13)


def test_gelu_by_tanh() -> None:
    x = np.linspace(-9, 9, 400).reshape(1, 1, 400)
    theirs = functional.gelu(torch.from_numpy(x), approximate="tanh").numpy()
    np.testing.assert_allclose(kernels.conv1d(x, np.ones((1, 1, 1)), activation="gelu_tanh"), theirs, rtol=0, atol=1e-13)


def test_tensors_are_taken_and_arrays_returned() -> None:
    x, weight = torch.randn(1, 2, 9, generator=torch.Generator().manual_seed(0)), torch.ones(3, 2, 4)
    y = kernels.conv1d(x, weight, torch.zeros(3))
    assert isinstance(y, np.ndarray) and y.dtype == np.float32
    np.testing.assert_allclose(y, functional.conv1d(x, weight).numpy(), rtol=0, atol=1e-5)
    np.testing.assert_array_equal(kernels.max_pool1d(x.double(), 2), functional.max_pool1d(x.double(), 2).numpy())
    transposed = x.transpose(0, 1)
    np.testing.assert_array_equal(kernels.max_pool1d(transposed, 2), functional.max_pool1d(transposed, 2).numpy())
    with pytest.raises(kernels.ProblemError, match="conv1d: x"):
        kernels.conv1d(x.clone().requires_grad_(), weight)
    with pytest.raises(kernels.ProblemError, match="conv1d: x"):
        kernels.conv1d(x.bfloat16(), weight)
