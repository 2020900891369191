"""How one output channel comes about, with every number written out: 3 channels of 5x5, one filter of three 3x3 kernels, one bias."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import kernels
from kernels import Conv, implementations
from kernels.methods import load, registry
from kernels.methods.reference.conv_naive import add, filter_image, slide

load()

CHANNELS = np.array([
    [[1, 0, 2, 1, 0],
     [0, 1, 3, 0, 1],
     [2, 1, 0, 1, 2],
     [1, 0, 1, 2, 0],
     [0, 2, 1, 0, 1]],
    [[0, 1, 0, 1, 0],
     [1, 2, 1, 0, 1],
     [0, 1, 0, 2, 1],
     [1, 0, 1, 1, 0],
     [2, 1, 0, 0, 1]],
    [[1, 1, 0, 0, 2],
     [0, 1, 1, 0, 0],
     [0, 0, 1, 1, 0],
     [2, 0, 0, 1, 1],
     [1, 2, 0, 0, 1]],
])  # fmt: skip
KERNELS = np.array([
    [[1, 0, -1],
     [2, 0, -2],
     [1, 0, -1]],
    [[0, 1, 0],
     [1, -4, 1],
     [0, 1, 0]],
    [[1, 1, 0],
     [0, 1, 1],
     [0, 0, 1]],
])  # fmt: skip
BIAS = 10

# step 1: what each kernel makes of its channel. The first number by hand: 1*1 - 1*2 + 2*0 - 2*3 + 1*2 - 1*0 = -5
PROCESSED = np.array([
    [[-5, 1, 4],
     [1, -1, -1],
     [1, -2, 0]],
    [[-4, -2, 5],
     [-2, 5, -6],
     [4, -3, -1]],
    [[5, 3, 0],
     [2, 5, 3],
     [0, 2, 5]],
])  # fmt: skip
# step 2: the processed channels summed; step 3: the one bias of the filter added
SUMMED = np.array([
    [-4, 2, 9],
    [1, 9, -4],
    [5, -3, 4],
])  # fmt: skip
OUTPUT = np.array([
    [6, 12, 19],
    [11, 19, 6],
    [15, 7, 14],
])  # fmt: skip

PROBLEM = Conv("conv2d", 1, 3, (5, 5), (3, 3), (1, 1), ((0, 0), (0, 0)), (1, 1), "float64", c_out=1, bias=True)


@pytest.mark.parametrize("k", [0, 1, 2])
def test_step_1_each_kernel_slides_over_its_own_channel(k: int) -> None:
    np.testing.assert_array_equal(slide(PROBLEM, CHANNELS[k], KERNELS[k]), PROCESSED[k])


def test_step_2_the_processed_channels_are_summed() -> None:
    first_two = add(PROCESSED[0].tolist(), PROCESSED[1].tolist())
    np.testing.assert_array_equal(add(first_two, PROCESSED[2].tolist()), SUMMED)


def test_step_3_the_bias_is_added() -> None:
    np.testing.assert_array_equal(filter_image(PROBLEM, CHANNELS, KERNELS, BIAS), OUTPUT)
    np.testing.assert_array_equal(filter_image(dataclasses.replace(PROBLEM, bias=False), CHANNELS, KERNELS, 0), SUMMED)


@pytest.mark.parametrize("name", [*registry.every("conv"), "auto"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_implementation_gives_these_numbers(name: str, dtype: str) -> None:
    x, weight, bias = CHANNELS.astype(dtype), KERNELS[None].astype(dtype), np.array([BIAS], dtype)
    if name != "auto" and implementations("conv2d", (1, 3, 5, 5), weight, bias)[name] is not None:
        with pytest.raises(kernels.RefusedError):
            kernels.conv2d(x[None], weight, bias, implementation=name)
        return
    y = kernels.conv2d(x[None], weight, bias, implementation=name)
    np.testing.assert_allclose(y, OUTPUT[None, None], rtol=0, atol=1e-5)
    # without a batch axis, and each kernel alone as a group: the processed channels
    np.testing.assert_allclose(kernels.conv2d(x, weight, bias, implementation=name), OUTPUT[None], rtol=0, atol=1e-5)
    alone = kernels.conv2d(x, KERNELS[:, None].astype(dtype), groups=3, implementation="auto")
    np.testing.assert_allclose(alone, PROCESSED, rtol=0, atol=1e-5)


def test_channels_last_is_the_order_of_the_text() -> None:
    """Kernels (h, l, K, J), and an input whose channels come last."""
    x = np.moveaxis(CHANNELS, 0, -1).astype(np.float32)
    weight = np.moveaxis(KERNELS, 0, -1)[..., None].astype(np.float32)
    assert weight.shape == (3, 3, 3, 1)
    y = kernels.conv2d(x, weight, [BIAS], layout="channels_last")
    assert y.shape == (3, 3, 1)
    np.testing.assert_allclose(y[..., 0], OUTPUT, rtol=0, atol=1e-5)


def test_flip_is_the_convolution_of_mathematics() -> None:
    """The filter is reversed before it slides: the same as sliding the reversed filter."""
    x, weight = CHANNELS[None].astype(np.float64), KERNELS[None].astype(np.float64)
    reversed_by_hand = np.array([kernel[::-1, ::-1] for kernel in KERNELS])[None].astype(np.float64)
    np.testing.assert_array_equal(kernels.conv2d(x, weight, flip=True), kernels.conv2d(x, reversed_by_hand))
    assert not np.array_equal(kernels.conv2d(x, weight, flip=True), kernels.conv2d(x, weight))


def test_subsampling() -> None:
    """A max pool keeps that something occurs and drops where; over the whole plane an average summarises it."""
    y = OUTPUT[None, None].astype(np.float64)
    np.testing.assert_array_equal(kernels.max_pool2d(y, (1, 2), 1)[0, 0], [[12, 19], [19, 19], [15, 14]])
    np.testing.assert_array_equal(kernels.max_pool2d(y, 3)[0, 0], [[19]])
    assert kernels.global_avg_pool(y)[0, 0, 0, 0] == pytest.approx((6 + 12 + 19 + 11 + 19 + 6 + 15 + 7 + 14) / 9)
